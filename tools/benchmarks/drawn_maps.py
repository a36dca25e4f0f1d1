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

"""Is the covariance right over maps? Maps from measurements whose noise is drawn anew for each.

Of a real scene the images are always the same, so what their keypoints add to the errors is drawn once. Of simulated
worlds each map has a world, images and an error of the calibration of its own.

Images are extracted once a data set, and a pair of them is matched and verified once: only measurements, optimisation
and calibration are new in each map. Rows are kept map by map in docs/benchmark/rows, so that an interrupted run
resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from benchmarks.provenance import Rows
from benchmarks.real import scene as scene_folder
from benchmarks.real import simulate_odometry

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition, PosedImage, silent
from vloc_ros.datasets.image_folders import list_posed_images
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.alignment import level_rotation, transform_map
from vloc_ros.mapping.maps.build import build_map_of_extracted
from vloc_ros.mapping.sfm.anchors import DOWN
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, extract_images
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.scale import GivenPoses, MeasuredPositions, ScaleSource
from vloc_ros.mapping.workers import ThisProcess
from vloc_ros.simulation.driving import drive_route, plan_route
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scenario import DEFAULT_CAMERA
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.cameras import read_camera

MAPS = 30
POSITION_STD_M, GRAVITY_STD_RAD = 0.2, 0.02
# every second map image and every fourth query of redkitchen, for time; all of castle
STEPS = {"redkitchen": (2, 4), "castle": (1, 1)}
# of simulated worlds: images to map a room, queries, metres between the images of a street
_WALK_IMAGES, _QUERIES, _DRIVE_SPACING_M = 40, 12, 1.5
# how far a calibration by a checkerboard may be off: focal length as a part, principal point, first radial distortion
_FOCAL_STD, _CENTRE_STD_PX, _DISTORTION_STD = 0.001, 1.0, 0.002
REPORTED_WORLDS = 1000
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
    Measured(0.05, positions=True),
    Measured(0.05, positions=True, gravity=True),
)
SIMULATED_CONDITIONS = (Measured(0.01), Measured(0.05), Measured(0.05, positions=True, gravity=True))
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class _RememberedPairs(ThisProcess):
    """Does the same work on the same pair of images once, for maps whose images are the same."""

    def __init__(self) -> None:
        self._known = dict[tuple[str, Pair], Any]()

    def map_pairs(self, work: Callable[[S, S, T], R], images: Sequence[S], pairs: Mapping[Pair, T]) -> Iterator[R]:
        """See `Workers`."""
        name = getattr(work, "func", work).__name__
        missing = {pair: value for pair, value in pairs.items() if (name, pair) not in self._known}
        new = super().map_pairs(work, images, missing)
        self._known.update(zip(((name, pair) for pair in missing), new, strict=True))
        return (self._known[name, pair] for pair in pairs)


@dataclass(frozen=True, slots=True)
class _DataSet:
    """Images of a scene or world.

    Attributes:
        images: to map, with true poses.
        queries: to localize, with true poses.
        workers: match and verify the images to map.
    """

    images: list[ExtractedImage]
    queries: list[ExtractedImage]
    workers: _RememberedPairs = field(default_factory=_RememberedPairs)


def _draw_odometry(true: Sequence[Pose], drift: float, rng: np.random.Generator) -> list[Pose]:
    """In a level frame of its own."""
    start = Pose.from_rotation_vector([0.0, 0.0, rng.uniform(-np.pi, np.pi)], rng.uniform(-_FRAME_M, _FRAME_M, 3))
    return [start @ pose for pose in simulate_odometry(true, drift, seed=int(rng.integers(2**31)))]


def _draw_position(true: Pose, rng: np.random.Generator) -> MeasuredPosition:
    return MeasuredPosition(true.translation + rng.normal(0.0, POSITION_STD_M, 3), np.full(3, POSITION_STD_M))


def _draw_gravity(true: Pose, rng: np.random.Generator) -> MeasuredGravity:
    direction = true.rotation.T @ DOWN + rng.normal(0.0, GRAVITY_STD_RAD, 3)
    return MeasuredGravity(direction / np.linalg.norm(direction), GRAVITY_STD_RAD)


def real_maps(_: object, *, scene: str) -> dict[str, Any]:
    """Of maps of a scene, by what was measured: how far cameras and queries are off, and whether they know it."""
    config = MappingConfig()

    @cache
    def draw() -> _DataSet:
        both = (("map", STEPS[scene][0]), ("query", STEPS[scene][1]))
        return _DataSet(*(_extract(_posed_images(scene, part)[::step], config) for part, step in both))

    return _over_maps(f"drawn_maps_{scene}", lambda _: draw(), CONDITIONS, config)


def simulated_maps(_: object, *, kind: str, first_world: int = REPORTED_WORLDS) -> dict[str, Any]:
    """The same of simulated worlds of a kind, room or street, each of which is mapped once a condition.

    Args:
        kind: of `make_world`.
        first_world: those from 0 on were looked at while the covariance was developed.
    """
    config = MappingConfig()

    @lru_cache(maxsize=1)
    def draw(number: int) -> _DataSet:
        world = make_world(kind, first_world + number)
        rng = np.random.default_rng([world.style, 21])
        camera = _off_calibration(rng)
        images, queries = (_render(world, poses, camera, rng) for poses in _drives(world))
        return _DataSet(_extract(images, config), _extract(queries, config))

    return _over_maps(f"drawn_maps_{kind}s", draw, SIMULATED_CONDITIONS, config)


def _posed_images(scene: str, part: str) -> list[PosedImage]:
    """The images of a scene's map or queries, with true poses in a level frame."""
    folder = scene_folder(scene)
    camera = read_camera(folder / "camera_info.yaml")
    of_map = list_posed_images(folder / "map/images", camera, poses_file=folder / "map/poses_tum.txt")
    rotations = np.array([image.map_from_camera.rotation for image in of_map if image.map_from_camera])
    turn = Pose(level_rotation(rotations), np.zeros(3))
    posed = list_posed_images(folder / part / "images", camera, poses_file=folder / part / "poses_tum.txt")
    return [replace(image, map_from_camera=turn @ image.map_from_camera) for image in posed if image.map_from_camera]


def _drives(world: World) -> tuple[list[Pose], list[Pose]]:
    """Poses to map a world from, and other ones to localize."""
    if not world.roads:
        return walk(world, _WALK_IMAGES, 2 * world.style), walk(world, _QUERIES, 2 * world.style + 1)
    route = plan_route(world)
    drive = drive_route(world, route, spacing_m=_DRIVE_SPACING_M, seed=2 * world.style)
    again = drive_route(world, route, spacing_m=_DRIVE_SPACING_M, seed=2 * world.style + 1)
    return drive, again[:: len(again) // _QUERIES]


def _off_calibration(rng: np.random.Generator) -> Camera:
    """A camera for which the default one is a good calibration, but no perfect one."""
    values = np.array(DEFAULT_CAMERA.parameters)
    values[:2] *= 1.0 + rng.normal(0.0, _FOCAL_STD)
    values[2:4] += rng.normal(0.0, _CENTRE_STD_PX, 2)
    values[4] += rng.normal(0.0, _DISTORTION_STD)
    return replace(DEFAULT_CAMERA, parameters=tuple(float(v) for v in values))


def _render(world: World, poses: Sequence[Pose], camera: Camera, rng: np.random.Generator) -> list[PosedImage]:
    """Images by a camera, with the default one as their calibration."""
    seeds = rng.integers(2**31, size=len(poses))
    loads = [partial(render, world, camera, pose, seed=int(seed)) for pose, seed in zip(poses, seeds, strict=True)]
    return [PosedImage(f"{i:04}", load, DEFAULT_CAMERA, poses[i]) for i, load in enumerate(loads)]


def _extract(images: Sequence[PosedImage], config: MappingConfig) -> list[ExtractedImage]:
    return extract_images(images, build_extractor(config.extractor), silent)


def _over_maps(
    section: str, draw: Callable[[int], _DataSet], conditions: Sequence[Measured], config: MappingConfig
) -> dict[str, Any]:
    """The figures by condition over maps of data sets, by number."""
    limit_blas_threads()
    rows = Rows.of(section)
    maps: dict[Measured, list[dict[str, Any]]] = {one: [] for one in conditions}
    for number in range(MAPS):
        for one, found in maps.items():
            measure = partial(_try_map, draw, number, one, config)
            found.append(rows.once(f"{one.name}, map {number}", of=one.name, measure=measure))
            print(f"   {one.name}, {number + 1} of {MAPS} maps: {_summary(found)}", flush=True)
    return {one.name: _summary(found) for one, found in maps.items()}


def _try_map(draw: Callable[[int], _DataSet], number: int, measured: Measured, config: MappingConfig) -> dict[str, Any]:
    """The figures of one map, or why it was refused."""
    try:
        return _one_map(draw(number), measured, config, np.random.default_rng(number))
    except VlocError as error:
        return {"refused": str(error)}


def _summary(maps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the maps of one condition."""
    built = [one for one in maps if "refused" not in one]
    if not built:
        return {"maps": 0, "refused": len(maps)}
    means = np.array([one["nees_per_dof"] for one in built])
    drawn = np.random.default_rng(0).choice(means, (_BOOTSTRAPS, len(means))).mean(axis=1)
    return {
        "maps": len(built),
        "refused": len(maps) - len(built),
        "placed_least": min(one["placed"] for one in built),
        "camera_median_m": float(np.median([one["camera_m"] for one in built])),
        "query_median_m": float(np.median([one["query_m"] for one in built])),
        "accepted": float(np.mean([one["accepted"] for one in built])),
        "nees_per_dof": float(means.mean()),
        "nees_interval": [float(v) for v in np.percentile(drawn, [2.5, 97.5])],
        "position_nees_per_dof": float(np.mean([one["position_nees_per_dof"] for one in built])),
        "inside_95": float(np.average([one["inside_95"] for one in built], weights=[one["answers"] for one in built])),
    }


def _one_map(given: _DataSet, measured: Measured, config: MappingConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Errors of one map in the true frame.

    That of odometry alone is aligned rigidly: positions and orientations weigh as the map says that they are bent.
    """
    extractor = build_extractor(config.extractor)
    landmark_map = build_map_of_extracted(
        measured.draw(given.images, rng),
        name="drawn",
        config=config,
        extractor=extractor,
        scale=measured.scale,
        workers=given.workers,
    )
    truth = {view.image.name: view.image.map_from_camera for view in given.images}
    true = [truth[name] for name in landmark_map.keyframes.names]
    if not measured.positions:
        bending = landmark_map.scene().frame_uncertainty.bending
        lever_m = float(np.sqrt(bending[:3].sum() / bending[3:].sum()))
        to_truth = Similarity.fit_poses(_poses(landmark_map), true, with_scale=False, lever_m=lever_m)
        landmark_map = transform_map(landmark_map, to_truth)
    off_m = [placed.distance_to(pose)[0] for placed, pose in zip(_poses(landmark_map), true, strict=True)]
    localizer = build_localizer(LocalizerConfig(), landmark_map, extractor=extractor)
    errors, covariances = list[Array](), list[Array]()
    for view in given.queries:
        blank = np.zeros((view.image.camera.height, view.image.camera.width), np.uint8)
        result = localizer.localize_features((view.features,), Query.single(blank, view.image.camera))
        if result.map_from_rig is not None and result.covariance is not None:
            errors.append(result.map_from_rig.error_to(view.image.map_from_camera))
            covariances.append(result.covariance)
    if not errors:
        raise MapError("no query is accepted")
    both = np.array(errors), np.array(covariances)
    distances = squared_mahalanobis_distances(*both)
    of_position = squared_mahalanobis_distances(both[0][:, :3], both[1][:, :3, :3])
    return {
        "placed": len(true) / len(given.images),
        "answers": len(errors),
        "accepted": len(errors) / len(given.queries),
        "camera_m": float(np.median(off_m)),
        "query_m": float(np.median(np.linalg.norm(both[0][:, :3], axis=1))),
        "nees_per_dof": float(distances.mean() / 6.0),
        "position_nees_per_dof": float(of_position.mean() / 3.0),
        "inside_95": float((distances < _CHI_SQUARED_95).mean()),
    }


def _poses(landmark_map: LandmarkMap) -> list[Pose]:
    scene, keyframes = landmark_map.scene(), landmark_map.keyframes
    return [scene.map_from(keyframes.pose(k)) for k in range(len(keyframes))]
