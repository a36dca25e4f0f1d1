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

"""Poses of a moving camera in a map of LiDAR places, and how good they are where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.storage.images import read_image

# images before the one to localize that are read: the path limits them further
_MOST_IMAGES = 60
LIMITS = ((0.25, 2.0), (0.25, 10.0), (0.5, 5.0), (2.0, 10.0))


@dataclass(frozen=True, slots=True, eq=False)
class LocatedCamera:
    """What was found for one image.

    Attributes:
        number: of the image.
        image: (H, W) uint8 grey.
        cloud: of it and those before it.
        result: the pose of the optical frame, or why there is none.
        hypotheses: all of them, best first.
    """

    number: int
    image: Array
    cloud: CameraCloud
    result: LocalizationResult
    hypotheses: list[CameraHypothesis]


def find_poses(
    search: CameraCloudSearch,
    stereo: MotionStereo,
    paths: Sequence[Path],
    camera: Camera,
    odom_from_camera: Sequence[Pose],
    *,
    reach_m: float,
    chosen: Sequence[int],
    read: Callable[[Path], Any] = read_image,
) -> Iterator[LocatedCamera]:
    """Where some images were taken, each by itself and those before it.

    Args:
        search: in the map.
        stereo: makes the clouds.
        paths: of the images, in the order of time.
        camera: that took them.
        odom_from_camera: of each image, in a frame whose z axis points up.
        reach_m: from the camera to the next place at most.
        chosen: which of them are localized.
        read: decodes an image.

    Raises:
        InputError: an image does not fit the camera, or the lattice of poses would be too large.
    """
    images = dict[int, Any]()
    for number in chosen:
        window = range(max(0, number - _MOST_IMAGES), number + 1)
        images = {k: images[k] if k in images else _read_grey(paths[k], read) for k in window}
        cloud = stereo.reconstruct([MovingView(images[k], odom_from_camera[k]) for k in window], camera)
        result, found = search.localize(cloud, odom_from_camera[number].rotation, reach_m=reach_m)
        yield LocatedCamera(number, images[number], cloud, result, found)


def summarize_errors(found: Sequence[Pose | None], truth: Sequence[Pose]) -> dict[str, float]:
    """Median errors of the best hypotheses, metres and degrees, and the share of all images within each limit."""
    errors = np.full((len(truth), 2), np.inf)
    for row, (pose, true) in enumerate(zip(found, truth, strict=True)):
        if pose is not None:
            distance_m, turn_rad = pose.distance_to(true)
            errors[row] = distance_m, np.degrees(turn_rad)
    summary = {"median_m": float(np.median(errors[:, 0])), "median_deg": float(np.median(errors[:, 1]))}
    for metres, degrees in LIMITS:
        within = (errors[:, 0] <= metres) & (errors[:, 1] <= degrees)
        summary[f"within {metres:g} m, {degrees:g} deg"] = float(within.mean())
    return summary


def summarize_results(results: Sequence[LocalizationResult], truth: Sequence[Pose]) -> dict[str, Any]:
    """How many are accepted, their median errors, metres and degrees, the shares within each limit, and mean NEES.

    A pose further off than the last limit is a false accept; NEES, 6 where the covariance is consistent, is that of
    the others, with the 95 % interval of the mean of as many consistent and independent ones.
    """
    accepted = [(one, true) for one, true in zip(results, truth, strict=True) if one.ok]
    if not accepted:
        return {"images": len(results), "accepted": 0}
    summary = summarize_errors([one.map_from_rig for one, _ in accepted], [true for _, true in accepted])
    most_m, most_deg = LIMITS[-1]
    errors, covariances = list[Array](), list[Array]()
    for one, true in accepted:
        assert one.map_from_rig is not None
        assert one.covariance is not None
        distance_m, turn_rad = one.map_from_rig.distance_to(true)
        if distance_m <= most_m and np.degrees(turn_rad) <= most_deg:
            errors.append(one.map_from_rig.error_to(true))
            covariances.append(one.covariance)
    figures: dict[str, Any] = {
        "images": len(results),
        "accepted": len(accepted),
        "false accepts": len(accepted) - len(errors),
    }
    if errors:
        half_width = 1.96 * np.sqrt(2 * 6 / len(errors))
        figures["nees"] = float(squared_mahalanobis_distances(np.array(errors), np.array(covariances)).mean())
        figures["consistent nees"] = [6 - half_width, 6 + half_width]
    return figures | summary


def _read_grey(path: Path, read: Callable[[Path], Any]) -> Any:
    image = read(path)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
