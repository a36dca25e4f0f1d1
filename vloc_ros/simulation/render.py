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

"""Rendered images of a world: every surface is a homography of the image plane, and the nearest one is visible.

For a rectangle with origin o and edges u, v in the camera frame, H = [u v o]^-1 takes the ray (x, y, 1) of a pixel to
(s / d, t / d, 1 / d): texture coordinates s, t in 0..1 and depth d. The rays come from `Camera.unproject`, so every
camera model is exact, without an intermediate image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.lighting import DAY, Lighting, expose
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.shading import compute_irradiance_maps
from vloc_ros.simulation.textures import MipMap, get_mip_map

NEAR_M = 0.05
_LEVEL_BIAS = 0.25  # coarser than the footprint's geometric mean, which aliases on slanted floors
_MIN_VOLUME = 1e-12


def render(
    world: World,
    camera: Camera,
    map_from_camera: Pose,
    *,
    lighting: Lighting = DAY,
    seed: int = 0,
    moving: World | None = None,
) -> Array:
    """Render the image of a camera.

    Args:
        world: the surfaces and lamps.
        camera: any model; pixels without a surface, such as those outside a fisheye's circle, are black.
        map_from_camera: pose of the optical frame, x right, y down, z forward.
        lighting: the light and the sensor.
        seed: seed of noise, exposure and motion blur; equal seeds give equal images.
        moving: surfaces that are in this image alone; what is kept of a world is not made anew for them.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    return expose(render_radiance(world, camera, map_from_camera, lighting=lighting, moving=moving), lighting, seed)


def render_radiance(
    world: World, camera: Camera, map_from_camera: Pose, *, lighting: Lighting = DAY, moving: World | None = None
) -> Array:
    """(H, W, 3) float32 radiance, 0..255, as of a perfect sensor: without lens, noise and exposure."""
    image, inverse_depth = _render_surfaces(world, camera, map_from_camera, lighting)
    if moving is not None and moving.rectangles:
        before, inverse_depth_before = _render_surfaces(moving, camera, map_from_camera, lighting)
        nearer = inverse_depth_before > inverse_depth
        image[nearer] = before[nearer]
    return image


def _render_surfaces(world: World, camera: Camera, map_from_camera: Pose, lighting: Lighting) -> tuple[Array, Array]:
    """(H, W, 3) float32 radiance, and (H, W) inverse depth, 0 without a surface."""
    rays = _pixel_rays(camera)
    surfaces = _Surfaces.select_facing(world, map_from_camera)
    seen = _find_nearest(surfaces, rays)
    image = _paint(seen, world, surfaces, compute_irradiance_maps(world, lighting), rays)
    return image, seen.inverse_depth


def render_depth(world: World, camera: Camera, map_from_camera: Pose) -> Array:
    """(H, W) float32 depth of each pixel along the optical axis, metres; infinite where there is no surface."""
    seen = _find_nearest(_Surfaces.select_facing(world, map_from_camera), _pixel_rays(camera))
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(seen.surface >= 0, 1.0 / seen.inverse_depth, np.inf), dtype=np.float32)


def render_rectangle_indices(world: World, camera: Camera, map_from_camera: Pose) -> Array:
    """(H, W) int64 index of the world's rectangle at each pixel; -1 where there is none."""
    surfaces = _Surfaces.select_facing(world, map_from_camera)
    surface = _find_nearest(surfaces, _pixel_rays(camera)).surface
    return np.asarray(np.where(surface >= 0, surfaces.index[surface], -1))


def find_nearest_hits(world: World, map_from_frame: Pose, rays: Array) -> tuple[Array, Array]:
    """Where rays first meet a surface.

    Args:
        world: the surfaces.
        map_from_frame: pose of the frame of the rays, z forward.
        rays: (N, 3) with z = 1.

    Returns:
        (N,) depth along z in metres, infinite without a hit, and (N,) index of the world's rectangle, -1 without.
    """
    # side by side from left to right, each surface covers a range of them
    order = np.argsort(rays[:, 0], kind="stable")
    line = rays[order].astype(np.float32)[None]
    column_x, row_y = np.stack([line[0, :, 0]] * 2), np.array([[line[..., 1].min()], [line[..., 1].max()]])
    surfaces = _Surfaces.select_facing(world, map_from_frame)
    seen = _find_nearest(surfaces, _Rays(line, column_x, row_y, np.zeros(line.shape[:2], np.float32)))
    depth, hit = np.full(len(rays), np.inf), np.full(len(rays), -1)
    met = seen.surface[0] >= 0
    depth[order[met]] = 1.0 / seen.inverse_depth[0, met]
    hit[order[met]] = surfaces.index[seen.surface[0, met]]
    return depth, hit


@dataclass(frozen=True, slots=True, eq=False)
class _Rays:
    """The rays of all pixels.

    Attributes:
        directions: (H, W, 3) float32 with z = 1.
        column_x: (2, W) smallest and largest x of each column.
        row_y: (2, H) smallest and largest y of each row.
        log2_area: (H, W) float32 logarithm of the area of each pixel at z = 1.
    """

    directions: Array
    column_x: Array
    row_y: Array
    log2_area: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Surfaces:
    """The rectangles that face the camera, in the order of their nearest corners.

    Attributes:
        index: (N,) index in the world.
        corners: (N, 4, 3) in the camera frame, metres.
        homographies: (N, 3, 3) from rays to texture coordinates and inverse depth.
    """

    index: Array
    corners: Array
    homographies: Array

    @staticmethod
    def select_facing(world: World, map_from_camera: Pose) -> _Surfaces:
        frames = _rectangle_frames(world)
        camera_from_map = map_from_camera.inverse()
        edges = np.einsum("ij,njk->nik", camera_from_map.rotation, frames[:, :, :2])
        origins = camera_from_map.apply(frames[:, :, 2])
        matrices = np.concatenate([edges, origins[:, :, None]], axis=2)
        u, v = edges[:, :, 0], edges[:, :, 1]
        corners = origins[:, None] + np.stack([np.zeros_like(u), u, u + v, v], axis=1)
        visible = (np.linalg.det(matrices) > _MIN_VOLUME) & (corners[:, :, 2].max(axis=1) > NEAR_M)
        index = np.flatnonzero(visible)
        order = np.argsort(np.linalg.norm(corners[index], axis=2).min(axis=1), kind="stable")
        index = index[order]
        return _Surfaces(index, corners[index], np.linalg.inv(matrices[index]))


@dataclass(frozen=True, slots=True, eq=False)
class _Visibility:
    """The visible surface of each pixel.

    Attributes:
        surface: (H, W) int32 position in `_Surfaces`; -1 for none.
        texture_u: (H, W) float32 horizontal texture coordinate times inverse depth.
        texture_v: (H, W) float32 vertical texture coordinate times inverse depth.
        inverse_depth: (H, W) float32, 1/metres.
        boxes: rows and columns that each visible surface may cover.
    """

    surface: Array
    texture_u: Array
    texture_v: Array
    inverse_depth: Array
    boxes: dict[int, tuple[slice, slice]]


@lru_cache(maxsize=16)
def _rectangle_frames(world: World) -> Array:
    """(R, 3, 3) columns edge_u, edge_v, origin of every rectangle."""
    return np.array([np.column_stack([r.edge_u, r.edge_v, r.origin]) for r in world.rectangles])


@lru_cache(maxsize=8)
def _pixel_rays(camera: Camera) -> _Rays:
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()])).reshape(camera.height, camera.width, 3)
    x_by_column, x_by_row = np.gradient(rays[..., 0], axis=(1, 0))
    y_by_column, y_by_row = np.gradient(rays[..., 1], axis=(1, 0))
    area = np.abs(x_by_column * y_by_row - x_by_row * y_by_column)
    log2_area = np.log2(np.maximum(np.nan_to_num(area, nan=1.0), 1e-12)).astype(np.float32)
    with np.errstate(all="ignore"):
        column_x = np.stack([np.nanmin(rays[..., 0], axis=0), np.nanmax(rays[..., 0], axis=0)])
        row_y = np.stack([np.nanmin(rays[..., 1], axis=1), np.nanmax(rays[..., 1], axis=1)])
    return _Rays(rays.astype(np.float32), column_x, row_y, log2_area)


def _find_nearest(surfaces: _Surfaces, rays: _Rays) -> _Visibility:
    """Find the nearest surface of each pixel with a z-buffer."""
    shape = rays.log2_area.shape
    u, v, inverse_depth = (np.zeros(shape, np.float32) for _ in range(3))
    seen = _Visibility(np.full(shape, -1, np.int32), u, v, inverse_depth, {})
    homographies = surfaces.homographies.astype(np.float32)
    for position, box in _pixel_bounds(surfaces.corners, rays):
        scaled = cv2.transform(rays.directions[box], homographies[position])
        s, t, inverse_depth = cv2.split(scaled)
        wins = (s >= 0) & (t >= 0) & (s <= inverse_depth) & (t <= inverse_depth)
        wins &= (inverse_depth > seen.inverse_depth[box]) & (inverse_depth < 1.0 / NEAR_M)
        if not wins.any():
            continue
        seen.boxes[position] = box
        seen.surface[box][wins] = position
        for buffer, values in zip(
            (seen.inverse_depth, seen.texture_u, seen.texture_v), (inverse_depth, s, t), strict=True
        ):
            np.copyto(buffer[box], values, where=wins)
    return seen


def _pixel_bounds(corners: Array, rays: _Rays) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """The position of each polygon (N, 4, 3) that may be visible, and the rows and columns that it may cover."""
    clipped = np.flatnonzero((corners[:, :, 2] < NEAR_M).any(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = corners[:, :, :2] / corners[:, :, 2:]
    low, high = xy.min(axis=1), xy.max(axis=1)
    for i in clipped:
        front = _clip_to_near_plane(corners[i])
        xy = front[:, :2] / front[:, 2:]
        low[i], high[i] = (xy.min(axis=0), xy.max(axis=0)) if len(front) else (np.inf, -np.inf)
    columns = (rays.column_x[1] >= low[:, :1]) & (rays.column_x[0] <= high[:, :1])
    rows = (rays.row_y[1] >= low[:, 1:]) & (rays.row_y[0] <= high[:, 1:])
    left, right = columns.argmax(axis=1), columns.shape[1] - columns[:, ::-1].argmax(axis=1)
    top, bottom = rows.argmax(axis=1), rows.shape[1] - rows[:, ::-1].argmax(axis=1)
    for i in np.flatnonzero(columns.any(axis=1) & rows.any(axis=1)):
        yield int(i), (slice(int(top[i]), int(bottom[i])), slice(int(left[i]), int(right[i])))


def _clip_to_near_plane(corners: Array) -> Array:
    """Clip a polygon at the near plane (Sutherland and Hodgman 1974)."""
    depth = corners[:, 2] - NEAR_M
    if (depth >= 0).all():
        return corners
    kept = []
    for i in range(len(corners)):
        a, b, depth_a, depth_b = corners[i - 1], corners[i], depth[i - 1], depth[i]
        if (depth_a >= 0) != (depth_b >= 0):
            kept.append(a + (b - a) * (depth_a / (depth_a - depth_b)))
        if depth_b >= 0:
            kept.append(b)
    return np.array(kept)


def _paint(seen: _Visibility, world: World, surfaces: _Surfaces, light: Array, rays: _Rays) -> Array:
    """(H, W, 3) float32 texture times light of the visible surfaces, sampled trilinearly; 0 where there is none.

    Numbers of a surface are looked up for all pixels at once; only the sampling is done surface by surface.
    """
    shape = seen.surface.shape
    fine, coarse, lit = np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
    positions = np.flatnonzero(np.bincount(seen.surface.ravel() + 1, minlength=2)[1:])
    if not len(positions):
        return np.zeros((*shape, 3), np.float32)
    indices = surfaces.index[positions]
    rectangles = [world.rectangles[index] for index in indices]
    textures = [get_mip_map(rectangle.texture) for rectangle in rectangles]
    table = np.zeros(len(surfaces.index) + 1, np.intp)
    table[positions] = np.arange(len(positions))
    row = table[seen.surface]  # of each pixel, in lists of the visible surfaces; any where there is none

    inverse_depth = np.maximum(seen.inverse_depth, 1e-6)
    u, v = seen.texture_u / inverse_depth, seen.texture_v / inverse_depth
    light_xy = u * (light.shape[2] - 1), v * (light.shape[1] - 1)
    left, top, right, bottom = np.array([rectangle.window for rectangle in rectangles]).T
    texels = np.array([texture.widths[0] * texture.heights[0] for texture in textures])
    texels = texels * (right - left) * (bottom - top) * np.abs(np.linalg.det(surfaces.homographies[positions]))
    level = 0.5 * (rays.log2_area + _per_pixel(np.log2(texels), row)) - 1.5 * np.log2(inverse_depth)
    last = np.array([len(texture.tops) - 1 for texture in textures])[row]
    level = np.clip(level + _LEVEL_BIAS, 0.0, last.astype(np.float32))
    lower = level.astype(np.intp)
    u = _per_pixel(left, row) + _per_pixel(right - left, row) * u
    v = _per_pixel(top, row) + _per_pixel(bottom - top, row) * v
    fine_xy = _texel_positions(textures, row, lower, u, v)
    coarse_xy = _texel_positions(textures, row, np.minimum(lower + 1, last), u, v)

    for position, index, texture in zip(positions, indices, textures, strict=True):
        box, mask = _visible_part(seen, int(position))
        for target, source, (x, y) in (
            (fine, texture.image, fine_xy),
            (coarse, texture.image, coarse_xy),
            (lit, light[index], light_xy),
        ):
            sampled = cv2.remap(source, x[box], y[box], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            cv2.copyTo(sampled, mask, target[box])
    image = coarse.astype(np.float32)
    image -= fine
    image *= (level - lower.astype(np.float32))[..., None]
    image += fine
    image *= lit[..., None]
    return image


def _per_pixel(of_surfaces: Array, row: Array) -> Array:
    return np.asarray(of_surfaces, np.float32)[row]


def _texel_positions(textures: Sequence[MipMap], row: Array, level: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """(H, W) float32 x and y in the image of a pixel's texture, at one of its levels."""
    firsts = np.cumsum([0, *(len(texture.tops) for texture in textures[:-1])])
    entry = firsts[row] + level
    widths = np.concatenate([texture.widths for texture in textures])[entry]
    heights = np.concatenate([texture.heights for texture in textures])[entry]
    tops = np.concatenate([texture.tops for texture in textures])[entry]
    x = np.clip(u * widths - 0.5, 0.0, widths - 1.0)
    y = np.clip(v * heights - 0.5, 0.0, heights - 1.0) + tops
    return x, y


def _visible_part(seen: _Visibility, position: int) -> tuple[tuple[slice, slice], Array]:
    """Rows and columns of the pixels that show a surface, and (h, w) uint8 which of them do."""
    rows, columns = seen.boxes[position]
    mask = (seen.surface[rows, columns] == position).view(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    box = slice(rows.start + y, rows.start + y + height), slice(columns.start + x, columns.start + x + width)
    return box, mask[y : y + height, x : x + width]
