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

"""Score a cross-modal model: recall of images and scans against images and scans, beside chance and baselines.

  python -m training.cross_modal.evaluate MODEL --world KITTI/sequences/00 --spacing 20
  python -m training.cross_modal.evaluate MODEL --world DATA/sequences/test0-day DATA/sequences/test0-night

The first sequence of a --world is its database, the others are queries; of one alone, queries look for revisits, 10 s
or more earlier, as VXP has it. Right is a result within 20 m (or 5 m) whose heading differs by 0.5 rad at most. R@1 %
counts the first percent of the database. Queries without a right result are left out. `all around` compares an image
with scans that are described at all headings, as a map has them, turned by a random yaw, and any heading is right.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.cross_modal.baselines import BASELINES
from training.cross_modal.export import IMAGE_MODEL, RANGE_MODEL
from training.cross_modal.records import Record, RecordSet
from training.cross_modal.scores import (
    ANY_HEADING,
    CLOUD,
    IMAGE,
    PROTOCOLS,
    DirectionScore,
    make_trial,
    score,
    score_directions,
)
from training.cross_modal.sources import read_worlds
from training.cross_modal.validation import split_roles
from training.framework.command import make_parser, run_command
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.inference.global_descriptors import OnnxGlobalDescriptor, read_global_descriptor
from vloc_ros.inference.range_descriptors import OnnxRangeDescriptor, check_spaces, read_range_descriptor
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically

_NAME = "cross_modal.evaluate"
ALL_AROUND = f"{IMAGE}-{CLOUD} all around"
_YAW_SEED = 0

Scores = dict[str, dict[str, DirectionScore]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and print; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    if args.spacing < 0:
        raise InputError(f"--spacing is {args.spacing:g}, expected 0 m or more")
    queries, database = split_roles(RecordSet.join(read_worlds(args.world)).thin(args.spacing))
    found = score_model(args.model, queries, database) if args.model else {}
    if args.baselines:
        found |= score_baselines(queries, database)
    print(f"{len(queries)} queries, {len(database)} in the database")
    print(format_scores(found))
    if args.out:
        rows = {name: {of: one.as_dict() for of, one in part.items()} for name, part in found.items()}
        content: dict[str, Any] = {"queries": len(queries), "database": len(database), "scores": rows}
        write_bytes_atomically(args.out, (json.dumps(content, indent=1) + "\n").encode())


def score_model(folder: Path, queries: RecordSet, database: RecordSet) -> Scores:
    """The scores of a model by direction and protocol, with the exported encoders.

    Raises:
        ModelError: the folder holds no such model, or two that do not belong together.
        InputError: no query has a right result.
    """
    images, scans = read_global_descriptor(folder / IMAGE_MODEL), read_range_descriptor(folder / RANGE_MODEL)
    check_spaces(folder / IMAGE_MODEL, folder / RANGE_MODEL)
    described = [describe(images, scans, part, name) for part, name in ((queries, "queries"), (database, "database"))]
    found: Scores = {}
    for name, protocol in PROTOCOLS.items():
        trial = make_trial(queries, database, protocol)
        for direction, one in score_directions(described[0], described[1], trial).items():
            found.setdefault(direction, {})[name] = one
    # vehicles face anywhere between the headings of the views
    yaws = np.random.default_rng(_YAW_SEED).uniform(0.0, 2 * np.pi, len(database)).tolist()
    pairs = bar(list(zip(database.records, yaws, strict=True)), description="all around")
    around = [encode_around(scans, record, yaw_rad=yaw) for record, yaw in pairs]
    similarity = np.stack([(described[0][IMAGE] @ rows.T).max(axis=1) for rows in around], axis=1)
    for name, protocol in ANY_HEADING.items():
        trial = make_trial(queries, database, protocol)
        found.setdefault(ALL_AROUND, {})[name] = score(similarity, trial)
    return found


def score_baselines(queries: RecordSet, database: RecordSet) -> Scores:
    """The scores of what needs no training of both modalities."""
    found: Scores = {}
    trials = {of: make_trial(queries, database, protocol) for of, protocol in PROTOCOLS.items()}
    allowed = np.logical_or.reduce([trial.allowed for trial in trials.values()])
    for name, (direction, compare) in BASELINES.items():
        similarity = compare(queries, database, allowed)
        found[f"{direction} {name}"] = {of: score(similarity, trial) for of, trial in trials.items()}
    return found


def describe(
    images: OnnxGlobalDescriptor, scans: OnnxRangeDescriptor, records: RecordSet, name: str
) -> dict[str, Array]:
    """(N, D) descriptors of the images, and of what the clouds show in their field of view, by modality."""
    rows: dict[str, list[Array]] = {IMAGE: [], CLOUD: []}
    for record in bar(records.records, description=name):
        rows[IMAGE].append(images.encode([record.load_image()])[0])
        ahead = scans.encode_scan(*record.load_view_cloud(), headings=1)
        if not len(ahead):
            raise InputError(f"{record.name}: no point of its cloud is ahead of the camera; check camera_from_lidar")
        rows[CLOUD].append(ahead[0])
    return {modality: np.array(found, np.float32) for modality, found in rows.items()}


def encode_around(scans: OnnxRangeDescriptor, record: Record, *, yaw_rad: float) -> Array:
    """(V, D) descriptors of a scan at all headings, from the LiDAR, as a map has them of a vehicle turned by a yaw."""
    cloud = record.load_cloud()
    turned = Pose.from_rotation_vector([0.0, 0.0, -yaw_rad], np.zeros(3)).apply(cloud.points)
    rows = scans.encode_scan(turned.astype(np.float32), cloud.intensity)
    if not len(rows):
        raise InputError(f"{record.name}: its cloud has no point in any view, expected some; is its z axis upward?")
    return rows


def format_scores(found: Mapping[str, Mapping[str, DirectionScore]]) -> str:
    """A table, a row for each direction and protocol."""
    rows = [f"{'':32} {'':>5} {'R@1':>7} {'chance':>7} {'R@1 %':>7} {'chance':>7} {'queries':>8}"]
    for name, part in found.items():
        for protocol, one in part.items():
            first, percent = one.first.value or 0.0, one.percent.value or 0.0
            rows.append(
                f"{name:32} {protocol:>5} {first:7.1%} {one.chance_first:7.1%} {percent:7.1%} "
                f"{one.chance_percent:7.1%} {one.first.of:8d}"
            )
    return "\n".join(rows)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="folder that training wrote")
    parser.add_argument(
        "--world", type=Path, action="append", nargs="+", required=True, metavar="SEQUENCE",
        help="sequences of one world, the database first; repeatable",
    )  # fmt: skip
    parser.add_argument("--spacing", type=float, default=0.0, metavar="M", help="between records (default: all)")
    parser.add_argument("--baselines", action="store_true", help="score Scan Context, VLAD-SIFT and ImageNet GeM too")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the scores as JSON")
    args = parser.parse_args(arguments)
    if not args.model and not args.baselines:
        parser.error("expected a MODEL, --baselines or both")
    return args


if __name__ == "__main__":
    sys.exit(main())
