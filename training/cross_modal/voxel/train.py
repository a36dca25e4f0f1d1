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

r"""Train VXP's voxel model in its three stages: images, local features of voxels, descriptors of voxels.

  python -m training.cross_modal.voxel.train --train KITTI/sequences/03 ... --val KITTI/sequences/00 --out MODEL

--train and --val are those of `training.cross_modal.train`. MODEL/image is the image encoder (ONNX), whose index holds
descriptors of clouds: MODEL.run/voxels.npz has those of the validation's database. Clouds themselves are described
with PyTorch, since sparse convolutions have no ONNX. MODEL.run/STAGE holds the log and the checkpoints; to resume,
repeat the command with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from training.cross_modal.batches import require_pairs
from training.cross_modal.export import hash_weights
from training.cross_modal.records import RecordSet
from training.cross_modal.scores import CLOUD
from training.cross_modal.sources import read_worlds
from training.cross_modal.train import add_record_options, hash_records, read_initial_weights
from training.cross_modal.validation import split_roles
from training.cross_modal.voxel.config import PRESETS, STAGES, VoxelModelConfig, build_config
from training.cross_modal.voxel.network import VoxelModel
from training.cross_modal.voxel.task import VoxelTask
from training.framework.command import make_training_parser, name_run_folder, run_command
from training.framework.provenance import training_metadata
from training.framework.run import TrainedNetwork, train
from training.framework.run_folder import LAST, check_run_folder, remove_checkpoints
from training.place_recognition.encoders import InitialWeights, hash_pretrained_weights
from training.place_recognition.geolocalization.export import export
from vloc_ros.core.errors import InputError
from vloc_ros.inference.models import replaces_model

_NAME = "cross_modal.voxel.train"
IMAGE_MODEL, DESCRIPTORS = "image", "voxels.npz"
_COMPARED = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all stages and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    config, run_dir = build_config(args.preset, args.set), name_run_folder(args)
    if config.fit.devices * config.fit.nodes > 1:
        raise InputError("fit.devices and fit.nodes are more than one, expected one: the stages follow each other")
    replaces_model(args.out / IMAGE_MODEL)
    for stage in STAGES:
        check_run_folder(run_dir / stage, args.out)
    records, val = (RecordSet.join(read_worlds(part)) for part in (args.train, args.val))
    require_pairs(records, config.pairs)
    initial = read_initial_weights(args.weights)
    weights = hash_pretrained_weights(VoxelModel(config).image, initial.path) if initial.pretrained else None
    sources: dict[str, Any] = {"records": [hash_records(part) for part in (records, val)], "weights": weights}
    trained, task = _train_stages(args, config, (records, val), initial, sources)
    _, database = split_roles(val)
    described = task.describe(trained.network, database)[CLOUD]
    np.savez(run_dir / DESCRIPTORS, names=[record.name for record in database.records], descriptors=described)
    some = records.records[:: max(1, len(records) // _COMPARED)][:_COMPARED]
    export(
        trained.network.image,
        args.out / IMAGE_MODEL,
        preprocessing=task.preprocessing,
        images=[record.load_image() for record in some],
        training=training_metadata(config, trained.held_out, sources),
    )
    print("held-out worlds: " + ", ".join(f"{name} {value:g}" for name, value in trained.held_out.items()))
    print(f"written: {args.out / IMAGE_MODEL}, {run_dir / DESCRIPTORS}")


def _train_stages(
    args: argparse.Namespace,
    config: VoxelModelConfig,
    parts: tuple[RecordSet, RecordSet],
    initial: InitialWeights,
    sources: dict[str, Any],
) -> tuple[TrainedNetwork[VoxelModel], VoxelTask]:
    """One stage after the other, each from the weights of the one before, which its sources name."""
    folders = {stage: name_run_folder(args) / stage for stage in STAGES}
    if not args.resume:  # of all stages: a later --resume continues none of an earlier run
        for folder in folders.values():
            remove_checkpoints(folder)
    earlier: dict[str, Tensor] | None = None
    before: str | None = None
    for stage, folder in folders.items():
        print(f"stage {stage}:")
        task = VoxelTask(*parts, config, stage=stage, initial=initial, earlier=earlier)
        # a later stage that an interruption did not reach has nothing to resume
        resumes = args.resume and (stage == STAGES[0] or (folder / LAST).is_file())
        trained = train(task, folder, sources={**sources, "stage": stage, "earlier": before}, resume=resumes)
        earlier, before = trained.network.state_dict(), hash_weights(trained.network)
    return trained, task


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    add_record_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
