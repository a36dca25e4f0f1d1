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

"""Training images of vloc maps and of COLMAP models: their files, poses and visible points."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.covisible_images import CovisibleImages, project_points
from training.data.posed_images import PosedImages
from training.framework.provenance import hash_file
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.datasets.keyframe_images import check_none_missing, find_keyframe_images
from vloc_ros.storage.maps import read_manifest, read_map

if TYPE_CHECKING:
    import pycolmap

_COLMAP_FILES = ("cameras.bin", "cameras.txt")
_COLMAP_PARTS = ("cameras", "frames", "images", "points3D", "rigs")


def read_map_images(source: Path, images: Path, camera: Camera | None = None) -> CovisibleImages:
    """The images of a vloc map or of a COLMAP model.

    Args:
        source: folder of either.
        images: folder of the images that it was built from.
        camera: of all images, for a map without cameras.

    Raises:
        InputError: images are missing, no camera is known, or the folder holds neither.
        MapError: the map is damaged.
    """
    if _is_colmap_model(source):
        return collect_model_images(_read_colmap_model(source), images)
    return collect_keyframes(read_map(source), images, camera)


def identify_source(source: Path) -> dict[str, str]:
    """The name and content hash of a vloc map or a COLMAP model.

    Raises:
        InputError: the model cannot be read.
        MapError: the map cannot be read.
    """
    own_name = source.resolve().name
    if _is_colmap_model(source):  # a manifest beside it is not of the model
        parts = sorted(p for p in source.iterdir() if p.stem in _COLMAP_PARTS and p.suffix in (".bin", ".txt"))
        content = "".join(f"{path.name}\0{hash_file(path)}\0" for path in parts)
        return {"name": own_name, "hash": hashlib.sha256(content.encode()).hexdigest()}
    manifest = read_manifest(source)
    return {"name": str(manifest.get("name") or own_name), "hash": str(manifest["hash"])}


def _is_colmap_model(source: Path) -> bool:
    return any((source / name).is_file() for name in _COLMAP_FILES)


def collect_keyframes(landmark_map: LandmarkMap, images: Path, camera: Camera | None = None) -> CovisibleImages:
    """Every keyframe of a map.

    Raises:
        InputError: images are missing, or no camera is known.
    """
    keyframes, cameras = landmark_map.keyframes, list_cameras(landmark_map, camera)
    scenes = np.zeros(len(keyframes), np.int64)
    for number, scene in enumerate(landmark_map.scenes):
        scenes[scene.keyframes.start : scene.keyframes.stop] = number
    poses = [keyframes.pose(k) for k in range(len(keyframes))]
    seen = [keyframes.visible(k).astype(np.int64) for k in range(len(keyframes))]
    posed = PosedImages.from_poses(find_keyframe_images(landmark_map, images), poses, scenes)
    return project_points(posed, cameras, poses, seen, points=np.asarray(landmark_map.points, np.float64))


def collect_model_images(model: pycolmap.Reconstruction, images: Path) -> CovisibleImages:
    """Every registered image of a COLMAP model, in name order."""
    row_of = {identifier: row for row, identifier in enumerate(sorted(model.points3D))}
    points = np.array([model.points3D[identifier].xyz for identifier in row_of]).reshape(-1, 3)
    registered = sorted((model.images[i] for i in model.reg_image_ids()), key=lambda image: image.name)
    if not registered:
        raise InputError("the COLMAP model has no registered image; reconstruct it again")
    poses, seen = [], []
    for image in registered:
        camera_from_map = image.cam_from_world()
        poses.append(Pose(camera_from_map.rotation.matrix(), camera_from_map.translation).inverse())
        seen.append(np.unique([row_of[p.point3D_id] for p in image.points2D if p.has_point3D()]).astype(np.int64))
    cameras = [_convert_camera(model.cameras[image.camera_id]) for image in registered]
    paths = [images / image.name for image in registered]
    check_none_missing(images, len(paths), [image.name for image in registered if not (images / image.name).is_file()])
    posed = PosedImages.from_poses(paths, poses, np.zeros(len(paths), np.int64))
    return project_points(posed, cameras, poses, seen, points=points)


def list_cameras(landmark_map: LandmarkMap, camera: Camera | None) -> Sequence[Camera]:
    """The camera of every keyframe; `camera` is theirs, for a map without cameras.

    Raises:
        InputError: no camera is known.
    """
    keyframes = landmark_map.keyframes
    cameras: Sequence[Camera] = keyframes.cameras or (() if camera is None else (camera,) * len(keyframes))
    if not cameras:
        raise InputError("the map has no cameras, expected one per keyframe; give --camera YAML, or rebuild")
    return cameras


def _read_colmap_model(folder: Path) -> Any:
    import pycolmap

    try:
        return pycolmap.Reconstruction(folder)
    except Exception as error:  # pycolmap's exceptions have no other common base
        raise InputError(f"{folder}: is no COLMAP model that can be read ({str(error).splitlines()[0]})") from error


def _convert_camera(camera: Any) -> Camera:
    return Camera(camera.model_name, camera.width, camera.height, tuple(camera.params))
