"""Is the covariance right over maps? Maps from measurements whose noise is drawn anew for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmarks.real import scene as scene_folder
from benchmarks.real import simulate_odometry

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, silent
from vloc_ros.datasets.image_folders import list_posed_images
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import level_rotation, transform_map
from vloc_ros.mapping.maps.build import build_map_of_extracted
from vloc_ros.mapping.sfm.anchors import DOWN
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, extract_images
from vloc_ros.mapping.sfm.scale import GivenPoses, MeasuredPositions, ScaleSource
from vloc_ros.storage.cameras import read_camera

MAPS = 30
POSITION_STD_M, GRAVITY_STD_RAD = 0.2, 0.02
# every second map image and every fourth query of redkitchen, for time; all of castle
STEPS = {"redkitchen": (2, 4), "castle": (1, 1)}
_CHI_SQUARED_95 = 12.592  # of six degrees of freedom
_FRAME_M, _BOOTSTRAPS = 9.0, 2000


@dataclass(frozen=True, slots=True)
class Measured:
    """What of the images is measured, beside what they show.

    Attributes:
        drift: of odometry, the standard deviation of each of its errors, as a part; None for no odometry.
        positions: whether positions are measured.
        gravity: whether the direction of gravity is measured.
    """

    drift: float | None = None
    positions: bool = False
    gravity: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"odometry {self.drift:.0%}"] if self.drift is not None else []
        parts += ["positions"] if self.positions else []
        return ", ".join(parts + (["gravity"] if self.gravity else []))

    @property
    def scale(self) -> ScaleSource:
        """What gives the map its scale."""
        return MeasuredPositions() if self.drift is None else GivenPoses(drifting=True)

    def draw(self, images: Sequence[ExtractedImage], rng: np.random.Generator) -> list[ExtractedImage]:
        """The images with measurements, whose noise is drawn, in place of their true poses."""
        true = [view.image.map_from_camera for view in images]
        assert None not in true
        odometry = [None] * len(true) if self.drift is None else _draw_odometry(true, self.drift, rng)
        return [
            replace(
                view,
                image=replace(
                    view.image,
                    map_from_camera=pose,
                    position=_draw_position(truth, rng) if self.positions else None,
                    gravity=_draw_gravity(truth, rng) if self.gravity else None,
                ),
            )
            for view, truth, pose in zip(images, true, odometry, strict=True)
        ]


CONDITIONS = (
    Measured(0.01),
    Measured(0.05),
    Measured(0.01, positions=True),
    Measured(0.05, positions=True),
    Measured(0.01, positions=True, gravity=True),
    Measured(0.05, positions=True, gravity=True),
    Measured(positions=True, gravity=True),
)


def _draw_odometry(true: Sequence[Pose], drift: float, rng: np.random.Generator) -> list[Pose]:
    """In a level frame of its own."""
    start = Pose.from_rotation_vector([0.0, 0.0, rng.uniform(-np.pi, np.pi)], rng.uniform(-_FRAME_M, _FRAME_M, 3))
    return [start @ pose for pose in simulate_odometry(true, drift, seed=int(rng.integers(2**31)))]


def _draw_position(true: Pose, rng: np.random.Generator) -> MeasuredPosition:
    return MeasuredPosition(true.translation + rng.normal(0.0, POSITION_STD_M, 3), np.full(3, POSITION_STD_M))


def _draw_gravity(true: Pose, rng: np.random.Generator) -> MeasuredGravity:
    direction = true.rotation.T @ DOWN + rng.normal(0.0, GRAVITY_STD_RAD, 3)
    return MeasuredGravity(direction / np.linalg.norm(direction), GRAVITY_STD_RAD)


def drawn_maps(_: object, *, scene: str) -> dict[str, Any]:
    """Of maps of a scene, by what was measured: how far cameras and queries are off, and whether they know it."""
    limit_blas_threads()
    config = MappingConfig()
    map_step, query_step = STEPS[scene]
    images, queries = (
        _extract(scene, part, config)[::step] for part, step in (("map", map_step), ("query", query_step))
    )
    return {one.name: _over_maps(images, queries, one, config) for one in CONDITIONS}


def _extract(scene: str, part: str, config: MappingConfig) -> list[ExtractedImage]:
    """The images of a scene's map or queries, with true poses in a level frame, and their keypoints."""
    folder = scene_folder(scene)
    camera = read_camera(folder / "camera_info.yaml")
    of_map = list_posed_images(folder / "map/images", camera, poses_file=folder / "map/poses_tum.txt")
    rotations = np.array([image.map_from_camera.rotation for image in of_map if image.map_from_camera])
    turn = Pose(level_rotation(rotations), np.zeros(3))
    posed = list_posed_images(folder / part / "images", camera, poses_file=folder / part / "poses_tum.txt")
    level = [replace(image, map_from_camera=turn @ image.map_from_camera) for image in posed if image.map_from_camera]
    return extract_images(level, build_extractor(config.extractor), silent)


def _over_maps(
    images: Sequence[ExtractedImage], queries: Sequence[ExtractedImage], measured: Measured, config: MappingConfig
) -> dict[str, Any]:
    """The figures of one condition over all maps."""
    maps, refused = list[dict[str, Any]](), 0
    for seed in range(MAPS):
        try:
            maps.append(_one_map(images, queries, measured, config, np.random.default_rng(seed)))
        except VlocError as error:
            refused += 1
            print(f"   {measured.name}, map {seed}: refused: {error}", flush=True)
    means = np.array([np.mean(one["nees"]) for one in maps])
    drawn = np.random.default_rng(0).choice(means, (_BOOTSTRAPS, len(means))).mean(axis=1)
    distances = np.concatenate([one["nees"] for one in maps])
    figures = {
        "maps": len(maps),
        "refused": refused,
        "images": len(images),
        "placed_least": min(one["placed"] for one in maps),
        "camera_median_m": float(np.median([one["camera_m"] for one in maps])),
        "query_median_m": float(np.median([one["query_m"] for one in maps])),
        "accepted": float(np.mean([len(one["nees"]) for one in maps]) / len(queries)),
        "nees_per_dof": float(means.mean()),
        "nees_interval": [float(v) for v in np.percentile(drawn, [2.5, 97.5])],
        "inside_95": float((6.0 * distances < _CHI_SQUARED_95).mean()),
    }
    print(f"   {measured.name}: {figures}", flush=True)
    return figures


def _one_map(
    images: Sequence[ExtractedImage],
    queries: Sequence[ExtractedImage],
    measured: Measured,
    config: MappingConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Errors of one map in the true frame; of odometry alone, whose frame is its own, after a rigid alignment."""
    extractor = build_extractor(config.extractor)
    landmark_map = build_map_of_extracted(
        measured.draw(images, rng), name="drawn", config=config, extractor=extractor, scale=measured.scale
    )
    truth = {view.image.name: view.image.map_from_camera for view in images}
    true = [truth[name] for name in landmark_map.keyframes.names]
    if not measured.positions:
        to_truth = Similarity.fit_poses(_poses(landmark_map), true, with_scale=False)
        landmark_map = transform_map(landmark_map, to_truth)
    off_m = [placed.distance_to(pose)[0] for placed, pose in zip(_poses(landmark_map), true, strict=True)]
    localizer = build_localizer(LocalizerConfig(), landmark_map, extractor=extractor)
    errors, covariances = list[Array](), list[Array]()
    for view in queries:
        blank = np.zeros((view.image.camera.height, view.image.camera.width), np.uint8)
        result = localizer.localize_features((view.features,), Query.single(blank, view.image.camera))
        if result.map_from_rig is not None and result.covariance is not None:
            errors.append(result.map_from_rig.error_to(view.image.map_from_camera))
            covariances.append(result.covariance)
    if not errors:
        raise MapError("no query is accepted")
    return {
        "placed": len(true),
        "camera_m": float(np.median(off_m)),
        "query_m": float(np.median(np.linalg.norm(np.array(errors)[:, :3], axis=1))),
        "nees": squared_mahalanobis_distances(np.array(errors), np.array(covariances)) / 6.0,
    }


def _poses(landmark_map: LandmarkMap) -> list[Pose]:
    scene, keyframes = landmark_map.scene(), landmark_map.keyframes
    return [scene.map_from(keyframes.pose(k)) for k in range(len(keyframes))]
