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

"""Build a map from images or a bag.

  vloc map build --images DIR --poses TUM --camera YAML --out MAP            poses are known and kept
  vloc map build --images DIR --camera YAML --structure sfm --out MAP        from images alone, scale unknown
  vloc map build --images DIR --focal PX --refine-calibration YAML --out MAP   photographs without a calibration
  vloc map build --images DIR --poses TUM --camera YAML --structure sfm --out MAP
                                                 the poses are measurements, which the images correct
  vloc map build --bag BAG --image-topic T --odom-topic T --out MAP          the same with odometry; keyframes by motion
  vloc map build --bag BAG --image-topic FRONT --image-topic REAR --out MAP
                                                 the cameras of a rig, tied by its extrinsics
  vloc map build --bag BAG --image-topic T --gnss-topic T --imu-topic T --out MAP
                                                 odometry too, in a frame of east, north and up
  vloc map build --images DIR --camera YAML --positions TXT --out MAP
                                                 from images; measured positions give scale and frame
  vloc map build --images DIR --colmap MODEL --out MAP                       poses and calibration of a COLMAP model;
                                                 also --transforms JSON, --kitti POSES, --euroc MAV0
  vloc map build ... --extractor MODEL --out MAP                             keypoints by a learned model
  vloc map build ... --workers ray --out MAP     spread over the machines of a Ray cluster that `ray start` has started

Poses are rows of map_from_camera (optical frame): `IMAGE x y z qx qy qz qw`, or TUM's, which are paired by time with
images that are named by it, and else one by one in name order. Of KITTI and EuRoC, images between which the camera
moved or turned become keyframes, as of a bag. The map appears when it is whole: an interrupted build leaves none, or
the one that was there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.map_build_inputs import check_distance, read_source, scale_source
from vloc_ros.cli.map_build_options import ROOTSIFT, add_options
from vloc_ros.cli.map_build_summary import summarize
from vloc_ros.cli.pose_sources import POSE_SOURCES, check_scale_unknown
from vloc_ros.cli.source_options import check_max_time_difference, check_source_options, note
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.config import InferenceConfig
    from vloc_ros.core.features.extractor_config import ExtractorConfig
    from vloc_ros.core.features.keypoint_model import KeypointModel
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.sfm.scale import ScaleSource
    from vloc_ros.mapping.workers import Workers
    from vloc_ros.storage.output_files import Output

_OF_IMAGES = ("poses", *POSE_SOURCES, "scale_unknown", "poses_drift", "distance", "focal")


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Build and write."""
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.mapping.maps.checked_build import build_checked_map, find_doubt
    from vloc_ros.storage.cameras import write_camera
    from vloc_ros.storage.maps import map_bytes, write_map

    end_on_sigterm()  # again: pycolmap is imported now
    check_source_options(args, of_images=_OF_IMAGES)
    check_max_time_difference(args)
    check_scale_unknown(args)
    out = map_at(args.out)
    keypoint_model, extractor = read_extractor(args.extractor)
    config = _config(args, extractor)
    source = read_source(args)
    scale = scale_source(args, source.camera_path)
    check_distance(args, source.images)
    _note_structure(args, scale, len(source.images))
    calibration = _calibration_output(args, source.images)
    with _workers(args) as workers:
        landmark_map = build_checked_map(
            source.images,
            name=args.name or args.out.resolve().name,
            config=config,
            keypoint_model=keypoint_model,
            frame_id=args.frame_id,
            scale=scale,
            progress=bar,
            workers=workers,
        )
    doubt = find_doubt(landmark_map, source.images, config=config, keypoint_model=keypoint_model, progress=bar)
    _refuse(doubt, accepted=args.write_unverified)
    if args.scale_unknown:
        landmark_map = replace(landmark_map, metric=False)
    if source.datum is not None:
        landmark_map = replace(landmark_map, scenes=(replace(landmark_map.scene(), datum=source.datum),))
    write_map(landmark_map, args.out)
    print(summarize(landmark_map, len(source.images), config.calibration_gap_m))
    print(f"{out} ({map_bytes(args.out) / 1e6:.2f} MB)")
    if calibration is not None:
        write_camera(calibration.path, landmark_map.keyframes.cameras[0], name=landmark_map.name)
        print(calibration)
    return 0


def _note_structure(args: argparse.Namespace, scale: ScaleSource | None, images: int) -> None:
    """Say that images alone are reconstructed where nobody has asked for that: poses may have been forgotten."""
    from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, KnownDistance

    if args.structure is None and (scale is UNKNOWN_SCALE or isinstance(scale, KnownDistance)):
        length = "the scale will be unknown" if scale is UNKNOWN_SCALE else "--distance gives the scale"
        note(
            f"no poses are given: structure from motion of {images} images, which takes minutes; the frame will be "
            f"the map's own, and {length}"
        )


def _calibration_output(args: argparse.Namespace, images: Sequence[PosedImage]) -> Output | None:
    """Where the refined calibration goes, which is checked before the work to be that of one camera."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.output_files import calibration_at

    if args.refine_calibration is None:
        return None
    cameras = len({image.camera for image in images})
    if cameras != 1:
        raise InputError(
            f"--refine-calibration writes one calibration, and the images have {cameras}; build with "
            "--set refine_calibration=true instead, and the map carries all of them"
        )
    return calibration_at(args.refine_calibration)


@contextmanager
def _workers(args: argparse.Namespace) -> Iterator[Workers]:
    """Who finds and matches keypoints."""
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.mapping.workers import THIS_PROCESS

    if args.workers is None:
        yield THIS_PROCESS
        return
    from vloc_ros.mapping.ray_workers import connect_to_ray

    with connect_to_ray() as workers:
        end_on_sigterm()  # again: Ray has taken it
        yield workers


def _refuse(doubt: str, *, accepted: bool) -> None:
    """Nothing that looks like a map is left of wrong input, unless it is wanted all the same."""
    from vloc_ros.core.errors import MapError

    if doubt and not accepted:
        raise MapError(f"{doubt}; --write-unverified writes the map all the same")
    if doubt:
        print(f"vloc: warning: {doubt}", file=sys.stderr)


def read_extractor(name: str) -> tuple[KeypointModel | None, ExtractorConfig]:
    """The extractor that an option names, and its model where it is a network.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    from vloc_ros.core.errors import ModelError
    from vloc_ros.core.features.extractor_config import EXTRACTOR_CONFIGS, RootSiftConfig
    from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model

    if name == ROOTSIFT:
        return None, RootSiftConfig()
    if not Path(name).exists() and name.partition("-")[0] in EXTRACTOR_CONFIGS:
        raise ModelError(
            f"--extractor {name}: there is no such folder, expected that of a model; run `vloc model export {name} "
            f"--out {name}`, then --extractor {name}"
        )
    keypoint_model = read_keypoint_model(Path(name))
    return keypoint_model, keypoint_model_config(keypoint_model)


def _config(args: argparse.Namespace, extractor: ExtractorConfig) -> MappingConfig:
    from vloc_ros.cli.localizer_options import assign_all
    from vloc_ros.mapping.config import mapping_config_from

    values: dict[str, Any] = {}
    if args.max_keypoints is not None:
        values["extractor"] = {"max_keypoints": args.max_keypoints}
    assign_all(values, args.set)
    if args.refine_calibration:
        values["refine_calibration"] = True
    config = mapping_config_from(values, extractor=extractor)
    return config if args.workers is None else replace(config, inference=_one_thread(config.inference))


def _one_thread(inference: InferenceConfig) -> InferenceConfig:
    """What a network runs on in a worker that has one processor."""
    from vloc_ros.core.errors import ConfigError
    from vloc_ros.inference.engines import ON_CPU

    if inference.engine != ON_CPU.engine or inference.provider != ON_CPU.provider or inference.threads > 1:
        raise ConfigError(
            f"--workers ray with inference.engine={inference.engine}, inference.provider={inference.provider} and "
            f"inference.threads={inference.threads}, expected {ON_CPU.engine}, {ON_CPU.provider} and one thread: each "
            "worker has one processor; leave these out"
        )
    return replace(inference, threads=1)
