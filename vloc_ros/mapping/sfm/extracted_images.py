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

"""Images with their keypoints and rays: what maps are built from and extended by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.sources import PosedImage, Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.correspondences import epipolar_inliers, match_pairs
from vloc_ros.mapping.sfm.image_sets import ImageSets
from vloc_ros.mapping.sfm.pairs import Pair, pairs_by_pose
from vloc_ros.mapping.sfm.structure import Structure
from vloc_ros.mapping.workers import THIS_PROCESS, Workers


@dataclass(frozen=True, slots=True, eq=False)
class ExtractedImage:
    """An image with its keypoints.

    Attributes:
        image: the image and its pose.
        features: its keypoints.
        rays: (K, 3) rays of the optical frame through them, with z = 1.
    """

    image: PosedImage
    features: Features
    rays: Array


def extract_features(
    images: Sequence[PosedImage], extractor: Extractor, progress: Progress, workers: Workers = THIS_PROCESS
) -> list[Features]:
    """The features of every image, in order.

    Raises:
        InputError: an image does not have the size of its camera, or cannot be read.
    """
    found = workers.map(extractor.extract, map(_load, images))
    return list(progress(found, description="features", total=len(images)))


def _load(image: PosedImage) -> Array:
    pixels = image.load()
    if pixels.shape[:2] != (image.camera.height, image.camera.width):
        raise InputError(
            f"{image.name} is {pixels.shape[1]}x{pixels.shape[0]}, its camera calibration is for "
            f"{image.camera.width}x{image.camera.height}; use the calibration of these images"
        )
    return pixels


def extract_images(
    images: Sequence[PosedImage], extractor: Extractor, progress: Progress, workers: Workers = THIS_PROCESS
) -> list[ExtractedImage]:
    """The views of images, in order.

    Raises:
        InputError: an image does not have the size of its camera, or cannot be read.
    """
    features = extract_features(images, extractor, progress, workers)
    usable = [found.seen_through(image.camera) for image, found in zip(images, features, strict=True)]
    return [
        ExtractedImage(image, found, image.camera.unproject(found.xy))
        for image, found in zip(images, usable, strict=True)
    ]


def with_camera(view: ExtractedImage, camera: Camera) -> ExtractedImage:
    """The image with another calibration; keypoints that no ray of it meets are left out."""
    if camera == view.image.camera:
        return view
    features = view.features.seen_through(camera)
    return ExtractedImage(replace(view.image, camera=camera), features, camera.unproject(features.xy))


def match_posed_images(
    views: Sequence[ExtractedImage],
    config: MappingConfig,
    progress: Progress,
    *,
    matches: Mapping[Pair, Array] | None = None,
    workers: Workers = THIS_PROCESS,
) -> dict[Pair, Array]:
    """Matches of pairs that look the same way, checked against the known poses.

    Args:
        views: all with poses.
        config: parameters.
        progress: shows the progress.
        matches: (M, 2) keypoint indices of pairs that were matched before.
        workers: match the others.
    """
    poses = [view.image.map_from_camera for view in views if view.image.map_from_camera is not None]
    pairs = pairs_by_pose(
        poses,
        per_image=config.pairs_per_image,
        max_angle_rad=config.pair_max_angle_rad,
        sets=ImageSets.of([view.image for view in views]).rig_numbers,
    )
    verified, known = {}, matches or {}
    missing = [pair for pair in pairs if pair not in known]
    new = match_pairs([view.features for view in views], missing, ratio=config.match_ratio, workers=workers)
    matched = ((pair, known[pair]) if pair in known else next(new) for pair in pairs)
    for (i, j), found in progress(matched, description="matching", total=len(pairs)):
        meet = epipolar_inliers(
            (views[i].rays[found[:, 0]], views[j].rays[found[:, 1]]),
            (poses[i], poses[j]),
            (views[i].image.camera, views[j].image.camera),
            max_error_px=config.max_epipolar_error_px,
        )
        if meet.sum() >= config.min_pair_matches:
            verified[i, j] = found[meet]
    return verified


def make_keyframes(views: Sequence[ExtractedImage], structure: Structure) -> Keyframes:
    """The views as keyframes that see the points of a structure; all have poses."""
    offsets, visible = structure.visible()
    poses: list[Pose] = [pose for pose in structure.poses if pose is not None]
    return Keyframes(
        names=tuple(view.image.name for view in views),
        rotations=np.stack([pose.rotation for pose in poses]),
        translations=np.stack([pose.translation for pose in poses]),
        point_offsets=offsets,
        point_indices=visible.astype(np.int32),
        cameras=tuple(view.image.camera for view in views),
    )


def focal_lengths_px(images: Sequence[ExtractedImage]) -> Array:
    """(N,) focal length of each image's camera, pixels."""
    return np.array([image.image.camera.intrinsics[0] for image in images])
