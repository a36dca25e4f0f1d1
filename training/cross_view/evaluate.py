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

"""Evaluate indices of cross-view retrieval on University-1652's test split, or one of its layout.

  python -m training.cross_view.evaluate DATASET --index MODEL --index vlad-sift --out DIR

Queries and gallery are exchanged too: with the folders of the layout where it has them, else by the same images. DIR
gets metrics.json, recall.svg, confusion.svg (regions, where they are known) and examples.jpg (right and wrong ones).
--headings and --heading-std are for networks whose descriptors depend on the heading, unknown or known. --mirrored sums
the descriptors of an image and its mirror image, as University-1652's test does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.cross_view.figures import draw_confusion, draw_examples, draw_recall
from training.cross_view.headings import turn_image
from training.cross_view.layout import (
    HEADING,
    POSITIONS,
    TEST,
    TRAIN,
    VIEWS,
    ViewImages,
    find_split,
    name_view_folder,
    read_views,
)
from training.cross_view.scores import recall_curve, score_retrieval
from training.framework.command import make_parser, run_command
from training.place_recognition.geolocalization.teachers import open_index
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.query_views import SizedEncoder
from vloc_ros.core.retrieval.ranking import normalize
from vloc_ros.core.sources import Progress, silent
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.images import read_image

_NAME = "cross_view.evaluate"
METRICS = "metrics.json"


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Queries ranked over a gallery.

    Attributes:
        queries: Q images.
        gallery: G images.
        similarity: (Q, G).
    """

    queries: ViewImages
    gallery: ViewImages
    similarity: Array

    @property
    def right(self) -> Array:
        """(Q, G) bool, see `ViewImages.is_shown_by`."""
        return self.queries.is_shown_by(self.gallery)

    def select(self, kept: Array) -> Retrieval:
        """Some queries."""
        return Retrieval(self.queries.select(kept), self.gallery, self.similarity[kept])

    def select_answerable(self) -> Retrieval:
        """The queries that have a right view in the gallery.

        Raises:
            InputError: none has.
        """
        kept = np.flatnonzero(self.right.any(axis=1))
        if not len(kept):
            raise InputError(
                f"none of the {len(self.queries)} queries has a right view among the {len(self.gallery)} of the "
                "gallery, expected places of the same names, or positions that overlap; check the data set"
            )
        return self.select(kept)

    def score(self) -> dict[str, Any]:
        """All scores; of regions too where they are known."""
        has_positions = self.queries.has_positions and self.gallery.has_positions
        distance_m = self.queries.distance_m(self.gallery) if has_positions else None
        scores = score_retrieval(self.similarity, self.right, distance_m=distance_m)
        return scores | (self._score_regions() if self.has_regions else {})

    @property
    def has_regions(self) -> bool:
        """Whether it is known of which region each image is, and there are several."""
        known = all(self.queries.regions) and all(self.gallery.regions)
        return bool(known and len(np.unique(self.gallery.regions)) > 1)

    def rank_regions(self) -> tuple[Array, Array]:
        """Names of R regions, and (Q, R) their numbers, those of the most similar views first."""
        names, of = np.unique(self.gallery.regions, return_inverse=True)
        best = np.stack([self.similarity[:, of == k].max(axis=1) for k in range(len(names))], axis=1)
        return names, np.argsort(-best, axis=1, kind="stable")

    def _score_regions(self) -> dict[str, Any]:
        names, ranked = self.rank_regions()
        hits = names[ranked] == self.queries.regions[:, None]
        shares = {f"region_top_{k}": float(hits[:, :k].any(axis=1).mean()) for k in (1, 3)}
        return shares | {"region_chance": 1 / len(names), "region_top_3_chance": min(1.0, 3 / len(names))}

    def score_conditions(self) -> dict[str, Any]:
        """The scores of the queries of each condition, which is what their names begin with; empty of one."""
        prefixes = np.array([path.name.partition("-")[0] for path in self.queries.paths])
        names = np.unique(prefixes)
        if not 1 < len(names) <= 10:
            return {}
        return {str(name): self.select(np.flatnonzero(prefixes == name)).score() for name in names}


def describe(
    images: ViewImages,
    encoder: SizedEncoder,
    *,
    headings: int = 1,
    turns_deg: Array | None = None,
    mirrored: bool = False,
    progress: Progress = silent,
) -> Array:
    """(N, H, D) float32 L2-normalised descriptors.

    Args:
        images: files that can be read.
        encoder: of an index; each image is described by itself.
        headings: H, even turns of each image, of which the first is none.
        turns_deg: (N,) by which each is turned before; None for not.
        mirrored: whether the descriptor of the mirror image is added.
        progress: of the images.

    Raises:
        InputError: an image is damaged.
    """
    found, turns_deg = [], np.zeros(len(images)) if turns_deg is None else turns_deg
    for i, path in enumerate(progress(images.paths, description="describing", total=len(images))):
        image = read_image(path)
        versions = [image, np.ascontiguousarray(image[:, ::-1])] if mirrored else [image]
        for k in range(headings):
            turned = [turn_image(one, turns_deg[i] + 360.0 * k / headings) for one in versions]
            found.append(np.sum([encoder.encode([one])[0] for one in turned], axis=0))
    return normalize(np.stack(found)).reshape(len(images), headings, -1)


def draw_north_turns(images: ViewImages, std_deg: float) -> Array:
    """(N,) degrees that turn images north up by a compass with normal errors of a standard deviation, seed 0.

    Raises:
        InputError: a heading is not known.
    """
    if unknown := int(np.isnan(images.headings_deg).sum()):
        raise InputError(
            f"{unknown} of {len(images)} images have no heading, expected one of each; add the column {HEADING} to "
            f"{POSITIONS}, or leave out --heading-std"
        )
    return np.asarray(np.random.default_rng(0).normal(0.0, std_deg, len(images)) - images.headings_deg)


def compare(queries: Array, gallery: Array) -> Array:
    """(Q, G) cosines of (Q, H, D) and (G, I, D) descriptors, at the headings at which both are most similar."""
    found = np.full((len(queries), len(gallery)), -np.inf, np.float32)
    for ours in range(queries.shape[1]):
        for theirs in range(gallery.shape[1]):
            np.maximum(found, queries[:, ours] @ gallery[:, theirs].T, out=found)
    return found


def evaluate(
    dataset: Path,
    name: str,
    views: Sequence[str],
    *,
    split: str = TEST,
    headings: int = 1,
    heading_std_deg: float | None = None,
    mirrored: bool = False,
) -> tuple[dict[str, Any], Retrieval]:
    """Scores of an index, both ways, and the retrieval of the first way.

    Queries without a right view in the gallery are in neither; `left_out` of each way is their number.

    Args:
        dataset: of the layout.
        name: of the index, see `open_index`.
        views: of the queries and of the gallery.
        split: of the data set.
        headings: of the first view, see `describe`.
        heading_std_deg: of the headings that the first view is turned north up by; None where they are not known.
        mirrored: see `describe`.

    Raises:
        InputError: images are missing or damaged, a heading is needed and not known, or no query has a right view.
    """
    queries, gallery = (read_views(dataset, split, view, is_query=k == 0) for k, view in enumerate(views))
    encoder = open_index(name, gallery.paths)

    def describe_first(images: ViewImages) -> Array:
        turns_deg = None if heading_std_deg is None else draw_north_turns(images, heading_std_deg)
        return describe(images, encoder, headings=headings, turns_deg=turns_deg, mirrored=mirrored, progress=bar)

    ours, theirs = describe_first(queries), describe(gallery, encoder, mirrored=mirrored, progress=bar)
    there = Retrieval(queries, gallery, compare(ours, theirs))
    back = Retrieval(gallery, queries, there.similarity.T)
    root = find_split(dataset, split)
    if split == TEST and all(
        (root / name_view_folder(split, view, is_query=k == 0)).is_dir() for k, view in enumerate(reversed(views))
    ):
        other = [read_views(dataset, split, view, is_query=k == 0) for k, view in enumerate(reversed(views))]
        parts = describe(other[0], encoder, mirrored=mirrored, progress=bar), describe_first(other[1])
        back = Retrieval(*other, compare(*parts))
    ways = {"->".join(views): there, "->".join(reversed(views)): back}
    scored = {way: one.select_answerable() for way, one in ways.items()}
    scores = {way: one.score() | {"left_out": len(ways[way].queries) - len(one.queries)} for way, one in scored.items()}
    there = scored["->".join(views)]
    return {"index": Path(name).name, **scores, "conditions": there.score_conditions()}, there


def _run(args: argparse.Namespace) -> None:
    found, curves = [], dict[str, Array]()
    for number, name in enumerate(args.index):
        scores, retrieval = evaluate(
            args.dataset,
            name,
            args.views,
            split=args.split,
            headings=args.headings,
            heading_std_deg=args.heading_std,
            mirrored=args.mirrored,
        )
        found.append(scores)
        curves[f"{number + 1}. {scores['index']}"] = recall_curve(retrieval.similarity, retrieval.right)
        first = scores["->".join(args.views)]
        print(
            f"{name}: R@1 {first['R@1']:.1%} (chance {first['chance']:.1%}), R@5 {first['R@5']:.1%}, "
            f"AP {first['AP']:.3f}; {first['queries']} queries, {first['left_out']} without a right view left out"
        )
        if number == 0:
            args.out.mkdir(parents=True, exist_ok=True)
            draw_examples(args.out / "examples.jpg", retrieval.queries, retrieval.gallery, retrieval.similarity)
            if retrieval.has_regions:
                names, ranked = retrieval.rank_regions()
                draw_confusion(args.out / "confusion.svg", names, retrieval.queries.regions, names[ranked[:, 0]])
    draw_recall(args.out / "recall.svg", curves)
    content = {"dataset": args.dataset.name, "views": args.views, "headings": args.headings}
    content |= {"heading_std_deg": args.heading_std, "mirrored": args.mirrored, "indices": found}
    write_bytes_atomically(args.out / METRICS, (json.dumps(content, indent=1) + "\n").encode())
    print(f"written: {args.out}")


def main() -> int:
    """Evaluate; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--index", action="append", required=True, metavar="MODEL|vlad-sift", help="repeatable")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--split", choices=(TEST, TRAIN), default=TEST, help="default: %(default)s")
    parser.add_argument(
        "--views", nargs=2, choices=VIEWS, default=["drone", "satellite"], metavar=("QUERY", "GALLERY"),
        help="default: drone satellite",
    )  # fmt: skip
    parser.add_argument(
        "--headings", type=int, default=1, choices=range(1, 37), metavar="N",
        help="describe each query at N headings and take the most similar; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--heading-std", type=float, metavar="DEG",
        help="turn queries north up by their headings, with errors of this standard deviation, as of a compass",
    )  # fmt: skip
    parser.add_argument("--mirrored", action="store_true", help="add the descriptor of the mirror image")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
