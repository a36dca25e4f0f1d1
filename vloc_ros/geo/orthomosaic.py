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

"""An orthomosaic of a landmark map: its images laid on the ground that its landmarks outline.

Every cell of the ground has the median height of its landmarks; an image is projected through its own pose and
calibration, and every pixel is of the camera that is nearest to straight above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.core.sources import Progress, silent
from vloc_ros.geo.aerial_sources import AerialSource, check_not_finer
from vloc_ros.geo.ground_images import GroundImage, interpolate_nodes
from vloc_ros.geo.photo_mosaic import check_raster_size
from vloc_ros.geo.position_tables import check_image_name
from vloc_ros.storage.images import read_image

# a camera that looks further away from straight down sees too much of what stands on the ground from the side
_MOST_OFF_NADIR_RAD = np.radians(25.0)
_LEAST_CAMERAS, _LEAST_SHARE = 3, 0.5
# landmarks of a cell of the ground, on average; cells each way, at most
_LANDMARKS_PER_CELL, _MOST_CELLS = 12, 400
# shares of the landmarks that lie beside or above all others: they stretch no grid
_STRAY = (0.5, 99.5)
# pixels between places that are projected
_STEP_PX = 16
# the rim of an image that looks further away than this is of the horizon
_STEEPEST_RAD = np.radians(75.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Camera:
    """A keyframe that looks down: its image, calibration and pose in the map."""

    name: str
    path: Path
    camera: Camera
    map_from_camera: Pose


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """Heights on a grid of cells: (R, C) of their middles, of which the first lies at (left, top); cells are square."""

    heights: Array
    left_m: float
    top_m: float
    cell_m: float

    def height(self, x: Array, y: Array) -> Array:
        """(...,) of places, between the middles of cells by interpolation, beyond the last as there."""
        column = ((x - self.left_m) / self.cell_m).astype(np.float32)
        row = ((self.top_m - y) / self.cell_m).astype(np.float32)
        return np.asarray(cv2.remap(self.heights, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def read_orthomosaic(
    landmark_map: LandmarkMap, images: Path, *, ground_size_m: float | None = None, progress: Progress = silent
) -> AerialSource:
    """The ground that a map's images show, in the map's own axes, with the ground's median height as zero.

    Args:
        landmark_map: of one scene, with a datum.
        images: folder of the map's images, by the names of its keyframes.
        ground_size_m: of a pixel; None for twice that of the images.
        progress: shows how far it has come.

    Raises:
        InputError: the map has no datum or no calibrations, its cameras do not look down, an image is missing or of
            another size, or the ground size is finer than theirs.
        MapError: it has several scenes, or no landmarks.
    """
    landmark_map.require_landmarks()
    scene = landmark_map.scene()
    if scene.datum is None:
        raise InputError(f"the map {landmark_map.name} has no datum; give it one with `vloc map georeference`")
    cameras, aside = _find_cameras(landmark_map, images)
    ground = _find_ground(landmark_map.points.astype(np.float64) + scene.origin)
    level_m = float(np.median(ground.heights))
    own_m = float(np.median([_pixel_m(one, level_m) for one in cameras]))
    size_m = ground_size_m or 2 * own_m
    check_not_finer(images, size_m, own_m)
    raster = _Raster.around(cameras, level_m, size_m)
    for one in progress(cameras, description="images"):
        raster.lay(one, ground)
    notes = (
        f"{len(cameras)} images laid on the ground of {len(landmark_map.points)} landmarks, whose height is taken in "
        f"cells of {ground.cell_m:.1f} m and ranges over {np.ptp(ground.heights):.1f} m",
        f"ground size {size_m:.4f} m, of the images {own_m:.4f} m",
        *((f"left out, not looking straight down: {', '.join(aside)}",) if aside else ()),
    )
    return AerialSource((raster.image(),), _on_ground(scene.datum, level_m), notes)


def _on_ground(datum: Datum, level_m: float) -> Datum:
    """The datum whose height is that of the ground."""
    return datum if datum.altitude_m is None else replace(datum, altitude_m=datum.altitude_m + level_m)


def _find_cameras(landmark_map: LandmarkMap, images: Path) -> tuple[list[_Camera], list[str]]:
    """The keyframes that look down, and the names of the others."""
    keyframes, origin = landmark_map.keyframes, landmark_map.scene().origin
    if len(keyframes.cameras) != len(keyframes):
        raise InputError(f"the map {landmark_map.name} has no calibrations of its keyframes; build it again")
    off_rad = np.arccos(np.clip(-keyframes.rotations[:, 2, 2], -1.0, 1.0))
    down = off_rad <= _MOST_OFF_NADIR_RAD
    if down.sum() < max(_LEAST_CAMERAS, _LEAST_SHARE * len(keyframes)):
        raise InputError(
            f"{down.sum()} of {len(keyframes)} keyframes of {landmark_map.name} look within "
            f"{np.degrees(_MOST_OFF_NADIR_RAD):.0f} deg of straight down, the median is "
            f"{np.degrees(np.median(off_rad)):.0f} deg off; expected {_LEAST_CAMERAS} and half of them at least, as of "
            "a flight with the camera down"
        )
    names = [keyframes.names[k] for k in np.flatnonzero(down)]
    for name in names:
        check_image_name(name, images, where=f"the map {landmark_map.name}")
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise InputError(
            f"{images}: lacks {len(missing)} of {len(names)} images of the map, such as {missing[0]}; give the folder "
            "that it was built from"
        )
    cameras = [
        _Camera(
            keyframes.names[k],
            images / keyframes.names[k],
            keyframes.cameras[k],
            Pose(keyframes.rotations[k], keyframes.translations[k] + origin),
        )
        for k in np.flatnonzero(down)
    ]
    return cameras, [name for name, looks in zip(keyframes.names, down, strict=True) if not looks]


def _find_ground(points: Array) -> _Ground:
    """Heights by (N, 3) landmarks: medians of cells, of empty ones that of the nearest cell with landmarks."""
    low, high = np.percentile(points, _STRAY, axis=0)
    inside = points[((points >= low) & (points <= high)).all(axis=1)]
    extent = np.maximum(high - low, 1e-3)[:2]
    cell_m = float(np.sqrt(extent.prod() * _LANDMARKS_PER_CELL / len(points)))
    cell_m = max(cell_m, float(extent.max()) / _MOST_CELLS)
    columns, rows = (int(np.ceil(size / cell_m)) for size in extent)
    column = np.minimum((inside[:, 0] - low[0]) / cell_m, columns - 1).astype(int)
    row = np.minimum((high[1] - inside[:, 1]) / cell_m, rows - 1).astype(int)
    order = np.argsort(row * columns + column, kind="stable")
    cells, starts = np.unique((row * columns + column)[order], return_index=True)
    heights = np.full(rows * columns, np.nan)
    heights[cells] = [np.median(some) for some in np.split(inside[order, 2], starts[1:])]
    filled = _fill(heights.reshape(rows, columns))
    smooth = cv2.medianBlur(filled, 3)  # a cell whose landmarks are of a mast or mismatched
    return _Ground(smooth, float(low[0]) + cell_m / 2, float(high[1]) - cell_m / 2, cell_m)


def _fill(heights: Array) -> Array:
    """(R, C) float32 without NaN: each has the value of the nearest cell that has one."""
    empty = np.isnan(heights).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(labels.max() + 1, np.float32)
    of_label[labels[empty == 0]] = heights[empty == 0]
    return np.asarray(of_label[labels])


def _pixel_m(one: _Camera, level_m: float) -> float:
    """Size on the ground of a pixel of an image."""
    height_m = float(one.map_from_camera.translation[2]) - level_m
    if not height_m > 0:
        raise InputError(
            f"{one.name} was taken {-height_m:.1f} m below the median height of the landmarks, expected above; does "
            "the map's z axis point up? Georeference it with heights"
        )
    return height_m / float(one.camera.intrinsics[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Raster:
    """The orthomosaic while images are laid: pixels, and how far from straight above the camera of each is."""

    pixels: Array
    slant: Array
    left_m: float
    top_m: float
    size_m: float

    @staticmethod
    def around(cameras: Sequence[_Camera], level_m: float, size_m: float) -> _Raster:
        """What all images cover together."""
        covered = np.concatenate([_footprint(one, level_m) for one in cameras])
        low, high = covered.min(axis=0), covered.max(axis=0)
        width, height = (int(np.ceil(size / size_m)) for size in high - low)
        check_raster_size(width, height)
        slant = np.full((height, width), np.inf, np.float32)
        return _Raster(np.zeros((height, width, 3), np.uint8), slant, float(low[0]), float(high[1]), size_m)

    def image(self) -> GroundImage:
        """What has been laid."""
        return GroundImage(self.pixels, np.isfinite(self.slant), self.left_m, self.top_m, self.size_m)

    def lay(self, one: _Camera, ground: _Ground) -> None:
        """Lay an image where it looks steeper than those before it."""
        covered = _footprint(one, float(np.median(ground.heights)))
        low, high = covered.min(axis=0) - _STEP_PX * self.size_m, covered.max(axis=0) + _STEP_PX * self.size_m
        height, width = self.slant.shape
        columns = range(*slice(*self._pixels(low[0], high[0], self.left_m)).indices(width))
        rows = range(*slice(*self._pixels(-high[1], -low[1], -self.top_m)).indices(height))
        if not len(columns) or not len(rows):
            return
        column_nodes, of_columns = interpolate_nodes(columns, _STEP_PX)
        row_nodes, of_rows = interpolate_nodes(rows, _STEP_PX)
        x, y = np.meshgrid(
            self.left_m + self.size_m * (column_nodes + 0.5), self.top_m - self.size_m * (row_nodes + 0.5)
        )
        places = np.stack([x, y, ground.height(x, y)], axis=-1)
        view = _read(one).reduce(
            1.0 / max(1, int(1e-6 + self.size_m / _pixel_m(one, float(np.median(ground.heights)))))
        )
        pixels = view.camera.project(one.map_from_camera.inverse().apply(places.reshape(-1, 3)))
        pixels = np.where(np.isfinite(pixels), pixels, -1e4).reshape(*x.shape, 2) - 0.5
        to = [(of_rows.T @ pixels[..., k] @ of_columns).astype(np.float32) for k in range(2)]
        away = places - one.map_from_camera.translation
        slant = (of_rows.T @ (np.linalg.norm(away[..., :2], axis=-1) / -away[..., 2]) @ of_columns).astype(np.float32)
        seen = (to[0] >= 0) & (to[0] <= view.camera.width - 1) & (to[1] >= 0) & (to[1] <= view.camera.height - 1)
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        wins = seen & (slant < self.slant[part])
        self.slant[part][wins] = slant[wins]
        self.pixels[part][wins] = cv2.remap(view.image, *to, cv2.INTER_LINEAR)[wins]

    def _pixels(self, low_m: float, high_m: float, first_m: float) -> tuple[int, int]:
        return max(0, int((low_m - first_m) / self.size_m)), max(0, int(np.ceil((high_m - first_m) / self.size_m)))


def _footprint(one: _Camera, level_m: float) -> Array:
    """(N, 2) metres that the rim of an image shows, on level ground."""
    across, down = np.linspace(0.0, one.camera.width, 9), np.linspace(0.0, one.camera.height, 9)
    rim = [(x, y) for x in across for y in (0.0, one.camera.height)] + [
        (x, y) for x in (0.0, one.camera.width) for y in down
    ]
    rays = one.camera.unproject(np.array(rim)) @ one.map_from_camera.rotation.T
    rays = rays[np.isfinite(rays).all(axis=1)]
    rays = rays[rays[:, 2] < -np.cos(_STEEPEST_RAD) * np.linalg.norm(rays, axis=1)]
    if not len(rays):
        raise InputError(f"{one.name}: its calibration says that no ray of its rim meets the ground; check it")
    centre = one.map_from_camera.translation
    return np.asarray(centre[:2] + rays[:, :2] * ((level_m - centre[2]) / rays[:, 2:]))


def _read(one: _Camera) -> View:
    pixels = read_image(one.path)
    if pixels.shape[:2] != (one.camera.height, one.camera.width):
        raise InputError(
            f"{one.path}: has {pixels.shape[1]}x{pixels.shape[0]} pixels, the map's calibration of it is for "
            f"{one.camera.width}x{one.camera.height}; give the images that the map was built from"
        )
    return View(pixels if pixels.ndim == 3 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)), one.camera)
