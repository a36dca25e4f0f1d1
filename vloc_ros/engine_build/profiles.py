# Copyright 2026 vloc_ros maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Shapes that an engine takes: smallest, usual and largest of each input."""

from __future__ import annotations

from collections.abc import Sequence

from vloc_ros.core.errors import InputError
from vloc_ros.inference.engine_cache import Profile
from vloc_ros.inference.models import Model

Shape = tuple[int, ...]
# keypoints are tried on an image of 96x96 pixels when they are loaded; the largest is square, for cameras on their side
_LEAST_IMAGE, _USUAL_IMAGE, _LARGEST_IMAGE = (96, 96), (480, 640), (1920, 1920)
# of a matcher: as many keypoints as `vloc match` takes of each image
_TOKENS = ((1,), (1024,), (2048,))
_BATCH = (1, 1, 8)
_KEYPOINTS_FACTOR = 4


def default_sizes(model: Model) -> dict[str, list[Shape]]:
    """The dynamic sizes of each input of a model of a known kind: smallest, usual, largest.

    Raises:
        InputError: the kind has no default.
    """
    kind = model.manifest.get("kind")
    if kind == "keypoints":
        return {"image": [_LEAST_IMAGE, _USUAL_IMAGE, _LARGEST_IMAGE]}
    if kind in ("global descriptor", "place encoder"):
        dynamic = [size == "N" for size in model.entry("inputs", "images", "shape")]
        height, width = model.entry("preprocessing", "size")
        return {"images": [_only((batch, 3, height, width), dynamic) for batch in _BATCH]}
    if kind == "range descriptor":  # the views of one scan, less those that show nothing
        headings = int(model.entry("headings"))
        return {"views": [(1,), (headings,), (headings,)]}
    if kind == "recognizer":
        count = int(model.entry("keypoints", "max_keypoints"))
        sizes: list[Shape] = [(1,), (count,), (_KEYPOINTS_FACTOR * count,)]
        return {"rays": sizes, "descriptors": sizes}
    if kind == "matcher":
        return {name: list(_TOKENS) for name in model.entry("inputs")}
    raise InputError(f"a model of kind {kind!r} has no usual shapes, expected --shapes for each of its inputs")


def make_profile(model: Model, declared: dict[str, list[int | None]], sizes: dict[str, list[Shape]]) -> Profile:
    """Smallest, usual and largest shape of each input of a graph.

    Args:
        model: for messages.
        declared: the graph's shapes, None for a dynamic size.
        sizes: of the dynamic dimensions, in order, one of three a name; a name that is missing has none.

    Raises:
        InputError: a name is unknown, a size is missing or too many, or they do not ascend.
    """
    if unknown := sorted(sizes.keys() - declared.keys()):
        raise InputError(f"--shapes names {unknown[0]}, expected some of {', '.join(sorted(declared))}")
    profile = {}
    for name, shape in declared.items():
        count = shape.count(None)
        given = sizes.get(name, [()] * 3)
        if any(len(one) != count for one in given):
            raise InputError(
                f"{model.folder}: {name} has {count} dynamic sizes in {shape}, found {[list(one) for one in given]}; "
                f"name them as --shapes {name}={'x'.join(['N'] * count)}"
            )
        shapes = tuple(_fill(shape, one) for one in given)
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise InputError(f"--shapes {name} goes through {given}, expected smallest, usual, largest")
        profile[name] = (shapes[0], shapes[1], shapes[2])
    return profile


def parse_shapes(words: Sequence[str]) -> dict[str, list[Shape]]:
    """Sizes by name, from words such as `image=96x96,480x640,1920x1920` or, for one shape alone, `images=1`.

    Raises:
        InputError: a word has another form.
    """
    sizes = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            found = [tuple(int(size) for size in one.split("x")) for one in text.split(",")]
        except ValueError:
            found = []
        if not name or len(found) not in (1, 3) or any(size < 1 for one in found for size in one):
            raise InputError(f"--shapes is {word!r}, expected NAME=SIZES or NAME=SMALLEST,USUAL,LARGEST, such as "
                             "image=96x96,480x640,1920x1920")  # fmt: skip
        sizes[name] = found * 3 if len(found) == 1 else found
    return sizes


def _only(shape: Sequence[int], wanted: Sequence[bool]) -> Shape:
    return tuple(size for size, is_wanted in zip(shape, wanted, strict=True) if is_wanted)


def _fill(shape: Sequence[int | None], sizes: Shape) -> Shape:
    remaining = iter(sizes)
    return tuple(next(remaining) if size is None else size for size in shape)
