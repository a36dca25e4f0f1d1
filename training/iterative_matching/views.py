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

"""Views: the keypoints of an image, and what tells where they lie in other images of the same scene."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.data.image_augmentation import apply_homography
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.atomic import write_bytes_atomically

# surfaces whose depths differ by more within three pixels have an edge there: a keypoint is of either of them
_DEPTH_EDGE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class PosedGeometry:
    """Of a view of known pose.

    Attributes:
        camera: its calibration.
        scene_from_camera: true pose, metres or any other unit of the scene.
        depth: (N,) float32 of each keypoint along the optical axis; NaN where it is unknown, infinite where there is no
            surface.
    """

    camera: Camera
    scene_from_camera: Pose
    depth: Array

    def select(self, rows: Array) -> PosedGeometry:
        """Of some keypoints."""
        return PosedGeometry(self.camera, self.scene_from_camera, self.depth[rows])


@dataclass(frozen=True, slots=True, eq=False)
class PlanarGeometry:
    """Of a version of an image: the scene is that image.

    Attributes:
        version_from_original: (3, 3) homography of pixels in COLMAP's convention.
        size: width and height in pixels, of the original and of the version.
    """

    version_from_original: Array
    size: tuple[int, int]

    def select(self, rows: Array) -> PlanarGeometry:
        """Of some keypoints."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The keypoints of an image.

    Attributes:
        xy: (N, 2) float32 pixels, COLMAP's convention, strongest first.
        descriptors: (N, D) float16 of the extractor.
        scores: (N,) float32 of the extractor.
        size: width and height in pixels.
        geometry: where they lie in other views.
    """

    xy: Array
    descriptors: Array
    scores: Array
    size: tuple[int, int]
    geometry: PosedGeometry | PlanarGeometry

    def __post_init__(self) -> None:
        assert self.xy.shape == (len(self), 2)
        assert len(self.descriptors) == len(self.scores) == len(self)

    def __len__(self) -> int:
        return len(self.xy)

    def select(self, rows: Array) -> View:
        """Some of its keypoints."""
        return View(self.xy[rows], self.descriptors[rows], self.scores[rows], self.size, self.geometry.select(rows))


def make_view(
    features: Features, size: tuple[int, int], geometry: PosedGeometry | PlanarGeometry, *, keypoints: int
) -> View:
    """The strongest keypoints of an image; the depth of a `PosedGeometry` is of all of them."""
    rows = np.arange(min(len(features), keypoints))
    scores = np.asarray(features.scores, np.float32)
    return View(features.xy, features.descriptors.astype(np.float16), scores, size, geometry).select(rows)


def sample_depth(depth: Array, xy: Array) -> Array:
    """(N,) float32 depth at (N, 2) pixels of an (H, W) depth image; NaN at edges between surfaces.

    A depth of 0 or NaN is unknown, an infinite one that of no surface.
    """
    known = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    nearest = -cv2.dilate(-np.nan_to_num(known, nan=np.inf), kernel)
    farthest = cv2.dilate(np.nan_to_num(known, nan=-np.inf), kernel)
    column, row = (np.clip(np.floor(xy[:, axis]).astype(np.intp), 0, depth.shape[1 - axis] - 1) for axis in (0, 1))
    found = known[row, column]
    with np.errstate(invalid="ignore"):
        at_edge = ~(farthest[row, column] <= (1 + _DEPTH_EDGE) * nearest[row, column])
    values = np.where(at_edge, np.nan, found)
    return np.where(np.isposinf(depth[row, column]), np.inf, values).astype(np.float32)


def reproject(source: View, target: View) -> Array:
    """(N, 2) pixels of the target view of the source's keypoints.

    NaN where it is unknown, infinite where they are certainly not visible.

    Raises:
        InputError: the views are of scenes of different kinds.
    """
    first, second = source.geometry, target.geometry
    if isinstance(first, PlanarGeometry) and isinstance(second, PlanarGeometry):
        target_from_source = second.version_from_original @ np.linalg.inv(first.version_from_original)
        return _outside_is_infinite(apply_homography(target_from_source, source.xy.astype(np.float64)), target.size)
    if isinstance(first, PosedGeometry) and isinstance(second, PosedGeometry):
        return _reproject_posed(source.xy, first, second)
    raise InputError("a view of known pose and a version of an image show no common scene; pair views of one source")


def _reproject_posed(xy: Array, source: PosedGeometry, target: PosedGeometry) -> Array:
    target_from_source = target.scene_from_camera.inverse() @ source.scene_from_camera
    rays, known = source.camera.unproject(xy), np.isfinite(source.depth)
    points = target_from_source.apply(rays * np.where(known, source.depth, 1.0)[:, None])
    pixels = target.camera.project(points)
    behind = known & (points[:, 2] <= 0)
    pixels = _outside_is_infinite(pixels, (target.camera.width, target.camera.height))
    pixels[~known] = np.nan
    pixels[behind | np.isposinf(source.depth)] = np.inf
    return pixels


def _outside_is_infinite(pixels: Array, size: tuple[int, int]) -> Array:
    with np.errstate(invalid="ignore"):
        outside = ((pixels < 0) | (pixels >= size)).any(axis=1)
    pixels = np.array(pixels, np.float64)
    pixels[outside] = np.inf
    return pixels


def save_view(path: Path, view: View) -> None:
    """Write a view to an npz file."""
    if isinstance(view.geometry, PosedGeometry):
        pose, camera = view.geometry.scene_from_camera, view.geometry.camera
        geometry: Mapping[str, object] = {
            "model": camera.model,
            "parameters": np.array(camera.parameters),
            "rotation": pose.rotation,
            "translation": pose.translation,
            "depth": view.geometry.depth,
        }
    else:
        geometry = {"homography": view.geometry.version_from_original}
    written = io.BytesIO()
    arrays = {"xy": view.xy, "descriptors": view.descriptors, "scores": view.scores, "size": np.array(view.size)}
    np.savez(written, **arrays, **geometry)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, written.getvalue())


def load_view(path: Path) -> View:
    """Read a view that `save_view` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        width, height = (int(value) for value in values["size"])
        geometry: PosedGeometry | PlanarGeometry
        if "homography" in values:
            geometry = PlanarGeometry(values["homography"], (width, height))
        else:
            camera = Camera(str(values["model"]), width, height, tuple(values["parameters"]))
            geometry = PosedGeometry(camera, Pose(values["rotation"], values["translation"]), values["depth"])
        return View(values["xy"], values["descriptors"], values["scores"], (width, height), geometry)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: no view of keypoints ({error}), expected one of a cache; remove the cache"
        ) from error
