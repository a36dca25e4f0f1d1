"""Bundle adjustment of a structure whose images have measured motions, by GTSAM."""

from __future__ import annotations

from collections.abc import Sequence

import gtsam
import numpy as np
from gtsam.symbol_shorthand import L, X

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.sfm.measurements import AbsolutePose, RelativePose
from vloc_ros.mapping.sfm.pose_graph import between_factor, from_gtsam, robust_noise, to_gtsam
from vloc_ros.mapping.sfm.structure import Structure

_KEYPOINT_STD_PX, _LOSS_WIDTH, _MOTION_WIDTH = 0.5, 1.0, 1.5
_MAX_ITERATIONS = 15
_ENOUGH = 1e-4
_FIXED = 1e-6


def adjust(
    structure: Structure,
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    motions: Sequence[RelativePose],
    absolute: Sequence[AbsolutePose],
    progress: Progress,
) -> list[Pose]:
    """The poses that agree best with keypoints and measurements; without absolute ones the first pose is kept.

    Args:
        structure: all images have poses.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        motions: measured.
        absolute: measured poses, in the frame of the structure's.
        progress: shows the iterations, of which the last ones may not be needed.
    """
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    poses = [pose for pose in structure.poses if pose is not None]
    assert len(poses) == len(structure.poses)
    for number, pose in enumerate(poses):
        values.insert(X(number), to_gtsam(pose))
    for number, point in enumerate(structure.points):
        values.insert(L(number), point)
    if not absolute:
        graph.add(gtsam.PriorFactorPose3(X(0), to_gtsam(poses[0]), gtsam.noiseModel.Isotropic.Sigma(6, _FIXED)))
    for one in absolute:
        graph.add(gtsam.PriorFactorPose3(X(one.image), to_gtsam(one.pose), robust_noise(one.std, _MOTION_WIDTH)))
    for motion in motions:
        graph.add(between_factor(motion, _MOTION_WIDTH))
    # pixels of an ideal camera of the same focal length
    focals_px = [float(camera.intrinsics[0]) for camera in cameras]
    ideal = {focal: gtsam.Cal3_S2(focal, focal, 0.0, 0.0, 0.0) for focal in set(focals_px)}
    noise = _robust(_KEYPOINT_STD_PX)
    tracks = np.column_stack([structure.track_points, structure.track_images, structure.track_keypoints])
    for point, image, keypoint in tracks.tolist():
        focal, ray = focals_px[image], rays[image][keypoint, :2]
        # towards its rim a fisheye lens shows an angle by fewer pixels than the ideal camera
        of_one = _robust(_KEYPOINT_STD_PX * float(1.0 + ray @ ray)) if cameras[image].is_fisheye else noise
        graph.add(
            gtsam.GenericProjectionFactorCal3_S2(focal * ray, of_one, X(image), L(point), ideal[focal], False, False)
        )
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams())
    error = optimizer.error()
    for _ in progress(range(_MAX_ITERATIONS), description="bundle adjustment"):
        optimizer.iterate()
        before, error = error, optimizer.error()
        if before - error < _ENOUGH * before:
            break
    found = optimizer.values()
    return [from_gtsam(found.atPose3(X(number))) for number in range(len(poses))]


def _robust(std_px: float) -> gtsam.noiseModel.Robust:
    loss = gtsam.noiseModel.mEstimator.Cauchy.Create(_LOSS_WIDTH)
    return gtsam.noiseModel.Robust.Create(loss, gtsam.noiseModel.Isotropic.Sigma(2, std_px))
