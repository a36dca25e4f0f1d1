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

"""Motion stereo: a cloud from the last images of one moving camera, whose motion odometry knows.

Dense optical flow (DIS, Kroeger et al., ECCV 2016) between pairs of images gives correspondences. The relative pose of
each pair is refined to them, with the length of its translation from odometry, and they are triangulated. Every point
keeps its standard deviation along its ray, which grows with the square of its distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import poselib

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

# of an image, about so many columns of a grid are triangulated
_COLUMNS = 160
# pixels: forward and backward flow that differ by more are occluded; noise of the flow; largest reprojection error
_ROUND_TRIP_PX, _NOISE_PX, _ERROR_PX = 1.0, 0.7, 1.0
# mean squared gradient in a window, below which flow is guessed from the surroundings
_TEXTURE, _TEXTURE_WINDOW = 400.0, 9
_LEAST_ANGLE_RAD = np.radians(0.7)
# of a refined relative pose: odometry is not further off
_MOST_TURN_RAD, _LEAST_COSINE = np.radians(3.0), 0.9
_LEAST_CORRESPONDENCES, _SAMPLE = 50, 800
# images between the two of a pair; of a cell, points that are counted as independent
_MOST_APART, _MOST_INDEPENDENT, _LEAST_HITS = 20, 4, 2


@dataclass(frozen=True, slots=True, eq=False)
class MovingView:
    """One image of a moving camera.

    Attributes:
        image: (H, W) uint8 grey.
        odom_from_camera: pose of the optical frame by odometry, whose z axis points up.
    """

    image: Array
    odom_from_camera: Pose


@dataclass(frozen=True, slots=True, eq=False)
class CameraCloud:
    """What a moving camera saw.

    Attributes:
        points: (N, 3) float64 metres in the optical frame of the last image.
        stds_m: (N,) standard deviation of each along its ray.
        rays: (N, 3) directions from the cameras to the points, of length 1, in the same frame.
        centres: (N, 3) metres, the positions of the cameras that saw them, in the same frame.
    """

    points: Array
    stds_m: Array
    rays: Array
    centres: Array

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: Array) -> CameraCloud:
        """Some of the points."""
        return CameraCloud(self.points[rows], self.stds_m[rows], self.rays[rows], self.centres[rows])


@dataclass(frozen=True, slots=True)
class MotionStereo:
    """How clouds are made of images.

    Attributes:
        baseline_m: least distance between the two cameras of a pair.
        farthest_m: points further from the camera are left out.
        cell_m: points of one cube of this size are averaged; those that only one pair saw once are left out.
        path_m: images further back along the way of the camera are not used.
    """

    baseline_m: float
    farthest_m: float
    cell_m: float
    path_m: float

    @staticmethod
    def of_voxels(voxel_m: float) -> MotionStereo:
        """For a map whose clouds are down-sampled to a voxel, a hundredth of their range."""
        return MotionStereo(1.5 * voxel_m, 60.0 * voxel_m, 0.5 * voxel_m, 15.0 * voxel_m)

    def reconstruct(self, views: Sequence[MovingView], camera: Camera) -> CameraCloud:
        """The cloud of the last of some images; empty where the camera has not moved by a baseline.

        Args:
            views: in the order of time.
            camera: that took them.

        Raises:
            InputError: an image is not grey, or of another size than the camera's.
        """
        for view in views:
            if view.image.dtype != np.uint8 or view.image.shape != (camera.height, camera.width):
                raise InputError(
                    f"an image has shape {view.image.shape} of {view.image.dtype}, expected grey uint8 of "
                    f"{(camera.height, camera.width)}; is the calibration that of this camera?"
                )
        parts = []
        for first, second in self._pairs([view.odom_from_camera for view in views]):
            part = self._triangulate(views[first], views[second], camera)
            last_from_first = views[-1].odom_from_camera.inverse() @ views[first].odom_from_camera
            points, rays = last_from_first.apply(part.points), part.rays @ last_from_first.rotation.T
            parts.append(CameraCloud(points, part.stds_m, rays, np.tile(last_from_first.translation, (len(part), 1))))
        return self._merge(parts)

    def first_used(self, odom_from_camera: Sequence[Pose]) -> int:
        """Number of the first image that the cloud of the last one is made of; the last where it has no partner.

        Clouds that share no images are independent.

        Args:
            odom_from_camera: of each image, in the order of time; one at least.
        """
        pairs = self._pairs(odom_from_camera)
        return min((before for _, before in pairs), default=len(odom_from_camera) - 1)

    def _pairs(self, poses: Sequence[Pose]) -> list[tuple[int, int]]:
        """Of every image within the path, the last one before it that is a baseline away."""
        positions, pairs = np.array([pose.translation for pose in poses]), []
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        left_m = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
        for first in np.flatnonzero(left_m <= self.path_m):
            apart = np.linalg.norm(positions[:first] - positions[first], axis=1) >= self.baseline_m
            before = np.flatnonzero(apart)
            if len(before) and first - before[-1] <= _MOST_APART:
                pairs.append((int(first), int(before[-1])))
        return pairs

    def _triangulate(self, first: MovingView, second: MovingView, camera: Camera) -> CameraCloud:
        """Points in the frame of the first camera."""
        xy, other_xy = _correspondences(first.image, second.image)
        second_from_first = second.odom_from_camera.inverse() @ first.odom_from_camera
        if len(xy) < _LEAST_CORRESPONDENCES:
            return _empty()
        second_from_first = _refine(second_from_first, xy, other_xy, camera)
        rays, others = (_unit(camera.unproject(pixels)) for pixels in (xy, other_xy))
        others = others @ second_from_first.rotation
        centre = second_from_first.inverse().translation
        cosine = np.einsum("ij,ij->i", rays, others)
        # depths of the two points of the rays that are nearest to each other
        slack = np.maximum(1.0 - cosine**2, 1e-12)
        depth = (rays @ centre - cosine * (others @ centre)) / slack
        other_depth = (cosine * (rays @ centre) - others @ centre) / slack
        points, angle = rays * depth[:, None], np.arccos(np.clip(cosine, -1.0, 1.0))
        errors = np.linalg.norm(camera.project(second_from_first.apply(points)) - other_xy, axis=1)
        kept = (depth > 0) & (other_depth > 0) & (angle > _LEAST_ANGLE_RAD) & (depth < self.farthest_m)
        kept &= errors < _ERROR_PX
        stds = other_depth * _NOISE_PX / camera.intrinsics[0] / np.maximum(np.sin(angle), 1e-3)
        return CameraCloud(points[kept], stds[kept], rays[kept], np.zeros((int(kept.sum()), 3)))

    def _merge(self, parts: Sequence[CameraCloud]) -> CameraCloud:
        """The points of all parts, averaged in cells by their information."""
        if not any(len(part) for part in parts):
            return _empty()
        points = np.concatenate([part.points for part in parts])
        stds = np.concatenate([part.stds_m for part in parts])
        cells = np.floor(points / self.cell_m).astype(np.int64)
        cells -= cells.min(axis=0)
        sizes = cells.max(axis=0) + 1
        keys = (cells[:, 0] * sizes[1] + cells[:, 1]) * sizes[2] + cells[:, 2]
        _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
        weights = 1.0 / stds**2
        total = np.bincount(which, weights)

        def average(values: Array) -> Array:
            return np.column_stack([np.bincount(which, weights * values[:, axis]) / total for axis in range(3)])

        rays = _unit(average(np.concatenate([part.rays for part in parts])))
        centres = average(np.concatenate([part.centres for part in parts]))
        merged_stds = np.sqrt(counts / total / np.minimum(counts, _MOST_INDEPENDENT))
        merged = CameraCloud(average(points), merged_stds, rays, centres)
        return merged.select(np.flatnonzero(counts >= _LEAST_HITS))


def _correspondences(first: Array, second: Array) -> tuple[Array, Array]:
    """(N, 2) pixels of a grid of the first image and where the second shows the same, COLMAP's convention."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = flow.calc(first, second, None), flow.calc(second, first, None)
    height, width = first.shape
    step = max(1, width // _COLUMNS)
    rows, columns = (axis.ravel() for axis in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    xy, moved = np.column_stack([columns, rows]), forward[rows, columns]
    there = np.round(xy + moved).astype(int)
    kept = ((there >= 0) & (there < (width, height))).all(axis=1)
    squared = sum(cv2.Sobel(first, cv2.CV_32F, *order) ** 2 for order in ((1, 0), (0, 1)))
    texture = cv2.boxFilter(np.asarray(squared), -1, (_TEXTURE_WINDOW, _TEXTURE_WINDOW))
    kept &= texture[rows, columns] > _TEXTURE
    xy, moved, there = xy[kept], moved[kept], there[kept]
    returned = np.linalg.norm(moved + backward[there[:, 1], there[:, 0]], axis=1) < _ROUND_TRIP_PX
    xy = xy[returned] + 0.5
    return xy, xy + moved[returned]


def _refine(second_from_first: Pose, xy: Array, other_xy: Array, camera: Camera) -> Pose:
    """The relative pose that the correspondences agree with, by PoseLib; odometry's where it is far from that."""
    length_m = float(np.linalg.norm(second_from_first.translation))
    start = poselib.CameraPose()
    start.q, start.t = np.roll(second_from_first.quaternion, 1), second_from_first.translation / length_m
    rows = np.linspace(0, len(xy) - 1, min(len(xy), _SAMPLE)).astype(int)
    model = {"model": camera.model, "width": camera.width, "height": camera.height, "params": list(camera.parameters)}
    found, _ = poselib.refine_relative_pose(
        xy[rows], other_xy[rows], start, model, model, {"loss_type": "CAUCHY", "loss_scale": 0.5}
    )
    if not (np.isfinite(found.R).all() and np.isfinite(found.t).all()):
        return second_from_first
    refined = Pose(found.R, found.t / np.linalg.norm(found.t) * length_m)
    _, turn_rad = refined.distance_to(second_from_first)
    cosine = float(refined.translation @ second_from_first.translation) / length_m**2
    return refined if turn_rad < _MOST_TURN_RAD and cosine > _LEAST_COSINE else second_from_first


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _empty() -> CameraCloud:
    return CameraCloud(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
