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

"""Triangulation and structure from motion by COLMAP (Schönberger and Frahm 2016), through pycolmap.

COLMAP gets our keypoints and our matches; nothing is extracted or matched a second time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.sfm.match_halves import split_matches
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.structure import Structure, join_points
from vloc_ros.mapping.workers import THIS_PROCESS

_CALIBRATED = pycolmap.TwoViewGeometryConfiguration.CALIBRATED.value
# with more, sums are rounded in another order each time, and so the same images give another map
_THREADS = 1
_SEED = 0
# of a pair of images with known poses; COLMAP's own limit
_MIN_PAIR_MATCHES = 15
# residuals well beyond this are taken for mismatches; SIFT keypoints are good to about half a pixel
_LOSS_SCALE_PX = 0.5
# of an image that has a pose; COLMAP registers one by 30, and most of these may turn out to be mismatches
_MIN_POINTS_SEEN = 12
# COLMAP numbers images from 1, we from 0
_FIRST_ID = 1

pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value


def triangulate(images: Sequence[PosedImage], features: Sequence[Features], matches: Mapping[Pair, Array]) -> Structure:
    """Points from images whose poses are known and kept.

    Halves of the matches that share no keypoint are triangulated at the same time, each by one thread.

    Args:
        images: N images, all with poses.
        features: their keypoints.
        matches: (M, 2) keypoint indices by pair of image indices, already verified.
    """
    enough = {pair: found for pair, found in matches.items() if len(found) >= _MIN_PAIR_MATCHES}
    halves = split_matches(enough, [len(found) for found in features])
    work = partial(_triangulate_half, images=images, features=features, poses=tuple(_known(image) for image in images))
    return join_points(list(THIS_PROCESS.map(work, halves or [{}])))


def _triangulate_half(
    matches: Mapping[Pair, Array],
    *,
    images: Sequence[PosedImage],
    features: Sequence[Features],
    poses: tuple[Pose, ...],
) -> Structure:
    options = _options()
    options.min_num_matches = 1  # of a half; whether a pair has enough is known
    with _scratch() as folder:
        database = folder / "database.db"
        _write_database(database, images, features, matches)
        posed = _posed_reconstruction(images, features, poses)
        pycolmap.set_random_seed(_SEED)  # of this thread
        built = pycolmap.triangulate_points(posed, database, folder, folder, clear_points=True, options=options)
    return _structure(built, poses)


def reconstruct(
    images: Sequence[PosedImage],
    features: Sequence[Features],
    matches: Mapping[Pair, Array],
    progress: Progress = silent,
) -> Structure:
    """Poses and points from images alone, in a frame and scale of their own; the model with most images.

    COLMAP adjusts its model by squared residuals, in which a repeated window or poster weighs as much as it is wrong;
    a last adjustment under a Cauchy loss takes that back (castle: the cameras' median error from 6.4 to 2.3 cm).

    Args:
        images: N images; their poses are ignored.
        features: their keypoints.
        matches: (M, 2) keypoint indices by pair of image indices, already verified.
        progress: shows the images placed.

    Raises:
        InputError: no two images show enough of the same from places far enough apart.
    """
    placed = iter(progress(images, description="structure from motion", total=len(images)))

    def show_next() -> None:
        next(placed, None)

    with _scratch() as folder:
        database = folder / "database.db"
        _write_database(database, images, features, matches)
        pycolmap.set_random_seed(_SEED)
        models = pycolmap.incremental_mapping(database, folder, folder, _options(), next_image_callback=show_next)
    if not models:
        raise InputError(_explain_no_start(len(images), max((len(of_pair) for of_pair in matches.values()), default=0)))
    built = max(models.values(), key=lambda model: int(model.num_reg_images()))
    _adjust_robustly(built)
    _remove_unsupported(built)
    return _structure(built, _poses(built, len(images)))


def _explain_no_start(images: int, most_matches: int) -> str:
    """Why no pair of images could start a map, and what to do."""
    if most_matches >= pycolmap.IncrementalMapperOptions().init_min_num_inliers:
        return (
            f"the {images} images overlap, by up to {most_matches} matches, but no two of them were taken far enough "
            "apart to tell how far away things are; move the camera while it records, not only turn it"
        )
    return (
        f"no two of the {images} images show enough of the same to start a map, at most {most_matches} matches; take "
        "them closer together"
    )


def _poses(built: pycolmap.Reconstruction, count: int) -> tuple[Pose | None, ...]:
    """map_from_camera of all images, None for those that are not in the model."""
    poses: list[Pose | None] = [None] * count
    for identifier, image in built.images.items():
        if image.has_pose:
            camera_from_map = image.cam_from_world()
            placed = Pose(camera_from_map.rotation.matrix(), camera_from_map.translation)
            poses[identifier - _FIRST_ID] = placed.inverse()
    return tuple(poses)


def _known(image: PosedImage) -> Pose:
    if image.map_from_camera is None:
        raise InputError(f"{image.name} has no pose, expected one for every image; build from images alone instead")
    return image.map_from_camera


def _options() -> pycolmap.IncrementalPipelineOptions:
    """Calibrations and given poses stay as they are."""
    options = pycolmap.IncrementalPipelineOptions()
    options.fix_existing_frames = True
    options.ba_refine_focal_length = False
    options.ba_refine_principal_point = False
    options.ba_refine_extra_params = False
    options.extract_colors = False
    options.multiple_models = True
    options.random_seed = _SEED
    options.num_threads = _THREADS
    return options


def _adjust_robustly(built: pycolmap.Reconstruction) -> None:
    """Move poses and points, not the calibration, to where they are best under a Cauchy loss."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = False
    options.refine_principal_point = False
    options.refine_extra_params = False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _LOSS_SCALE_PX
    options.ceres.solver_options.num_threads = _THREADS
    adjusted = pycolmap.BundleAdjustmentConfig()
    for identifier in built.reg_image_ids():
        adjusted.add_image(identifier)
    adjusted.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, adjusted, built).solve()


def _remove_unsupported(built: pycolmap.Reconstruction) -> None:
    """Remove what the last adjustment has left behind a camera, and images that hardly a point holds any more."""
    manager = pycolmap.ObservationManager(built)
    manager.filter_observations_with_negative_depth()
    while unsupported := [
        image.frame_id for image in built.images.values() if image.has_pose and image.num_points3D < _MIN_POINTS_SEEN
    ]:
        for frame in unsupported:
            manager.deregister_frame(frame)


def _write_database(
    path: Path,
    images: Sequence[PosedImage],
    features: Sequence[Features],
    matches: Mapping[Pair, Array],
) -> None:
    database = pycolmap.Database.open(path)
    try:
        for number, camera in enumerate(_cameras(images), _FIRST_ID):
            database.write_camera(_colmap_camera(camera, number), use_camera_id=True)
        reconstruction = _posed_reconstruction(images, features, tuple(Pose.identity() for _ in images))
        for rig in reconstruction.rigs.values():
            database.write_rig(rig, use_rig_id=True)
        for identifier, image in sorted(reconstruction.images.items()):
            database.write_frame(reconstruction.frames[image.frame_id], use_frame_id=True)
            database.write_image(image, use_image_id=True)
            database.write_keypoints(identifier, features[identifier - _FIRST_ID].xy.astype(np.float32))
        for (i, j), found in matches.items():
            database.write_matches(i + _FIRST_ID, j + _FIRST_ID, found)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = _CALIBRATED
            geometry.inlier_matches = found
            database.write_two_view_geometry(i + _FIRST_ID, j + _FIRST_ID, geometry)
    finally:
        database.close()


def _name(image: int) -> str:
    """COLMAP's lists of pairs are split at spaces: an image goes there by its number."""
    return f"{image:08d}"


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for COLMAP's database; what COLMAP cannot do there is one clear line."""
    with tempfile.TemporaryDirectory(prefix="vloc_map_") as folder:
        try:
            yield Path(folder)
        except RuntimeError as error:
            raise MapError(
                f"COLMAP failed in {folder} ({error}); is the disk full? TMPDIR names another place"
            ) from error


def _cameras(images: Sequence[PosedImage]) -> list[Camera]:
    """The different cameras, in the order in which they first appear."""
    return list(dict.fromkeys(image.camera for image in images))


def _colmap_camera(camera: Camera, identifier: int) -> pycolmap.Camera:
    result = pycolmap.Camera(
        camera_id=identifier,
        model=camera.model,
        width=camera.width,
        height=camera.height,
        params=list(camera.parameters),
    )
    result.has_prior_focal_length = True
    return result


def _posed_reconstruction(
    images: Sequence[PosedImage], features: Sequence[Features], poses: Sequence[Pose]
) -> pycolmap.Reconstruction:
    reconstruction = pycolmap.Reconstruction()
    cameras = {camera: number for number, camera in enumerate(_cameras(images), _FIRST_ID)}
    for camera, number in cameras.items():
        reconstruction.add_camera_with_trivial_rig(_colmap_camera(camera, number))
    for index, (image, found, pose) in enumerate(zip(images, features, poses, strict=True)):
        camera_from_map = pose.inverse()
        keypoints = found.xy.astype(np.float64)
        reconstruction.add_image_with_trivial_frame(
            pycolmap.Image(_name(index), keypoints, cameras[image.camera], index + _FIRST_ID),
            pycolmap.Rigid3d(pycolmap.Rotation3d(camera_from_map.rotation), camera_from_map.translation),
        )
    return reconstruction


def _structure(built: pycolmap.Reconstruction, poses: tuple[Pose | None, ...]) -> Structure:
    points, rows = [], []
    for number, identifier in enumerate(sorted(built.points3D)):
        point = built.points3D[identifier]
        points.append(point.xyz)
        rows += [(number, seen.image_id - _FIRST_ID, seen.point2D_idx) for seen in point.track.elements]
    tracks = np.array(rows, np.int64).reshape(-1, 3)
    return Structure(
        points=np.array(points).reshape(-1, 3),
        track_points=tracks[:, 0],
        track_images=tracks[:, 1],
        track_keypoints=tracks[:, 2],
        poses=poses,
        mean_reprojection_error_px=float(built.compute_mean_reprojection_error()) if points else 0.0,
    )
