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

r"""Train images and LiDAR scans into one descriptor space, so that each finds places of the other.

  python -m training.cross_modal.train --train KITTI/sequences/03 --train KITTI/sequences/04 ... \
      --val KITTI/sequences/00 --out MODEL
  python -m training.cross_modal.train --train DATA/sequences/train0-day DATA/sequences/train0-night \
      --val DATA/sequences/val0-day DATA/sequences/val0-other_day --out MODEL

Each --train and --val names the sequences of one world, which share a frame; `training.cross_modal.sources` has the
layouts. Of a --val of several, the first one is the database and the others are queries; one alone is queried by its
own revisits. MODEL/image and MODEL/range are the two models (ONNX); MODEL.run holds the log and the checkpoints. To
resume, repeat the command with --resume.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from training.cross_modal.batches import require_pairs
from training.cross_modal.config import PRESETS, build_config
from training.cross_modal.export import FIELD_OF_VIEW, check_outputs, export
from training.cross_modal.inputs import check_field_of_view, measure_field_of_view
from training.cross_modal.network import CrossModalNetwork
from training.cross_modal.records import RecordSet
from training.cross_modal.sources import read_worlds
from training.cross_modal.task import CrossModalTask
from training.framework.command import make_training_parser, name_run_folder, run_command
from training.framework.provenance import training_metadata
from training.framework.run import train
from training.framework.run_folder import check_run_folder
from training.place_recognition.encoders import InitialWeights, hash_pretrained_weights

_NAME = "cross_modal.train"
_PRETRAINED, _NONE = "pretrained", "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    config, run_dir = build_config(args.preset, args.set), name_run_folder(args)
    if not rank_zero_only.rank:  # the first process may be writing already
        check_outputs(args.out)
        check_run_folder(run_dir, args.out)
    records, val = (RecordSet.join(read_worlds(part)) for part in (args.train, args.val))
    require_pairs(records, config.pairs)
    field_of_view_rad = measure_field_of_view(records.records, config.range)
    check_field_of_view(val.records, field_of_view_rad)
    initial = read_initial_weights(args.weights)
    task = CrossModalTask(records, val, config, initial=initial)
    print(f"train: {len(records)} records of {len(args.train)} worlds; val: {len(val)} of {len(args.val)}")
    weights = hash_pretrained_weights(CrossModalNetwork(config).image, initial.path) if initial.pretrained else None
    sources: dict[str, Any] = {
        "records": [hash_records(part) for part in (records, val)],
        "weights": weights,
        FIELD_OF_VIEW: field_of_view_rad,
    }
    trained = train(task, run_dir, sources=sources, resume=args.resume)
    if not rank_zero_only.rank:
        training = training_metadata(config, trained.held_out, sources)
        export(
            trained.network,
            args.out,
            config,
            records=records.records,
            field_of_view_rad=field_of_view_rad,
            training=training,
        )
        print("held-out worlds: " + ", ".join(f"{name} {value:g}" for name, value in trained.held_out.items()))
        print(f"written: {args.out}")


def hash_records(records: RecordSet) -> str:
    """SHA-256 of names, poses and extrinsics of records, whose images and clouds are not hashed."""
    digest = hashlib.sha256()
    for record in records.records:
        digest.update(f"{record.name}\0{record.stamp_ns}\0{record.camera}\0".encode())
        digest.update(record.map_from_lidar.matrix.tobytes() + record.camera_from_lidar.matrix.tobytes())
    digest.update(records.worlds.tobytes() + records.sequences.tobytes())
    return digest.hexdigest()


def read_initial_weights(weights: str) -> InitialWeights:
    """What --weights says."""
    return InitialWeights(weights != _NONE, None if weights in (_NONE, _PRETRAINED) else Path(weights))


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """The records of both splits, and the initial weights."""
    for name, text in (("--train", "trained on"), ("--val", "validated on")):
        parser.add_argument(
            name, type=Path, action="append", nargs="+", required=True, metavar="SEQUENCE",
            help=f"sequences of one world that are {text}; repeatable",
        )  # fmt: skip
    parser.add_argument(
        "--weights", default=_PRETRAINED, metavar=f"{_PRETRAINED}|{_NONE}|FILE",
        help="of the image's backbone; default: %(default)s (ImageNet)",
    )  # fmt: skip


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    add_record_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
