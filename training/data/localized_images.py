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

"""Images with poses in a map, and the map points that each may show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.map_images import list_cameras
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.pose_files import pair_poses


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImage:
    """An image with a known pose in the map.

    Attributes:
        name: for messages.
        load: reads the image, (H, W) or (H, W, 3) uint8.
        camera: calibration.
        scene_from_camera: pose relative to the origin of its scene.
        points: (V,) indices of the map points that it may show, of that scene.
        path: its file; None for one that is not of a file.
    """

    name: str
    load: Callable[[], Array]
    camera: Camera
    scene_from_camera: Pose
    points: Array
    path: Path | None = None


def list_keyframe_images(landmark_map: LandmarkMap, folder: Path, camera: Camera | None = None) -> list[TrainingImage]:
    """The images that a map was built from; `camera` is theirs, for a map without cameras.

    Raises:
        InputError: the images of some keyframes are missing, or no camera is known.
    """
    keyframes, cameras = landmark_map.keyframes, list_cameras(landmark_map, camera)
    return [
        TrainingImage(
            path.name, lambda path=path: read_image(path), cameras[k], keyframes.pose(k), keyframes.visible(k), path
        )
        for k, path in enumerate(find_keyframe_images(landmark_map, folder))
    ]


def list_localized_images(
    landmark_map: LandmarkMap, folder: Path, poses: Path, camera: Camera, *, scene: str = ""
) -> list[TrainingImage]:
    """Images that a map was not built from, each of which may show any point of its scene.

    Args:
        landmark_map: the map.
        folder: of the images.
        poses: map_from_camera of every image, in name order.
        camera: of all images.
        scene: frame of the images, where the map has several.
    """
    paths, of_map = list_images(folder), landmark_map.scene(scene)
    points = np.arange(of_map.points.start, of_map.points.stop)
    return [
        TrainingImage(
            paths[one.index].name,
            lambda path=paths[one.index]: read_image(path),  # type: ignore[misc]
            camera,
            of_map.scene_from(one.pose),
            points,
            paths[one.index],
        )
        for one in pair_poses([path.name for path in paths], poses)
    ]
