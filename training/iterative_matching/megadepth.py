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

"""Views of MegaDepth (Li and Snavely 2018), as image matchers are trained on it.

ROOT has `Undistorted_SfM/`, depth images in HDF5 files, and `scene_info/*.npz` with, for each scene, `image_paths`,
`depth_paths`, `intrinsics` (V, 3, 3), `poses` (V, 4, 4) of camera_from_scene, and `overlap_matrix` (V, V). The arrays
of names have to be text: files as published hold Python objects, which are code and are not loaded; docs/matching.md
says how to convert them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.data.image_augmentation import apply_homography, warp_image
from training.data.relighting import relight_randomly
from training.framework.provenance import hash_file
from training.iterative_matching.config import DataConfig, LightConfig
from training.iterative_matching.views import PosedGeometry, View, make_view, sample_depth
from vloc_ros.core.errors import InputError, MissingDependencyError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.images import read_image

_NAMES = ("image_paths", "depth_paths", "intrinsics", "poses", "overlap_matrix")
# of the camera, in views that are made anew for every epoch
_ROLL_RAD, _TILT_RAD = np.radians(20.0), np.radians(10.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    image: Path
    depth: Path
    matrix: Array
    scene_from_camera: Pose


class MegaDepthViews:
    """A `ViewSource` of scenes in MegaDepth's layout."""

    def __init__(
        self,
        root: Path,
        data: DataConfig,
        light: LightConfig,
        extractor: Mapping[str, Any],
        *,
        seed: int,
    ) -> None:
        """All scenes of `ROOT/scene_info`.

        Raises:
            InputError: there are none, one is damaged, or no two of its images overlap enough.
        """
        files = sorted((root / "scene_info").glob("*.npz"))
        if not files:
            raise InputError(f"{root / 'scene_info'}: holds no npz files, expected one for each scene of MegaDepth")
        self._data, self._light, self._seed = data, light, seed
        self._images: list[_Image] = []
        scenes: list[int] = []
        pairs: list[Array] = []
        for number, file in enumerate(files):
            images, of_scene = _read_scene(root, file, data)
            pairs.append(of_scene + len(self._images))
            scenes += [number] * len(images)
            self._images += images
        self.scenes: Array = np.array(scenes, np.int64)
        self.places: Array = _number_places(files)[self.scenes]
        self.pairs: Array | None = np.concatenate(pairs)
        if not len(self.pairs):
            raise InputError(f"{root}: no images overlap by {data.least_overlap:g} to {data.most_overlap:g}")
        self.description = {
            "source": "megadepth",
            "scenes": {file.name: hash_file(file) for file in files},
            "keypoints": data.keypoints,
            "light": repr(light),
            "seed": seed,
            "extractor": dict(extractor),
        }

    def make(self, index: int, extractor: Extractor, *, version: int) -> View:
        """A photograph; of versions above 0 the camera is turned, and the light another one."""
        one = self._images[index]
        image, depth = read_image(one.image), read_depth(one.depth)
        height, width = image.shape[:2]
        if depth.shape != (height, width):
            raise InputError(
                f"{one.depth}: is of {depth.shape}, its image of {(height, width)}; they do not belong together"
            )
        k = one.matrix
        camera = Camera("PINHOLE", width, height, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
        turned_from_camera, rng = np.eye(3), np.random.default_rng([self._seed, index, version])
        if version:
            turned_from_camera = _draw_rotation(rng)
            image = warp_image(image, camera.matrix @ turned_from_camera @ np.linalg.inv(camera.matrix))
            image = relight_randomly(image, self._light, rng, original_width=width)
        features = extractor.extract(image)
        features, of_keypoints = _turn_depth(features, depth, camera, turned_from_camera)
        pose = one.scene_from_camera @ Pose(turned_from_camera.T, np.zeros(3))
        return make_view(
            features, (width, height), PosedGeometry(camera, pose, of_keypoints), keypoints=self._data.keypoints
        )


def read_depth(path: Path) -> Array:
    """(H, W) float32 depth of an HDF5 file of MegaDepth; 0 where it is unknown.

    Raises:
        MissingDependencyError: h5py is not installed.
        InputError: the file holds no depth.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "h5py is not installed, which MegaDepth's depth needs: pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["depth"], np.float32)
    except (OSError, KeyError) as error:
        raise InputError(
            f"{path}: holds no depth ({error}), expected an HDF5 file with the data set 'depth'"
        ) from error


def _number_places(files: Sequence[Path]) -> Array:
    """(S,) int64 place of each file: those of one landmark, such as 0022_0.1_0.3 and 0022_0.3_0.5, are of one place."""
    _, numbers = np.unique([file.stem.partition("_")[0] for file in files], return_inverse=True)
    return np.asarray(numbers, np.int64)


def _read_scene(root: Path, path: Path, data: DataConfig) -> tuple[list[_Image], Array]:
    """The images of a scene that have all they need, and pairs of them by the overlap that the file states."""
    values = _read_arrays(path)
    count = len(values["image_paths"])
    shapes = {"depth_paths": (count,), "intrinsics": (count, 3, 3), "poses": (count, 4, 4)}
    for name, shape in {**shapes, "overlap_matrix": (count, count)}.items():
        if values[name].shape != shape:
            raise InputError(f"{path}: {name} is of {values[name].shape}, expected {shape} for {count} images")
    used = [k for k in range(count) if values["image_paths"][k] and values["depth_paths"][k]]
    images = [
        _Image(
            root / str(values["image_paths"][k]), root / str(values["depth_paths"][k]),
            np.asarray(values["intrinsics"][k], np.float64), _read_pose(values["poses"][k]),
        )
        for k in used
    ]  # fmt: skip
    overlap = np.asarray(values["overlap_matrix"], np.float64)[np.ix_(used, used)]
    overlap = np.minimum(overlap, overlap.T)
    wanted = (overlap >= data.least_overlap) & (overlap <= data.most_overlap)
    return images, np.argwhere(np.triu(wanted, 1)).reshape(-1, 2)


def _read_pose(matrix: Array) -> Pose:
    """The inverse of a (4, 4) camera_from_scene, whose rotation is of single precision."""
    u, _, vt = np.linalg.svd(np.asarray(matrix[:3, :3], np.float64))
    return Pose(u @ vt, np.asarray(matrix[:3, 3], np.float64)).inverse()


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in _NAMES if name not in file.files]:
                raise InputError(f"{path}: has no {', '.join(missing)}, expected {', '.join(_NAMES)}")
            return {name: file[name] for name in _NAMES}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as plain arrays ({error}); names stored as Python objects have to be converted to "
            "text first, see docs/matching.md"
        ) from error


def _draw_rotation(rng: np.random.Generator) -> Array:
    """(3, 3) rotation of turned_from_camera."""
    tilt = rng.uniform(-_TILT_RAD, _TILT_RAD, 2)
    roll = rng.uniform(-_ROLL_RAD, _ROLL_RAD)
    turns: Sequence[Array] = [cv2.Rodrigues(np.array([*tilt, 0.0]))[0], cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]]
    return np.asarray(turns[1] @ turns[0])


def _turn_depth(features: Features, depth: Array, camera: Camera, turned_from_camera: Array) -> tuple[Features, Array]:
    """Keypoints of the turned image that lie in the original one, and their depth along the turned axis."""
    back = camera.matrix @ turned_from_camera.T @ np.linalg.inv(camera.matrix)
    original = apply_homography(back, features.xy.astype(np.float64))
    kept = camera.contains(original)
    features = Features(features.xy[kept], features.descriptors[kept], features.scores[kept])
    found = sample_depth(depth, original[kept])
    points = camera.unproject(original[kept]) * found[:, None]
    return features, (points @ turned_from_camera.T)[:, 2].astype(np.float32)
