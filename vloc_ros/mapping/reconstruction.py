"""Triangulation and structure from motion by COLMAP (Schönberger and Frahm 2016), on keypoints and matches of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pycolmap

from vloc_ros.core.camera import Camera
from vloc_ros.core.errors import InputError
from vloc_ros.core.features import Features
from vloc_ros.core.pose import Array, Pose
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.images import MappingImage
from vloc_ros.mapping.matching import PairMatches
from vloc_ros.mapping.pairs import Pair
from vloc_ros.mapping.structure import Structure

# COLMAP's ids start at 1
_FIRST_ID = 1


def triangulate(
    config: MappingConfig, images: Sequence[MappingImage], features: Sequence[Features], matches: PairMatches
) -> Structure:
    """Points from images with poses, which are kept exactly; `matches` are taken as verified."""
    with _database(images, features) as path:
        _write_verified(path, matches)
        posed = _posed_reconstruction(images, features)
        options = _pipeline_options(config)
        result = pycolmap.triangulate_points(posed, path, path.parent, path.parent, options=options)
    return _structure([image.map_from_camera for image in images], result)


def verify_by_images(
    config: MappingConfig, images: Sequence[MappingImage], features: Sequence[Features], matches: PairMatches
) -> dict[Pair, Array]:
    """The matches that one two-view geometry explains, found by RANSAC: for images without poses."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.max_error = config.matches.max_epipolar_error_px
    options.ransac.random_seed = config.seed
    options.min_num_inliers = config.matches.min_matches
    with _database(images, features) as path:
        with _opened(path) as database:
            for (i, j), found in matches.items():
                database.write_matches(i + _FIRST_ID, j + _FIRST_ID, found)
        pycolmap.geometric_verification(path, two_view_geometry_options=options)
        with _opened(path) as database:
            geometries = {
                (i, j): database.read_two_view_geometry(i + _FIRST_ID, j + _FIRST_ID).inlier_matches for i, j in matches
            }
    enough = config.matches.min_matches
    return {pair: np.asarray(found, np.uint32) for pair, found in geometries.items() if len(found) >= enough}


def structure_from_motion(
    config: MappingConfig,
    images: Sequence[MappingImage],
    features: Sequence[Features],
    matches: PairMatches,
    *,
    keep_cameras: bool,
) -> tuple[Structure, tuple[Camera, ...]]:
    """Poses, points and cameras from verified matches alone; scale and frame are arbitrary.

    Of several models that share no image, the one with the most images counts.

    Raises:
        InputError: no two images fit together.
    """
    options = _pipeline_options(config)
    options.ba_refine_focal_length = options.ba_refine_extra_params = not keep_cameras
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = not keep_cameras
    with _database(images, features, known_focal=keep_cameras) as path:
        _write_verified(path, matches)
        # the verified matches carry no geometry of their own: COLMAP finds it again for the pair that it starts from
        models = pycolmap.incremental_mapping(path, path.parent, path.parent, options=options)
    if not models:
        raise InputError(
            f"the {len(images)} images do not fit together: no pair of them sees enough in common from different "
            "places; take them closer together, and move sideways rather than turning on the spot"
        )
    best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
    poses: list[Pose | None] = [None] * len(images)
    for image_id in best.reg_image_ids():
        camera_from_world = best.image(image_id).cam_from_world()
        pose = Pose(camera_from_world.rotation.matrix(), camera_from_world.translation).inverse()
        poses[image_id - _FIRST_ID] = pose
    return _structure(poses, best), tuple(_refined_cameras(images, best))


def _pipeline_options(config: MappingConfig) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.extract_colors = False
    options.min_num_matches = config.matches.min_matches
    options.random_seed = config.seed
    options.mapper.random_seed = config.seed
    options.triangulation.random_seed = config.seed
    options.num_threads = 1  # results then do not depend on the order in which threads finish
    options.mapper.num_threads = 1
    options.mapper.filter_max_reproj_error = config.max_reprojection_error_px
    options.triangulation.complete_max_reproj_error = config.max_reprojection_error_px
    options.triangulation.merge_max_reproj_error = config.max_reprojection_error_px
    options.triangulation.ignore_two_view_tracks = config.min_track_length > 2
    return options


@contextmanager
def _opened(path: Path) -> Iterator[pycolmap.Database]:
    database = pycolmap.Database.open(path)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _database(
    images: Sequence[MappingImage], features: Sequence[Features], *, known_focal: bool = True
) -> Iterator[Path]:
    """A COLMAP database with cameras, images and keypoints, gone afterwards."""
    pycolmap.set_random_seed(0)
    with tempfile.TemporaryDirectory(prefix="vloc_map_") as folder:
        path = Path(folder) / "database.db"
        with _opened(path) as database:
            cameras = _cameras(images, known_focal=known_focal)
            for camera in cameras.values():
                database.write_camera(camera, use_camera_id=True)
                rig = pycolmap.Rig(rig_id=camera.camera_id)
                rig.add_ref_sensor(camera.sensor_id)
                database.write_rig(rig, use_rig_id=True)
            for index, (image, found) in enumerate(zip(images, features, strict=True)):
                _write_image(database, index + _FIRST_ID, image, cameras[image.camera].camera_id, found)
        yield path


def _write_image(
    database: pycolmap.Database, image_id: int, image: MappingImage, camera_id: int, found: Features
) -> None:
    entry = pycolmap.Image(name=image.name, camera_id=camera_id, image_id=image_id)
    database.write_image(entry, use_image_id=True)
    frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_id)
    frame.add_data_id(entry.data_id)
    database.write_frame(frame, use_frame_id=True)
    database.write_keypoints(image_id, found.xy)


def _cameras(images: Iterable[MappingImage], *, known_focal: bool = True) -> dict[Camera, pycolmap.Camera]:
    """One COLMAP camera for every calibration among the images, numbered in their order."""
    distinct = dict.fromkeys(image.camera for image in images)
    return {
        camera: pycolmap.Camera(
            camera_id=number,
            model=camera.model,
            width=camera.width,
            height=camera.height,
            params=list(camera.parameters),
            has_prior_focal_length=known_focal,
        )
        for number, camera in enumerate(distinct, start=_FIRST_ID)
    }


def _refined_cameras(images: Sequence[MappingImage], model: pycolmap.Reconstruction) -> Iterator[Camera]:
    """The camera of every image, as the reconstruction has it."""
    numbers = {camera: entry.camera_id for camera, entry in _cameras(images).items()}
    for image in images:
        camera = image.camera
        if numbers[camera] in model.cameras:
            refined = model.cameras[numbers[camera]]
            camera = Camera(camera.model, camera.width, camera.height, tuple(refined.params))
        yield camera


def _write_verified(path: Path, matches: PairMatches) -> None:
    with _opened(path) as database:
        for (i, j), found in matches.items():
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = found
            database.write_matches(i + _FIRST_ID, j + _FIRST_ID, found)
            database.write_two_view_geometry(i + _FIRST_ID, j + _FIRST_ID, geometry)


def _posed_reconstruction(images: Sequence[MappingImage], features: Sequence[Features]) -> pycolmap.Reconstruction:
    reconstruction = pycolmap.Reconstruction()
    cameras = _cameras(images)
    for camera in cameras.values():
        reconstruction.add_camera_with_trivial_rig(camera)
    for index, (image, found) in enumerate(zip(images, features, strict=True)):
        entry = pycolmap.Image(
            name=image.name,
            keypoints=found.xy.astype(np.float64),
            camera_id=cameras[image.camera].camera_id,
            image_id=index + _FIRST_ID,
        )
        assert image.map_from_camera is not None
        camera_from_map = image.map_from_camera.inverse()
        rotation = pycolmap.Rotation3d(camera_from_map.rotation)
        pose = pycolmap.Rigid3d(rotation, camera_from_map.translation)
        reconstruction.add_image_with_trivial_frame(entry, pose)
    return reconstruction


def _structure(poses: Sequence[Pose | None], model: pycolmap.Reconstruction) -> Structure:
    points, owners, observers, keypoints = [], [], [], []
    for number, point_id in enumerate(sorted(model.point3D_ids())):
        point = model.point3D(point_id)
        points.append(point.xyz)
        elements = sorted({e.image_id: e.point2D_idx for e in point.track.elements}.items())
        owners += [number] * len(elements)
        observers += [image_id - _FIRST_ID for image_id, _ in elements]
        keypoints += [keypoint for _, keypoint in elements]
    return Structure(
        tuple(poses),
        np.array(points, np.float64).reshape(-1, 3),
        np.array(owners, np.int64),
        np.array(observers, np.int64),
        np.array(keypoints, np.int64),
        float(model.compute_mean_reprojection_error()) if points else 0.0,
    )
