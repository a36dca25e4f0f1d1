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

"""Tables of evidence of moving cameras, by single clouds and by drives, from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.acceptance.camera_recording import label_pose
from training.acceptance.evidence_table import OWN, EvidenceTable, RecordedQuery
from training.acceptance.kept_hypotheses import RecordedDrive
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import CAMERA_KIND, DRIVE_KIND, EVIDENCE_OF
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_drive_search import join_all
from vloc_ros.core.localization.camera_errors import CameraErrors


@dataclass(frozen=True, slots=True, eq=False)
class RecordedTable:
    """What the queries of a split gave.

    Attributes:
        table: the evidence of all hypotheses.
        errors: (N, 6) of those that are not wrong; NaN of those that are.
        covariances: (N, 6, 6) of all, not calibrated.
        voxels_m: (N,) size of the voxels of their maps.
        clouds: (Q,) number of clouds of each query.
        drives: (Q,) number of the drive in a map that each query is of.
        negatives: number of different drives of other places, each counted once however many maps it is searched in.
    """

    table: EvidenceTable
    errors: Array
    covariances: Array
    voxels_m: Array
    clouds: Array
    drives: Array
    negatives: int

    def by_drive(self) -> EvidenceTable:
        """The table with all queries of a drive in a map as one, so that one that is accepted counts as one."""
        _, first, which = np.unique(self.drives, return_index=True, return_inverse=True)
        return replace(self.table, query=which[self.table.query], queries=self.table.queries[first])


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    """The hypotheses of the camera at one cloud of a drive."""

    drive: RecordedDrive
    number: int
    cloud: int
    clouds: int
    found: Sequence[CameraHypothesis]


def table_of_clouds(recorded: Sequence[RecordedDrive]) -> RecordedTable:
    """Of single clouds: each is a query."""
    queries = [_Query(one, n, k, 1, found) for n, one in enumerate(recorded) for k, found in enumerate(one.clouds)]
    return _table(queries, CAMERA_KIND)


def table_of_drives(recorded: Sequence[RecordedDrive]) -> RecordedTable:
    """Of two clouds or more, up to each cloud of a drive: each is a query."""
    return _table(list(_joined(recorded)), DRIVE_KIND)


def _joined(recorded: Sequence[RecordedDrive]) -> Iterator[_Query]:
    for number, one in enumerate(recorded):
        for count, found in enumerate(one.drives, 2):
            odometry = one.odom_from_camera[:count]
            joined = join_all(found, odometry, errors=CameraErrors(), voxel_m=one.voxel_m)
            yield _Query(one, number, count - 1, count, joined)


def _table(queries: Sequence[_Query], kind: str) -> RecordedTable:
    rows, found = list[RecordedQuery](), [(query, one, _label(query, one)) for query in queries for one in query.found]
    for query in queries:
        values = np.array([one.evidence.values() for one in query.found], np.float32)
        evidence, drive = values.reshape(-1, len(EVIDENCE_OF[kind])), query.drive
        labels = [_label(query, one) for one in query.found]
        rows.append(RecordedQuery(evidence, labels, drive.kind, drive.condition, drive.world, drive.map_number, 0))
    return RecordedTable(
        EvidenceTable.of_queries(rows, kind),
        np.array([_error(query, one, label) for query, one, label in found]).reshape(-1, 6),
        np.array([one.covariance for _, one, _ in found]).reshape(-1, 6, 6),
        np.array([query.drive.voxel_m for query, _, _ in found]),
        np.array([query.clouds for query in queries]),
        np.array([query.number for query in queries]),
        len({_identify(query.drive) for query in queries if query.drive.kind != OWN}),
    )


def _identify(drive: RecordedDrive) -> tuple[int, bytes]:
    return drive.world, b"".join(pose.matrix.tobytes() for pose in drive.odom_from_camera)


def _label(query: _Query, one: CameraHypothesis) -> int:
    return label_pose(one.map_from_camera, query.drive.truth[query.cloud], voxel_m=query.drive.voxel_m)


def _error(query: _Query, one: CameraHypothesis, label: int) -> Array:
    truth = query.drive.truth[query.cloud]
    return np.full(6, np.nan) if truth is None or label == 0 else one.map_from_camera.error_to(truth)
