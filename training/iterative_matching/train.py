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

r"""Train a matcher of two sets of keypoints, from nothing, on one machine without downloads.

  python -m training.iterative_matching.train --worlds 40 --extractor models/xfeat --out MODEL
  python -m training.iterative_matching.train --homographies IMAGES --map MAP --images DIR --preset base --out MODEL

Pairs come from simulated worlds, from versions of images, from maps with the images that these were built from, and
from MegaDepth. Scores are of simulated worlds that nothing is trained on. MODEL is a folder with ONNX files and a
manifest, which `vloc match`, `vloc localize` and the localizer take. MODEL.run holds the log (progress.txt, info.log;
tensorboard --logdir), the configuration and the checkpoints. To resume an interrupted training, repeat the command
with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from training.data.localized_images import list_keyframe_images, list_localized_images
from training.framework.command import (
    add_camera_option,
    make_training_parser,
    name_run_folder,
    report_model,
    run_command,
)
from training.framework.provenance import training_metadata
from training.framework.run import train
from training.framework.run_folder import check_run_folder
from training.iterative_matching.config import IMP, PRESETS, MatcherTrainingConfig, build_config
from training.iterative_matching.export import export
from training.iterative_matching.homographies import HomographyViews
from training.iterative_matching.map_views import MapViews
from training.iterative_matching.megadepth import MegaDepthViews
from training.iterative_matching.pairs import find_pairs
from training.iterative_matching.sources import JoinedViews, ViewSource, ViewStore, choose_extractor
from training.iterative_matching.task import IterativeMatchingTask, choose_held_out
from training.iterative_matching.worlds import HELD_OUT_SEED, TRAINING_SEED, WorldViews, list_worlds
from vloc_ros.core.errors import InputError
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.maps import map_hash, read_map

_NAME = "iterative_matching.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    config, run_dir = build_config(args.preset, args.set), name_run_folder(args)
    if rank_zero_only.rank == 0:  # otherwise the first process may be writing already
        replaces_model(args.out)
        check_run_folder(run_dir, args.out)
    build, extractor = choose_extractor(args.extractor)
    cache = args.cache or args.out.with_name(f"{args.out.name}.views")
    sources = list_sources(args, config, extractor)
    stores = [ViewStore(source, build, None if args.online else cache) for source in sources]
    held_out_source = WorldViews(list_worlds(args.held_out_worlds, HELD_OUT_SEED), config.data, extractor)
    held_out = ViewStore(held_out_source, build, cache)
    for store in (*stores, held_out):
        store.fill(progress=bar)
    views, scored = JoinedViews(stores), JoinedViews([held_out])
    dimension = build().dimension
    task = IterativeMatchingTask(
        views,
        find_pairs(views, config.data, progress=bar),
        choose_held_out(scored, find_pairs(scored, config.data, progress=bar), config),
        config,
        dimension=dimension,
    )
    hashes: dict[str, Any] = {
        "views": [dict(source.description) for source in (*sources, held_out_source)],
        "extractor": extractor,
        "dimension": dimension,
    }
    trained = train(task, run_dir, sources=hashes, resume=args.resume)
    if rank_zero_only.rank:
        return
    if config.model.kind == IMP:
        print(f"held-out pairs: {dict(trained.held_out)}; imp is not exported, its weights are in {run_dir}")
        return
    export(trained.network, args.out, extractor, training_metadata(config, trained.held_out, hashes))
    report_model(args.out, trained.held_out)


def list_sources(
    args: argparse.Namespace, config: MatcherTrainingConfig, extractor: Mapping[str, Any]
) -> list[ViewSource]:
    """The sources that the command names.

    Raises:
        InputError: it names none.
    """
    sources: list[ViewSource] = []
    if args.worlds:
        sources.append(WorldViews(list_worlds(args.worlds, TRAINING_SEED), config.data, extractor))
    sources += [
        HomographyViews(
            folder, config.images, config.light, extractor, keypoints=config.data.keypoints, seed=config.fit.seed
        )
        for folder in args.homographies
    ]
    if args.worlds < 0 or args.held_out_worlds < 1:
        raise InputError(
            f"--worlds is {args.worlds} and --held-out-worlds {args.held_out_worlds}, expected at least 0 and 1"
        )
    if len(args.map) != len(args.images):
        raise InputError(
            f"{len(args.map)} --map and {len(args.images)} --images, expected as many; each map has its own"
        )
    if (args.posed is None) != (args.poses is None):
        raise InputError("--posed and --poses belong together: images, and map_from_camera of each in the first --map")
    if args.posed and not args.map:
        raise InputError("--posed without --map: give the map that the poses are in")
    sources += [
        read_map_views(args, folder, images, config.data.keypoints, extractor, with_posed=number == 0)
        for number, (folder, images) in enumerate(zip(args.map, args.images, strict=True))
    ]
    sources += [
        MegaDepthViews(root, config.data, config.light, extractor, seed=config.fit.seed) for root in args.megadepth
    ]
    if not sources:
        raise InputError("nothing to train on; give --worlds, --homographies, --map or --megadepth")
    return sources


def read_map_views(
    args: argparse.Namespace,
    folder: Path,
    images: Path,
    keypoints: int,
    extractor: Mapping[str, Any],
    *,
    with_posed: bool,
) -> MapViews:
    """Views of the images that a map was built from, and of further ones with poses in the first map.

    Raises:
        InputError: images or poses are missing, or the map has other keypoints.
    """
    landmark_map, camera = read_map(folder), read_camera(args.camera) if args.camera else None
    shown = list_keyframe_images(landmark_map, images, camera)
    if with_posed and args.posed:
        if camera is None:
            raise InputError("--posed without --camera: give the calibration of these images")
        shown += list_localized_images(landmark_map, args.posed, args.poses, camera)
    return MapViews(landmark_map, shown, extractor, map_hash=map_hash(folder), keypoints=keypoints)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    add = parser.add_argument
    add(
        "--extractor", default="rootsift", metavar="rootsift|MODEL",
        help="keypoints: rootsift, or a model folder that `vloc model export` wrote (default: %(default)s)",
    )  # fmt: skip
    add("--worlds", type=int, default=0, metavar="N", help="simulated worlds to train on")
    add(
        "--held-out-worlds", type=int, default=5, metavar="N",
        help="simulated worlds whose pairs are scored (default: %(default)s)",
    )  # fmt: skip
    add(
        "--homographies", type=Path, action="append", default=[], metavar="DIR",
        help="images whose versions are pairs; may be repeated",
    )  # fmt: skip
    add(
        "--map", type=Path, action="append", default=[], metavar="MAP",
        help="map by `vloc map build` with these keypoints; may be repeated",
    )  # fmt: skip
    add(
        "--images", type=Path, action="append", default=[], metavar="DIR",
        help="images that a map was built from, one for each --map in order",
    )  # fmt: skip
    add("--posed", type=Path, metavar="DIR", help="images that the first map was not built from")
    add("--poses", type=Path, metavar="TUM", help="map_from_camera of every image of --posed, in name order")
    add_camera_option(parser)
    add(
        "--megadepth", type=Path, action="append", default=[], metavar="ROOT",
        help="folder in MegaDepth's layout: scene_info and what its files name; may be repeated",
    )  # fmt: skip
    add("--cache", type=Path, metavar="DIR", help="keypoints of all views, used again; default: MODEL.views")
    add("--online", action="store_true", help="make each view anew for every epoch, in other light and perspective")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
