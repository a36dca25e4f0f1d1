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

"""Poses of a moving camera along a drive in a map of LiDAR places, by clouds of its last images, and of the drive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_drive_search import CameraDriveSearch
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.drive_window import DriveWindow
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.storage.images import read_image

# images before the one to localize that are read: the path limits them further
_MOST_IMAGES = 60
# before the first cloud, in paths of a cloud
_FIRST = 0.5
# squared Mahalanobis distance of two accepted poses; of consistent ones one in a hundred thousand is larger
_CONTRADICTS = 34.0


@dataclass(frozen=True, slots=True, eq=False)
class LocatedCamera:
    """What was found for one image.

    Attributes:
        number: of the image.
        name: of its file.
        image: (H, W) uint8 grey.
        cloud: of it and those before it.
        clouds: how many clouds, this one and those before it that share no images, the result is of; 0 where this one
            has too few points.
        alone: by this cloud alone, the pose of the optical frame, or why there is none.
        result: by all of them.
        hypotheses: of all of them, best first.
        found: hypotheses of this cloud alone, best first.
    """

    number: int
    name: str
    image: Array
    cloud: CameraCloud
    clouds: int
    alone: LocalizationResult
    result: LocalizationResult
    hypotheses: Sequence[CameraHypothesis]
    found: Sequence[CameraHypothesis]


def choose_images(odom_from_camera: Sequence[Pose], stereo: MotionStereo) -> list[int]:
    """Which images have a cloud: the first after half of its path, then each that shares no images with the last."""
    positions = np.array([pose.translation for pose in odom_from_camera])
    way_m = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=1))])
    chosen = list[int]()
    for number in np.flatnonzero(way_m >= _FIRST * stereo.path_m):
        if not chosen or _first_used(odom_from_camera, int(number), stereo) > chosen[-1]:
            chosen.append(int(number))
    return chosen


def find_poses(
    search: CameraDriveSearch,
    stereo: MotionStereo,
    paths: Sequence[Path],
    camera: Camera,
    odom_from_camera: Sequence[Pose],
    *,
    reach_m: float,
    reach_up_m: float,
    chosen: Sequence[int],
    read: Callable[[Path], Any] = read_image,
) -> Iterator[LocatedCamera]:
    """Where some images were taken, each by its cloud and those before it that share no images.

    Clouds of the same images would confirm each other, whatever they show.

    Args:
        search: in the map.
        stereo: makes the clouds.
        paths: of the images, in the order of time.
        camera: that took them.
        odom_from_camera: of each image, in a frame whose z axis points up.
        reach_m: horizontal distance from the camera to the next place at most.
        reach_up_m: vertical distance.
        chosen: which of them are localized, ascending.
        read: decodes an image.

    Raises:
        InputError: an image does not fit the camera, or the lattice of poses would be too large.
    """
    images, window = dict[int, Any](), DriveWindow(search, stereo, reach_m=reach_m, reach_up_m=reach_up_m)
    for number in chosen:
        numbers = _numbers_until(number)
        images = {k: images[k] if k in images else _read_grey(paths[k], read) for k in numbers}
        cloud = stereo.reconstruct([MovingView(images[k], odom_from_camera[k]) for k in numbers], camera)
        first = _first_used(odom_from_camera, number, stereo)
        found = window.locate(cloud, odom_from_camera[number], first=first, number=number)
        yield LocatedCamera(
            number,
            paths[number].name,
            images[number],
            cloud,
            found.clouds,
            found.alone,
            found.result,
            found.hypotheses,
            found.found,
        )


def settle_drive(
    located: Sequence[LocatedCamera], odom_from_camera: Sequence[Pose], *, errors: CameraErrors
) -> tuple[list[LocalizationResult], LocalizationResult]:
    """The results of a drive's images, and that of the drive.

    Where two poses that several clouds each were accepted by contradict each other by odometry, all are refused, and so
    is the drive. A pose by a single cloud that contradicts one of them is refused alone. The drive's result is else the
    surest of the accepted ones, or the last reason.

    Args:
        located: the images of one drive.
        odom_from_camera: of all images of it.
        errors: of odometry and calibration.
    """
    accepted = [one for one in located if one.result.ok and one.clouds > 1]
    results = [
        _unless_contradicted(one, accepted, odom_from_camera, errors)
        if one.result.ok and one.clouds == 1
        else one.result
        for one in located
    ]
    for k, one in enumerate(accepted):
        for other in accepted[:k]:
            if _contradict(one, other, odom_from_camera, errors):
                reason = f"images {other.name} and {one.name} lead to poses that contradict odometry"
                return [
                    result.refused_as(Status.AMBIGUOUS, reason) if result.ok else result for result in results
                ], one.result.refused_as(Status.AMBIGUOUS, reason)
    if sure := [result for result in results if result.ok]:
        return results, max(sure, key=lambda result: result.confidence)
    if not results:
        reason = "the camera has not moved far enough for a cloud"
        return [], LocalizationResult.refused(Status.NO_FEATURES, reason)
    reason = f"none of {len(results)} clouds is accepted; the last: {results[-1].reason}"
    return results, replace(results[-1], reason=reason)


def _unless_contradicted(
    one: LocatedCamera, accepted: Sequence[LocatedCamera], odom_from_camera: Sequence[Pose], errors: CameraErrors
) -> LocalizationResult:
    """The result of a single cloud, or its refusal where a pose by several clouds contradicts it."""
    for other in accepted:
        first, second = sorted((one, other), key=lambda located: located.number)
        if _contradict(second, first, odom_from_camera, errors):
            reason = f"the pose contradicts that of image {other.name} by odometry"
            return one.result.refused_as(Status.AMBIGUOUS, reason)
    return one.result


def _contradict(
    one: LocatedCamera, other: LocatedCamera, odom_from_camera: Sequence[Pose], errors: CameraErrors
) -> bool:
    first, second = other.result, one.result
    assert first.map_from_rig is not None
    assert second.map_from_rig is not None
    assert first.covariance is not None
    assert second.covariance is not None
    if first.frame_id != second.frame_id:
        return True
    moved = odom_from_camera[other.number].inverse() @ odom_from_camera[one.number]
    error = (first.map_from_rig @ moved).error_to(second.map_from_rig)
    carried = carry_covariance(first.covariance, first.map_from_rig, moved)
    path = [pose.translation for pose in odom_from_camera[other.number : one.number + 1]]
    travelled_m = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    shift = first.map_from_rig.rotation @ moved.translation
    allowed = carried + second.covariance + errors.drift(shift, travelled_m=travelled_m)
    return float(error @ np.linalg.solve(allowed, error)) > _CONTRADICTS


def _numbers_until(number: int) -> range:
    return range(max(0, number - _MOST_IMAGES), number + 1)


def _first_used(odom_from_camera: Sequence[Pose], number: int, stereo: MotionStereo) -> int:
    """Number of the first image that the cloud of one is made of."""
    numbers = _numbers_until(number)
    return numbers[0] + stereo.first_used([odom_from_camera[k] for k in numbers])


def _read_grey(path: Path, read: Callable[[Path], Any]) -> Any:
    image = read(path)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
