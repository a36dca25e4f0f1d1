"""Bundle adjustment of a structure whose images have measured motions, by GTSAM."""

from __future__ import annotations

from collections.abc import Sequence

import gtsam
import numpy as np
from gtsam.symbol_shorthand import L, X

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.factors import frame_factors, from_gtsam, relative_factor, robust_noise, to_gtsam
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.structure import Structure

_KEYPOINT_STD_PX = 0.5
# of the losses, in standard deviations
_KEYPOINT_WIDTH, _MEASUREMENT_WIDTH = 1.0, 1.5
_MAX_ITERATIONS = 15
# a smaller part of the error by which it falls is not worth another iteration
_ENOUGH = 1e-4


def adjust(
    structure: Structure,
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    motions: Sequence[RelativePose],
    anchors: Anchors,
    progress: Progress,
) -> list[Pose]:
    """The poses that agree best with keypoints and measurements.

    Args:
        structure: all images have poses.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        motions: measured.
        anchors: in the frame of the structure.
        progress: shows the iterations, of which the last ones may not be needed.
    """
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    poses = [pose for pose in structure.poses if pose is not None]
    assert len(poses) == len(structure.poses)
    for number, pose in enumerate(poses):
        values.insert(X(number), to_gtsam(pose))
    for number, point in enumerate(structure.points):
        values.insert(L(number), point)
    for factor in frame_factors(anchors, poses[0], _MEASUREMENT_WIDTH):
        graph.add(factor)
    for motion in motions:
        graph.add(relative_factor(motion, _MEASUREMENT_WIDTH))
    _add_observations(graph, structure, rays, cameras)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams())
    error = optimizer.error()
    for _ in progress(range(_MAX_ITERATIONS), description="bundle adjustment"):
        optimizer.iterate()
        before, error = error, optimizer.error()
        if before - error < _ENOUGH * before:
            break
    found = optimizer.values()
    return [from_gtsam(found.atPose3(X(number))) for number in range(len(poses))]


def _add_observations(
    graph: gtsam.NonlinearFactorGraph, structure: Structure, rays: Sequence[Array], cameras: Sequence[Camera]
) -> None:
    """Keypoints as pixels of ideal cameras of the same focal lengths."""
    focals_px = [float(camera.intrinsics[0]) for camera in cameras]
    ideal = {focal: gtsam.Cal3_S2(focal, focal, 0.0, 0.0, 0.0) for focal in set(focals_px)}
    noise = _keypoint_noise(1.0)
    tracks = np.column_stack([structure.track_points, structure.track_images, structure.track_keypoints])
    for point, image, keypoint in tracks.tolist():
        focal, ray = focals_px[image], rays[image][keypoint, :2]
        # towards its rim a fisheye lens shows an angle by fewer pixels than the ideal camera
        of_one = _keypoint_noise(1.0 + float(ray @ ray)) if cameras[image].is_fisheye else noise
        graph.add(
            gtsam.GenericProjectionFactorCal3_S2(focal * ray, of_one, X(image), L(point), ideal[focal], False, False)
        )


def _keypoint_noise(factor: float) -> gtsam.noiseModel.Robust:
    return robust_noise(np.full(2, factor * _KEYPOINT_STD_PX), _KEYPOINT_WIDTH)
