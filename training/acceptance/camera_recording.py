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

"""Recorded evidence of moving cameras: the queries of every world in its own map, and those of other places in it.

What the search finds is kept, so that evidence can be measured anew without searching again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from training.acceptance.camera_worlds import (
    INDOORS,
    REACH_M,
    CameraQuery,
    CameraSplit,
    CameraWorld,
    context_of,
    simulate,
    spacing_m,
)
from training.acceptance.evidence_table import FOREIGN, OWN, EvidenceTable, RecordedQuery
from vloc_ros.assembly import build_camera_cloud_search
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import CAMERA_KIND, EVIDENCE_OF, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map

_RIGHT_VOXELS, _RIGHT_RAD, _WRONG_VOXELS, _WRONG_RAD = 2.5, np.radians(5.0), 5.0, np.radians(10.0)
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSplit:
    """What the queries of a split gave.

    Attributes:
        table: the evidence of all hypotheses.
        errors: (N, 6) of the right ones.
        covariances: (N, 6, 6) of them, not calibrated.
        voxels_m: (N,) size of the voxels of their maps.
    """

    table: EvidenceTable
    errors: Array
    covariances: Array
    voxels_m: Array


def collect(folder: Path, split: CameraSplit) -> RecordedSplit:
    """Search what has not been searched yet, and measure the evidence of all that was found."""
    search_all(folder, split)
    rows, right = list[RecordedQuery](), list[tuple[Array, Array, float]]()
    for number in split.numbers:
        search = make_search(CameraWorld.load(folder, split, number), split, number)
        for other in (number, *split.alike(number)):
            found = read_found(folder, split, number, other)
            world = CameraWorld.load(folder, split, other)
            for k, (kind, query) in enumerate(queries_of(world, split, foreign=other != number)):
                hypotheses = search.measure(query.cloud, found.get(k, []))
                truth = query.map_from_camera if kind == OWN else None
                voxel_m = context_of(split, number).voxel_m
                labels = [label_pose(one.map_from_camera, truth, voxel_m=voxel_m) for one in hypotheses]
                values = np.array([one.evidence.values() for one in hypotheses], np.float32)
                evidence = values.reshape(-1, len(EVIDENCE_OF[CAMERA_KIND]))
                rows.append(RecordedQuery(evidence, labels, kind, query.condition, other, number, 0))
                right += [
                    (one.map_from_camera.error_to(query.map_from_camera), one.covariance, voxel_m)
                    for one, label in zip(hypotheses, labels, strict=True)
                    if label == 1
                ]
    errors, covariances, voxels_m = (np.array([one[part] for one in right]) for part in range(3))
    return RecordedSplit(EvidenceTable.of_queries(rows, CAMERA_KIND), errors, covariances, voxels_m)


def label_pose(found: Pose, truth: Pose | None, *, voxel_m: float) -> int:
    """1 right, 0 wrong, -1 between; wrong where the camera is at another place."""
    if truth is None:
        return 0
    distance_m, angle_rad = found.distance_to(truth)
    if distance_m <= _RIGHT_VOXELS * voxel_m and angle_rad <= _RIGHT_RAD:
        return 1
    return 0 if distance_m > _WRONG_VOXELS * voxel_m or angle_rad > _WRONG_RAD else -1


def search_all(folder: Path, split: CameraSplit) -> None:
    """Search every map of a split for its own queries and for those of other worlds; what is stored already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in split.numbers:
        simulate(folder, split, number)
        _search_map(folder, split, number, number)
    for number in split.numbers:
        for other in split.alike(number):
            _search_map(folder, split, number, other)


def queries_of(world: CameraWorld, split: CameraSplit, *, foreign: bool) -> Iterator[tuple[int, CameraQuery]]:
    """Kind and query, of a world in its own map or in another one."""
    if not foreign:
        yield from ((one.kind, one) for one in world.queries)
        return
    own = [one for one in world.queries if one.kind == OWN]
    most = split.foreign[own[0].condition == INDOORS] if own else 0
    for k in np.linspace(0, len(own) - 1, min(most, len(own))).astype(int):
        yield FOREIGN, own[k]


def make_search(world: CameraWorld, split: CameraSplit, number: int) -> CameraCloudSearch:
    """A search in the map of a world."""
    posed = [
        PosedScan(f"{k:06d}", partial(PointCloud, points), pose)
        for k, (points, pose) in enumerate(zip(world.scans, world.map_from_scan, strict=True))
    ]
    landmark_map = make_lidar_map(
        posed,
        name=f"{split.name}-{number}",
        spacing_m=0.9 * spacing_m(split, number),
        context=context_of(split, number),
    )
    terms = {name: _NOTHING for name in EVIDENCE_OF[CAMERA_KIND] if name != "margin"}
    nothing = AcceptanceModel("none", 0.0, terms, _NOTHING, 0, np.zeros(1), np.full(1, np.inf), 0, CAMERA_KIND)
    return build_camera_cloud_search(
        LocalizerConfig(), landmark_map, acceptance=nothing, calibration=CovarianceCalibration()
    )[0]


def _search_map(folder: Path, split: CameraSplit, number: int, other: int) -> None:
    path = found_path(folder, split, number, other)
    if path.exists():
        return
    search = make_search(CameraWorld.load(folder, split, number), split, number)
    reach_m = REACH_M[split.is_outdoors(number)]
    rows: list[tuple[float, ...]] = []
    for k, (_, query) in enumerate(queries_of(CameraWorld.load(folder, split, other), split, foreign=other != number)):
        for one in search.find(query.cloud, query.odom_from_camera, reach_m=reach_m):
            pose = one.scene_from_camera
            rows.append((k, one.scene, *pose.translation, *pose.quaternion))
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(unfinished, rows=np.reshape(rows, (-1, 9)))
    unfinished.replace(path)


def read_found(folder: Path, split: CameraSplit, number: int, other: int) -> dict[int, list[tuple[int, Pose]]]:
    """Scene and pose of what was found for each query that found something."""
    found = dict[int, list[tuple[int, Pose]]]()
    with np.load(found_path(folder, split, number, other)) as arrays:
        rows: Array = arrays["rows"]
    for row in rows:
        found.setdefault(int(row[0]), []).append((int(row[1]), Pose.from_quaternion(row[5:], row[2:5])))
    return found


def found_path(folder: Path, split: CameraSplit, number: int, other: int) -> Path:
    """Of what the search of a map found for the queries of a world."""
    return folder / f"{split.name}-{number:02}-by-{other:02}-found.npz"
