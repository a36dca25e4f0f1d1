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

"""Match two images, and say how the camera moved between them.

  vloc match a.jpg b.jpg                                             RootSIFT, nearest neighbours with a ratio test
  vloc match a.jpg b.jpg --extractor models/xfeat --matcher models/lighterglue --camera camera_info.yaml

Prints JSON: matches with their pixels (the centre of the upper left one is 0.5, 0.5), which of them agree with the
motion, and second_from_first of the cameras, whose translation has length 1. Without a calibration there are matches
and no pose. Identical images and a camera that only turned have no pose either, which `status` says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.camera_options import add_camera, has_camera, make_pinhole

if TYPE_CHECKING:
    from vloc_ros.core.features.extractor_config import ExtractorConfig
    from vloc_ros.core.features.keypoints import Features
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.core.geometry.two_view import TwoViewGeometry


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("first", type=Path, metavar="A", help="image")
    parser.add_argument("second", type=Path, metavar="B", help="image")
    parser.add_argument(
        "--extractor",
        default="rootsift",
        metavar="rootsift|MODEL",
        help="keypoints: rootsift, or a model folder that `vloc model export` wrote (default: %(default)s)",
    )
    parser.add_argument(
        "--matcher", "--model", type=Path, metavar="MODEL", help="folder of a learned matcher for these keypoints"
    )
    add_camera(parser, text=", of both images")
    parser.add_argument("--second-camera", type=Path, metavar="FILE", help="that of the second image, where it differs")
    parser.add_argument("--ratio", type=float, default=0.9, metavar="R", help="of the ratio test without a matcher")
    parser.add_argument(
        "--max-error", type=float, default=1.0, metavar="PX", help="epipolar error of an inlier (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of RANSAC")
    parser.add_argument("--overlay", type=Path, metavar="PNG", help="image of both with their matches to write")
    parser.add_argument("--out", type=Path, metavar="JSON", help="file to write instead of printing")


def run(args: argparse.Namespace) -> int:
    """Extract, match, estimate and write."""
    from vloc_ros.assembly import build_extractor
    from vloc_ros.cli.map_build import read_extractor
    from vloc_ros.core.geometry.two_view import estimate_relative_pose
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.images import read_image

    _check(args)
    keypoint_model, config = read_extractor(args.extractor)
    extractor = build_extractor(config, keypoint_model)
    images = [read_image(path) for path in (args.first, args.second)]
    cameras = _cameras(args, images)
    features = [extractor.extract(image) for image in images]
    if cameras is not None:
        features = [found.seen_through(camera) for found, camera in zip(features, cameras, strict=True)]
    rows, columns = _match(args, config, features, images)
    first, second = features[0].xy[rows], features[1].xy[columns]
    motion = estimate_relative_pose(first, second, cameras, max_error_px=args.max_error, seed=args.seed)
    text = json.dumps(_describe(features, first, second, motion), indent=1, allow_nan=False) + "\n"
    if args.overlay:
        _write_overlay(args.overlay, images, first, second, motion.inliers)
    if args.out:
        write_bytes_atomically(args.out, text.encode())
        print(f"written: {args.out}, {len(first)} matches, {motion.status.value}")
    else:
        sys.stdout.write(text)
    return 0


def _check(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.output_files import json_at

    if not 0.0 < args.ratio <= 1.0:
        raise InputError(f"--ratio is {args.ratio:g}, expected more than 0 and at most 1")
    if not 0.0 < args.max_error <= 100.0:
        raise InputError(f"--max-error is {args.max_error:g}, expected more than 0 and at most 100 px")
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed is {args.seed}, expected 0 to {2**32 - 1}")
    if args.second_camera and not has_camera(args):
        raise InputError("--second-camera without --camera: the first image's calibration is missing; give it too")
    if args.overlay and args.overlay.suffix.lower() != ".png":
        raise InputError(f"--overlay {args.overlay}: expected a name that ends in .png")
    if args.overlay and args.overlay.exists() and not _is_png(args.overlay):
        raise InputError(f"--overlay {args.overlay}: holds something other than a PNG image; name another file")
    if args.out:
        json_at(args.out, key="matches")


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x89PNG"


def _cameras(args: argparse.Namespace, images: list[Array]) -> tuple[Camera, Camera] | None:
    from vloc_ros.core.query import View
    from vloc_ros.storage.cameras import read_camera

    if not has_camera(args):
        return None
    first = read_camera(args.camera) if args.camera else make_pinhole(args.focal, *images[0].shape[1::-1])
    second = read_camera(args.second_camera) if args.second_camera else first
    for image, camera in zip(images, (first, second), strict=True):
        View(image, camera)  # refuses a calibration for another size
    return first, second


def _match(
    args: argparse.Namespace, config: ExtractorConfig, features: list[Features], images: list[Array]
) -> tuple[Array, Array]:
    """Rows of the features of both images that match."""
    from vloc_ros.core.features.iterative_matching import IterativeMatcher
    from vloc_ros.core.features.matching_network import check_extractor, describe_features
    from vloc_ros.core.features.nearest_neighbours import match_mutual
    from vloc_ros.inference.matching_network import read_matching_network

    if not args.matcher:
        return match_mutual(features[0].descriptors, features[1].descriptors, ratio=args.ratio)
    network = read_matching_network(args.matcher)
    check_extractor(network, config)
    first, second = (
        describe_features(found, image.shape[1], image.shape[0]) for found, image in zip(features, images, strict=True)
    )
    found = IterativeMatcher(network, max_keypoints=2048).match(first, second)
    return found.first, found.second


def _describe(features: list[Features], first: Array, second: Array, motion: TwoViewGeometry) -> dict[str, Any]:
    """What is printed, as JSON types."""
    import numpy as np

    from vloc_ros.core.geometry.pose import Pose

    pose = motion.second_from_first
    turned = None if motion.rotation is None else Pose(motion.rotation, np.zeros(3)).quaternion
    return {
        "status": motion.status.value,
        "reason": motion.reason,
        "keypoints": [len(found) for found in features],
        "inliers": int(motion.inliers.sum()),
        "rotation_xyzw": None if turned is None else [round(float(q), 9) for q in turned],
        "translation": None if pose is None else [round(float(t), 9) for t in pose.translation],
        "matches": [
            {"first": [round(float(v), 2) for v in a], "second": [round(float(v), 2) for v in b], "inlier": bool(good)}
            for a, b, good in zip(first, second, motion.inliers, strict=True)
        ],
    }


def _write_overlay(path: Path, images: list[Array], first: Array, second: Array, inliers: Array) -> None:
    """Both images side by side; lines of inliers are green, of other matches red."""
    import cv2
    import numpy as np

    from vloc_ros.storage.atomic import write_bytes_atomically

    height, offset = max(image.shape[0] for image in images), images[0].shape[1]
    canvas = np.zeros((height, offset + images[1].shape[1], 3), np.uint8)
    for image, x in zip(images, (0, offset), strict=True):
        colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        canvas[: image.shape[0], x : x + image.shape[1]] = colour
    for k in np.argsort(inliers, kind="stable"):
        # OpenCV counts from pixel centres
        ends = (np.rint(xy).astype(int).tolist() for xy in (first[k] - 0.5, second[k] - 0.5 + (offset, 0)))
        colour = (0, 200, 0) if inliers[k] else (0, 0, 220)
        cv2.line(canvas, *ends, colour, 1, cv2.LINE_AA)
    write_bytes_atomically(path, cv2.imencode(".png", canvas)[1].tobytes())
