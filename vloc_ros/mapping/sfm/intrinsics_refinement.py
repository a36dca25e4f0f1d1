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

"""Calibrations refined with a structure: bundle adjustment in which a camera's intrinsics are variables, by GTSAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gtsam
import numpy as np
from gtsam.symbol_shorthand import K, L, X

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.bundle_adjustment import MEASUREMENT_WIDTH, initial_values, optimize
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, match_posed_images, with_camera
from vloc_ros.mapping.sfm.factors import fixed_pose_factor, frame_factors, relative_factor
from vloc_ros.mapping.sfm.keypoint_factors import keypoint_noise
from vloc_ros.mapping.sfm.map_bending import hold_loosely, scale_factor
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.placement import Placement
from vloc_ros.mapping.sfm.structure import Structure
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

# how far a calibration that needs it is off: focal lengths as a part, both alike and one against the other; principal
# point as a part of the width; distortion k1 k2 p1 p2, or k1 to k4 of a fisheye
_FOCAL_STD, _ASPECT_STD, _CENTRE_STD = 0.05, 0.001, 0.02
_DISTORTION_STD, _FISHEYE_STD = (0.1, 0.1, 0.005, 0.005), (0.05, 0.05, 0.02, 0.02)
_ABSENT_STD = 1e-9
# a focal length that images leave more uncertain than so, as a part, is open
_OPEN = 0.01
_CONVERGED_PX = 0.2
_GRID = 15
_MIN_TRACK_LENGTH = 2
_BROWN = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")
_FISHEYE = ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")


@dataclass(frozen=True, slots=True)
class RefinedCamera:
    """A camera whose calibration was refined.

    Attributes:
        before: as given.
        after: as refined; of the same model.
        focal_std_px: standard deviation of the focal length.
        centre_std_px: of the principal point, the larger of its two coordinates; one that the images leave open has
            that of `_CENTRE_STD`.
        last_shift_px: how far the last refinement moved pixels at most: little, where it has converged.
    """

    before: Camera
    after: Camera
    focal_std_px: float
    centre_std_px: float
    last_shift_px: float = 0.0

    @property
    def has_converged(self) -> bool:
        """Whether another refinement would hardly move it."""
        return self.last_shift_px < _CONVERGED_PX

    @property
    def largest_shift_px(self) -> float:
        """How far pixels over the image have moved at most, NaN rays left out."""
        x, y = np.meshgrid(*(np.linspace(0.0, size, _GRID) for size in (self.before.width, self.before.height)))
        pixels = np.column_stack([x.ravel(), y.ravel()])
        shifts = np.linalg.norm(self.after.project(self.before.unproject(pixels)) - pixels, axis=1)
        return float(np.nanmax(shifts))


def refine_placed_images(
    views: Sequence[ExtractedImage],
    placement: Placement,
    config: MappingConfig,
    progress: Progress,
    workers: Workers = THIS_PROCESS,
) -> tuple[list[ExtractedImage], list[RefinedCamera]]:
    """The images with refined calibrations, and these; poses that were given exactly count as exact.

    Args:
        views: N images.
        placement: where they were taken by the calibrations of before.
        config: parameters.
        progress: shows the iterations.
        workers: match what was not matched.

    Raises:
        MapError: the images leave a focal length open, or show too little.
    """
    number = {i: k for k, i in enumerate(i for i, pose in enumerate(placement.poses) if pose is not None)}
    placed = [replace(views[i], image=replace(views[i].image, map_from_camera=placement.poses[i])) for i in number]
    known = {(number[i], number[j]): found for (i, j), found in placement.matches.items() if {i, j} <= number.keys()}
    matches = match_posed_images(placed, config, progress, matches=known, workers=workers)
    structure = triangulate([view.image for view in placed], [view.features for view in placed], matches)
    structure = structure.with_tracks_of_at_least(_MIN_TRACK_LENGTH)
    cameras, rays = [view.image.camera for view in placed], [view.rays for view in placed]
    measured = _measured(structure.poses, placement, number)
    refined = refine_intrinsics(structure, rays, cameras, measured, progress)
    after = {one.before: one.after for one in refined}
    return [with_camera(view, after.get(view.image.camera, view.image.camera)) for view in views], refined


def unchanged_matches(
    matches: Mapping[Pair, Array], before: Sequence[ExtractedImage], after: Sequence[ExtractedImage]
) -> dict[Pair, Array]:
    """The matches of images whose keypoints are the same by another calibration."""
    same = [len(old.features.xy) == len(new.features.xy) for old, new in zip(before, after, strict=True)]
    return {(i, j): found for (i, j), found in matches.items() if same[i] and same[j]}


def follow_refinement(before: Sequence[RefinedCamera], now: Sequence[RefinedCamera]) -> list[RefinedCamera]:
    """What was refined from the calibrations of the beginning, after one more refinement."""
    start = {one.after: one.before for one in before}
    return [replace(one, before=start.get(one.before, one.before)) for one in now]


def _measured(
    poses: Sequence[Pose | None], placement: Placement, number: Mapping[int, int]
) -> list[gtsam.NonlinearFactor]:
    """Factors of what the poses of placed images were measured as; of images alone, what fixes frame and scale."""
    placed = {k: pose for k, pose in enumerate(poses) if pose is not None}
    anchors = placement.anchors.renumber(number)
    motions = [replace(one, pair=(number[one.pair[0]], number[one.pair[1]])) for one in placement.motions]
    if placement.is_exact:
        return [fixed_pose_factor(k, pose) for k, pose in placed.items()]
    factors = frame_factors(anchors, placed[0], MEASUREMENT_WIDTH)
    factors += [relative_factor(motion, MEASUREMENT_WIDTH) for motion in motions]
    if motions or anchors.place_the_frame:
        return factors
    return [*factors, scale_factor(placed, 0, max(placed, key=lambda k: placed[0].distance_to(placed[k])[0]))]


def refine_intrinsics(
    structure: Structure,
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    measured: Sequence[gtsam.NonlinearFactor],
    progress: Progress,
) -> list[RefinedCamera]:
    """The calibrations that agree best with keypoints and with what holds the poses, one for each different camera.

    Args:
        structure: all images have poses.
        rays: (K, 3) rays with z = 1 of each image's keypoints, by the calibration of before.
        cameras: of each image.
        measured: factors of the poses X: what they were measured as, or what fixes the frame and its scale.
        progress: shows the iterations.

    Raises:
        MapError: the images leave a focal length open.
    """
    poses = [pose for pose in structure.poses if pose is not None]
    assert len(poses) == len(structure.poses)
    numbers = {camera: number for number, camera in enumerate(dict.fromkeys(cameras))}
    graph, values = gtsam.NonlinearFactorGraph(), initial_values(poses, structure.points)
    for camera, number in numbers.items():
        _insert(camera, K(number), graph, values)
    for factor in [*measured, *_observations(structure, rays, cameras, numbers)]:
        graph.add(factor)
    found = optimize(graph, values, progress, description="calibration")
    return [_refined(camera, K(number), graph, found) for camera, number in numbers.items()]


def _insert(camera: Camera, key: int, graph: gtsam.NonlinearFactorGraph, values: gtsam.Values) -> None:
    """A calibration as a variable, with how far it may be off."""
    noise = gtsam.noiseModel.Gaussian.Covariance(_prior_covariance(camera))
    given = _calibration(camera)
    prior: Any = gtsam.PriorFactorCal3Fisheye if camera.is_fisheye else gtsam.PriorFactorCal3DS2
    values.insert(key, given)
    graph.add(prior(key, given, noise))


def _calibration(camera: Camera) -> Any:
    fx, fy, *others = _adjustable(camera).parameters
    return (gtsam.Cal3Fisheye if camera.is_fisheye else gtsam.Cal3DS2)(fx, fy, 0.0, *others)


def _adjustable(camera: Camera) -> Camera:
    """The camera with the parameters that are adjusted: without those of a rational model."""
    names = _FISHEYE if camera.is_fisheye else _BROWN
    values = {**_by_name(camera), **dict(zip(("fx", "fy"), camera.intrinsics[:2], strict=True))}
    model = "OPENCV_FISHEYE" if camera.is_fisheye else "OPENCV"
    return Camera(model, camera.width, camera.height, tuple(values.get(name, 0.0) for name in names))


def _by_name(camera: Camera) -> dict[str, float]:
    return dict(zip(PARAMETER_NAMES[camera.model], camera.parameters, strict=True))


def _prior_covariance(camera: Camera) -> Array:
    """(9, 9) of fx, fy, skew, cx, cy and distortion, in which a parameter that the model lacks is fixed."""
    names, focal_px = PARAMETER_NAMES[camera.model], camera.intrinsics[0]
    distortion = _FISHEYE_STD if camera.is_fisheye else _DISTORTION_STD
    coefficients = (_FISHEYE if camera.is_fisheye else _BROWN)[4:]
    known = [std if name in names else _ABSENT_STD for name, std in zip(coefficients, distortion, strict=True)]
    centre_px = _CENTRE_STD * camera.width
    covariance = np.diag([0.0, 0.0, _ABSENT_STD, centre_px, centre_px, *known]) ** 2
    aspect = _ASPECT_STD if "fy" in names else 1e-6
    covariance[:2, :2] = focal_px**2 * (_FOCAL_STD**2 + aspect**2 * np.eye(2))
    return np.asarray(covariance)


def _observations(
    structure: Structure, rays: Sequence[Array], cameras: Sequence[Camera], numbers: Mapping[Camera, int]
) -> list[gtsam.NonlinearFactor]:
    """Keypoints as pixels of cameras whose calibrations are variables."""
    pixels = [_adjustable(camera).project(of_image) for camera, of_image in zip(cameras, rays, strict=True)]
    tracks = np.column_stack([structure.track_points, structure.track_images, structure.track_keypoints])
    factors = list[gtsam.NonlinearFactor]()
    for point, image, keypoint in tracks.tolist():
        camera = cameras[image]
        factor: Any = gtsam.GeneralSFMFactor2Cal3Fisheye if camera.is_fisheye else gtsam.GeneralSFMFactor2Cal3DS2
        pixel = pixels[image][keypoint]
        factors.append(factor(pixel, keypoint_noise(), X(image), L(point), K(numbers[camera])))
    return factors


def _refined(camera: Camera, key: int, graph: gtsam.NonlinearFactorGraph, found: gtsam.Values) -> RefinedCamera:
    calibration = found.atCal3Fisheye(key) if camera.is_fisheye else found.atCal3DS2(key)
    focal_std_px, centre_std_px = _stds_px(key, graph, found)
    if not focal_std_px < _OPEN * camera.intrinsics[0]:
        raise MapError(
            f"the images leave the focal length open: {camera.intrinsics[0]:.1f} px by the given calibration, within "
            f"{focal_std_px:.1f} px by the images; take images from more places and directions, or calibrate the camera"
        )
    given = _adjustable(camera)
    change = np.delete(np.asarray(_calibration(camera).localCoordinates(calibration)), 2)  # without skew
    after = replace(given, parameters=tuple(float(value) for value in np.array(given.parameters) + change))
    refined = RefinedCamera(camera, _in_model(camera, after), focal_std_px, centre_std_px)
    return replace(refined, last_shift_px=refined.largest_shift_px)


def _stds_px(key: int, graph: gtsam.NonlinearFactorGraph, found: gtsam.Values) -> tuple[float, float]:
    """Of the focal length and the principal point; infinite where they are open."""
    for loosely in (False, True):
        held = hold_loosely(graph, found) if loosely else graph
        try:
            stds_px = np.sqrt(np.diag(gtsam.Marginals(held, found).marginalCovariance(key)))
        except RuntimeError:  # points so far away that their distance is open
            continue
        return float(stds_px[0]), float(stds_px[3:5].max())
    return np.inf, np.inf


def _in_model(camera: Camera, adjusted: Camera) -> Camera:
    """The adjusted camera by the parameters of the given one's model."""
    names = PARAMETER_NAMES[camera.model]
    if camera.model != "FULL_OPENCV":
        values = {**_by_name(adjusted), "f": float(np.mean(adjusted.intrinsics[:2]))}
        return replace(camera, parameters=tuple(values[name] for name in names))
    x, y = np.meshgrid(*(np.linspace(0.0, size, _GRID) for size in (camera.width, camera.height)))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    rays = adjusted.unproject(_adjustable(camera).project(camera.unproject(pixels)))
    seen = np.isfinite(rays).all(axis=1)

    def residuals(parameters: Array) -> Array:
        return np.asarray((replace(camera, parameters=tuple(parameters)).project(rays[seen]) - pixels[seen]).ravel())

    from scipy.optimize import least_squares  # half of what `vloc map build` loads, and only this model needs it

    start = np.array([*adjusted.parameters, *camera.parameters[8:]])
    return replace(camera, parameters=tuple(float(v) for v in least_squares(residuals, start, x_scale="jac").x))
