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

"""Train the landmark recogniser of a map: it predicts which landmark of the map each keypoint of an image shows.

  python -m training.landmark_recognizer.train --map MAP --images DIR --out MODEL                  two cores, minutes
  python -m training.landmark_recognizer.train --map MAP --images DIR --preset base --out MODEL    larger, for a GPU

DIR holds the images that the map was built from; nothing else is needed. MODEL is a folder with an ONNX file and a
manifest, which a robot loads without torch. MODEL.run holds the log (progress.txt, info.log; tensorboard --logdir),
the configuration and the checkpoints. To resume an interrupted training, repeat the command with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from training.data.localized_images import list_keyframe_images
from training.framework.command import (
    add_camera_option,
    make_training_parser,
    name_run_folder,
    report_model,
    run_command,
)
from training.framework.provenance import hash_file, hash_images, training_metadata
from training.framework.run import train
from training.framework.run_folder import check_run_folder
from training.landmark_recognizer.config import PRESETS, build_config
from training.landmark_recognizer.examples import make_examples
from training.landmark_recognizer.export import export
from training.landmark_recognizer.task import LandmarkRecognizerTask
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.maps import map_hash, read_map

_NAME = "landmark_recognizer.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    config, run_dir = build_config(args.preset, args.set), name_run_folder(args)
    if rank_zero_only.rank == 0:  # otherwise the first process may be writing already
        replaces_model(args.out)
        check_run_folder(run_dir, args.out)
    of_map, landmark_map = map_hash(args.map), read_map(args.map)
    images = list_keyframe_images(landmark_map, args.images, read_camera(args.camera) if args.camera else None)
    examples = make_examples(images, landmark_map, config, progress=bar)
    sources = {
        "map": of_map,
        "images": hash_images(args.images, find_keyframe_images(landmark_map, args.images)),
        "camera": hash_file(args.camera) if args.camera else None,
    }
    task = LandmarkRecognizerTask(examples, landmark_map.landmarks, config)
    trained = train(task, run_dir, sources=sources, resume=args.resume)
    if rank_zero_only.rank:
        return
    export(
        trained.network,
        landmark_map.landmarks,
        args.out,
        extractor=landmark_map.extractor,
        keypoints=config.fit.keypoints,
        training=training_metadata(config, trained.held_out, sources),
    )
    report_model(args.out, trained.held_out)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    add_camera_option(parser)
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="a map by `vloc map build`")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="the images that it was built from, by the keyframes' names: subfolders for an update or a merged map",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
