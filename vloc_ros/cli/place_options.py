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

"""Options of the commands on place recognition: the data set, what describes its images, and what counts as right."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.core.features.keypoints import Extractor
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.core.retrieval.query_views import SizedEncoder
    from vloc_ros.datasets.place_recognition.place_images import PlaceSplit

VLAD_SIFT = "vlad-sift"
METHODS = ("hard_resize", "single_query", "central_crop", "five_crops", "nearest_crop", "maj_voting")
# images that a vocabulary is learned from
_SAMPLE = 200


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What describes images.

    Attributes:
        name: as it was given.
        make: the encoder, from the database's files, of which VLAD learns its vocabulary.
        cost: what its manifest says of its cost.
    """

    name: str
    make: Callable[[Sequence[Path]], SizedEncoder]
    cost: dict[str, Any]


def add_index_options(parser: argparse.ArgumentParser, *, repeatable: bool) -> None:
    """`--index`, `--method`, `--resize`, `--scales` and `--set`."""
    from vloc_ros.cli.localizer_options import add_inference_option

    parser.add_argument(
        "--index",
        action="append" if repeatable else "store",
        metavar="vlad-sift|MODEL",
        help="VLAD over RootSIFT, or a model folder: a global descriptor, or keypoints such as XFeat's for VLAD over "
        f"them{'; repeatable' if repeatable else ''} (default: vlad-sift)",
    )
    parser.add_argument(
        "--method", choices=METHODS, default="hard_resize", help="of the queries (default: hard_resize)"
    )
    parser.add_argument(
        "--resize", type=int, nargs=2, metavar=("H", "W"), help="default: 480 640, or a model's own size"
    )
    parser.add_argument("--scales", default="1", metavar="S,S", help="such as 0.71,1,1.41: mean of the descriptors")
    add_inference_option(parser)


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """`--split`, `--queries` and `--separate-zones`."""
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    parser.add_argument("--queries", default="queries", metavar="NAME", help="which set of queries (default: queries)")
    parser.add_argument("--separate-zones", action="store_true", help="UTM zones are places far from each other")


def read_split_of(args: argparse.Namespace) -> PlaceSplit:
    """The split that the options name."""
    from vloc_ros.datasets.place_recognition.layout import read_split

    return read_split(args.dataset, args.split, queries=args.queries, one_zone=not args.separate_zones)


def check_positives_options(args: argparse.Namespace) -> None:
    """Refuse numbers of `--radius`, `--max-angle` and `--min-share` that no image could be compared with.

    Raises:
        InputError: one is out of range or NaN.
    """
    from vloc_ros.core.errors import InputError

    angle, share = getattr(args, "max_angle", None), getattr(args, "min_share", 1.0)
    if not 0 < args.radius < math.inf:
        raise InputError(f"--radius is {args.radius:g}, expected metres above 0")
    if angle is not None and not 0 <= angle <= 180:
        raise InputError(f"--max-angle is {angle:g}, expected 0 to 180 degrees")
    if not 0 < share <= 1:
        raise InputError(f"--min-share is {share:g}, expected a share above 0, at most 1")


def scales_of(args: argparse.Namespace) -> tuple[float, ...]:
    """The numbers of `--scales`.

    Raises:
        InputError: a word is no number, or a side of `--resize` is not positive.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.text import number_of

    if args.resize and min(args.resize) < 32:
        raise InputError(f"--resize is {args.resize[0]} {args.resize[1]}, expected 32 pixels or more")
    try:
        return tuple(number_of(word) for word in args.scales.split(","))
    except ValueError:
        raise InputError(f"--scales is {args.scales!r}, expected numbers such as 0.71,1,1.41") from None


def size_of(args: argparse.Namespace) -> tuple[int, int] | None:
    """Height and width of `--resize`; None where it is not given."""
    return (args.resize[0], args.resize[1]) if args.resize else None


def open_index(name: str | None, args: argparse.Namespace) -> Index:
    """The index of a name.

    Raises:
        ModelError: the folder is no model, or one of another kind.
    """
    from vloc_ros.cli.localizer_options import inference_from
    from vloc_ros.inference.global_descriptors import KIND, read_global_descriptor
    from vloc_ros.inference.models import read_kind, read_model

    name = name or VLAD_SIFT
    inference = inference_from(args)
    if name == VLAD_SIFT or read_kind(Path(name)) == "keypoints":
        return Index(name, lambda paths: _fit_vlad(open_extractor(name, args), paths), {})
    model = read_model(Path(name), kind=KIND)
    encoder = read_global_descriptor(Path(name), inference)
    return Index(name, lambda paths: encoder, dict(model.manifest.get("cost", {})))


def open_extractor(name: str, args: argparse.Namespace) -> Extractor:
    """The extractor of `vlad-sift` or of a keypoint model."""
    from vloc_ros.assembly import build_extractor
    from vloc_ros.cli.localizer_options import inference_from
    from vloc_ros.core.features.extractor_config import RootSiftConfig
    from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model

    if name == VLAD_SIFT:
        return build_extractor(RootSiftConfig())
    model = read_keypoint_model(Path(name))
    return build_extractor(keypoint_model_config(model), model, inference=inference_from(args))


def _fit_vlad(extractor: Extractor, paths: Sequence[Path]) -> SizedEncoder:
    """VLAD with a vocabulary of evenly chosen images of a database."""
    from vloc_ros.core.retrieval.vlad_encoder import VladEncoder
    from vloc_ros.storage.images import read_image

    step = max(1, len(paths) // _SAMPLE)
    return VladEncoder.fit(extractor, _readable(paths[::step], read_image))


def _readable(paths: Sequence[Path], read: Callable[[Path], Array]) -> list[Array]:
    from vloc_ros.core.errors import InputError

    found = []
    for path in paths:
        try:
            found.append(read(path))
        except InputError:  # named where it is described
            continue
    return found
