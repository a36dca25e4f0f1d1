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

r"""Evaluate retrieval by global descriptors: do they rank the images of a map that show a query's place first?

  python -m training.place_recognition.evaluate --encoder MODEL --encoder vlad --map MAP --images DIR --queries DIR \
      --poses TUM --camera YAML [--json F]

An encoder is a model folder, run as on a robot; a folder of weights (a teacher); `vlad`, the map's own; or `vlad256`,
the same reduced by PCA. Positives of a query share points with it (--positives points, by its keypoints, or by those
of the same view by day: --by-day DIR), or are taken near it (--positives pose, for nights), or come from a table
(--pairs CSV, without poses).
P@K is hits among the first K over min(K, number of positives); R@K the share of queries with a hit among them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.covisible_images import CovisibleImages
from training.data.map_images import collect_keyframes
from training.data.posed_images import PosedImages
from training.framework.command import make_parser, run_command
from training.place_recognition.descriptors import open_encoder
from training.place_recognition.ground_truth import (
    label_by_pose,
    label_by_shared_points,
    observe_queries,
    predict_queries,
    read_pairs,
)
from training.place_recognition.ranking import AT, RankingScores, ranking_scores
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.output_files import json_at
from vloc_ros.storage.pose_files import pair_poses

_NAME = "place_recognition.evaluate"


@dataclass(frozen=True, slots=True)
class EncoderScores:
    """The scores of one encoder.

    Attributes:
        encoder: its name on the command line.
        dimension: length of its descriptors.
        scores: of its ranking.
        median_ms: median time for one query.
    """

    encoder: str
    dimension: int
    scores: RankingScores
    median_ms: float

    def as_dict(self) -> dict[str, float | str | None]:
        """Flat, for JSON; None for a score without any queries."""
        shares = {name: None if math.isnan(value) else value for name, value in self.scores.as_dict().items()}
        return {"encoder": self.encoder, "dimension": self.dimension, **shares, "median_ms": self.median_ms}


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and print; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    out = json_at(args.json, key="encoder", rows=True) if args.json else None
    landmark_map = read_map(args.map)
    camera = read_camera(args.camera) if args.camera else None
    database = collect_keyframes(landmark_map, args.images, camera)
    queries, positive = _read_queries(args, landmark_map, database)
    counts = positive.sum(axis=1)
    print(f"{len(queries)} queries, {len(database)} images of the map, {(counts > 0).sum()} queries with positives, "
          f"{counts.mean():.1f} each")  # fmt: skip
    rows = [
        _score_encoder(name, landmark_map, database, queries, positive, threads=args.threads) for name in args.encoder
    ]
    _print_table(rows)
    if out:
        text = json.dumps([row.as_dict() for row in rows], indent=1, allow_nan=False)
        write_bytes_atomically(out.path, (text + "\n").encode())
        print(out)


def _score_encoder(
    name: str,
    landmark_map: LandmarkMap,
    database: CovisibleImages,
    queries: CovisibleImages,
    positive: Array,
    *,
    threads: int,
) -> EncoderScores:
    found = open_encoder(name, landmark_map, threads=threads)(database, queries)
    return EncoderScores(
        name, found.queries.shape[1], ranking_scores(found.queries, found.database, positive), found.median_ms
    )


def _read_queries(
    args: argparse.Namespace, landmark_map: LandmarkMap, database: CovisibleImages
) -> tuple[CovisibleImages, Array]:
    """The queries, and (Q, N) bool, which images of the map show their places."""
    paths = list_images(args.queries)
    if args.pairs:
        return _list_unposed(paths), read_pairs(args.pairs, paths, database.posed.paths)
    if not args.poses or not args.camera:
        raise InputError("the poses of the queries are missing; give --poses and --camera, or --pairs")
    if len(landmark_map.scenes) > 1:
        raise InputError(
            f"{args.map}: has {len(landmark_map.scenes)} scenes, each in a frame of its own, expected one for queries "
            "with --poses; score a map of one scene, or give --pairs"
        )
    paired = sorted(pair_poses([path.name for path in paths], args.poses), key=lambda one: one.index)
    poses = [landmark_map.scene().scene_from(one.pose) for one in paired]
    camera = read_camera(args.camera)
    if args.positives == "points":
        matched = list_images(args.by_day) if args.by_day else paths
        if len(matched) != len(paths):
            raise InputError(
                f"{args.by_day}: holds {len(matched)} images, expected one for each of {len(paths)} queries"
            )
        seen = observe_queries(matched, poses, camera, landmark_map, database)
        queries = replace(seen, posed=replace(seen.posed, paths=tuple(paths)))
        return queries, label_by_shared_points(
            queries.visibility, database.visibility, min_shared=args.min_shared, min_share=args.min_share
        )
    near = label_by_pose(poses, database.posed, radius_m=args.radius, angle_rad=math.radians(args.angle))
    return predict_queries(paths, poses, camera, database, near), near


def _list_unposed(paths: Sequence[Path]) -> CovisibleImages:
    """Queries of which neither poses nor points are known; only their files are used."""
    n = len(paths)
    posed = PosedImages(tuple(paths), np.full((n, 3), np.nan), None, np.zeros(n, np.int64))
    return CovisibleImages.without_points(posed)


def _print_table(rows: Sequence[EncoderScores]) -> None:
    names = [f"{letter}@{k}" for letter in "PR" for k in AT]
    width = max(len(row.encoder) for row in rows) + 2
    print(f"{'encoder':{width}}{'numbers':>8}" + "".join(f"{name:>7}" for name in names) + "   ms")
    for row in rows:
        values = row.scores.as_dict()
        shares = "".join(f"{values[name]:7.3f}" for name in names)
        print(f"{row.encoder:{width}}{row.dimension:8}{shares}{row.median_ms:6.1f}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--encoder", action="append", required=True, metavar="ENC", help="may be repeated")
    for name, metavar, text in (
        ("--map", "MAP", "a map by `vloc map build`"),
        ("--images", "DIR", "the images that it was built from"),
        ("--queries", "DIR", "images that were not used to build it"),
    ):
        parser.add_argument(name, type=Path, required=True, metavar=metavar, help=text)
    parser.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every query, in name order")
    parser.add_argument("--camera", type=Path, metavar="YAML", help="camera_info of the queries")
    parser.add_argument(
        "--pairs", type=Path, metavar="CSV", help="columns query_image and map_image: names, or ends of paths"
    )
    parser.add_argument("--positives", choices=("points", "pose"), default="points", help="default: %(default)s")
    parser.add_argument("--by-day", type=Path, metavar="DIR", help="the same views by day, for their points")
    parser.add_argument("--min-shared", type=int, default=8, metavar="N", help="shared points; default: %(default)s")
    parser.add_argument("--min-share", type=float, default=0.0, metavar="J", help="Jaccard index; default: %(default)s")
    parser.add_argument("--radius", type=float, default=2.0, metavar="M", help="of positives; default: %(default)s m")
    parser.add_argument("--angle", type=float, default=30.0, metavar="DEG", help="of positives; default: %(default)s°")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of an encoder; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="F", help="write the same as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
