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

"""Hypotheses of the clouds of drives, and of the drives, in npz files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.acceptance.camera_worlds import CameraDrive
from training.acceptance.evidence_table import OWN
from training.acceptance.kept_arrays import save_with_constants
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import CAMERA_EVIDENCE, CameraEvidence
from vloc_ros.core.localization.camera_drive_following import prefer
from vloc_ros.core.localization.camera_drive_hypotheses import DriveHypothesis
from vloc_ros.core.localization.camera_errors import COMMON

# of a row: the drive, how many clouds are compared, the hypothesis, the cloud; then of the cloud's hypothesis there
_NUMBERS = ("drive", "clouds", "hypothesis", "cloud", "scene", "agrees", "points", "cells")
_POSE, _ERRORS, _COVARIANCE = 7, 6 * COMMON, 36

Clouds = Sequence[Sequence[CameraHypothesis]]
Drives = Sequence[Sequence[DriveHypothesis]]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedDrive:
    """What was found for the clouds of one drive in one map.

    Attributes:
        kind: of the query, see `evidence_table`.
        condition: of the drive.
        world: number of the world that it is in.
        map_number: number of the map.
        voxel_m: of the map.
        truth: of each cloud, or None where the camera is at another place.
        odom_from_camera: of each cloud.
        clouds: hypotheses of each cloud by itself.
        drives: hypotheses of the first two clouds, of the first three, and so on.
    """

    kind: int
    condition: int
    world: int
    map_number: int
    voxel_m: float
    truth: tuple[Pose | None, ...]
    odom_from_camera: tuple[Pose, ...]
    clouds: tuple[tuple[CameraHypothesis, ...], ...]
    drives: tuple[tuple[DriveHypothesis, ...], ...]


def save_drives(path: Path, kept: Sequence[tuple[Clouds, Drives]], constants: Mapping[str, str]) -> None:
    """Write what was found for some drives: of each that of its clouds, and that of its first two, three and so on."""
    rows, cells = list[Array](), [np.zeros(0, np.int64)]

    def add(numbers: Sequence[int], one: CameraHypothesis, *, agrees: bool) -> None:
        poses = [np.concatenate([p.translation, p.quaternion]) for p in (one.scene_from_camera, one.map_from_camera)]
        head = [*numbers, one.scene, agrees, one.points, len(one.cells)]
        rows.append(
            np.concatenate([head, *poses, one.evidence.values(), one.common_errors.ravel(), one.covariance.ravel()])
        )
        cells.append(one.cells)

    for drive, (clouds, drives) in enumerate(kept):
        for k, hypotheses in enumerate(clouds):
            for rank, one in enumerate(hypotheses):
                add((drive, 1, rank, k), one, agrees=True)
        for count, of_drive in enumerate(drives, 2):
            for rank, whole in enumerate(of_drive):
                for k, at in enumerate(whole.at):
                    add((drive, count, rank, k), at, agrees=whole.agrees[k])
    width = len(_NUMBERS) + 2 * _POSE + len(CAMERA_EVIDENCE) + _ERRORS + _COVARIANCE
    arrays = {"rows": np.reshape(rows, (-1, width)), "cells": np.concatenate(cells)}
    save_with_constants(path, constants, arrays)


def load_drives(
    path: Path, drives: Sequence[CameraDrive], *, kind: int, world: int, map_number: int, voxel_m: float
) -> list[RecordedDrive]:
    """What was found for some drives of a world, queries of a kind, in a map."""
    with np.load(path) as arrays:
        rows, cells = arrays["rows"], arrays["cells"]
    ends = np.cumsum(rows[:, _NUMBERS.index("cells")]).astype(int)
    of_drive: list[tuple[list[list[CameraHypothesis]], list[list[_Whole]]]] = [
        ([[] for _ in one.clouds], [[] for _ in one.clouds[1:]]) for one in drives
    ]
    for row, end in zip(rows, ends, strict=True):
        drive, clouds, rank, cloud, _, agrees, _, count = row[: len(_NUMBERS)].astype(int)
        one = _read(row, cells[end - count : end])
        if clouds == 1:
            of_drive[drive][0][cloud].append(one)
            continue
        wholes = of_drive[drive][1][clouds - 2]
        if rank == len(wholes):
            wholes.append(_Whole([], []))
        wholes[rank].add(one, agrees=bool(agrees))
    return [
        RecordedDrive(
            kind,
            one.condition,
            world,
            map_number,
            voxel_m,
            tuple(pose if kind == OWN else None for pose in one.map_from_camera),
            one.odom_from_camera,
            tuple(map(tuple, singles)),
            tuple(tuple(whole.freeze(singles, voxel_m) for whole in wholes) for wholes in joint),
        )
        for one, (singles, joint) in zip(drives, of_drive, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Whole:
    """A hypothesis of a drive that is being read."""

    at: list[CameraHypothesis]
    agrees: list[bool]

    def add(self, one: CameraHypothesis, *, agrees: bool) -> None:
        """The next cloud."""
        self.at.append(one)
        self.agrees.append(agrees)

    def freeze(self, singles: Clouds, voxel_m: float) -> DriveHypothesis:
        """The hypothesis, by the hypotheses of the single clouds."""
        preferences = [prefer(own, at, voxel_m=voxel_m) for own, at in zip(singles, self.at, strict=False)]
        return DriveHypothesis(tuple(self.at), tuple(self.agrees), tuple(preferences))


def _read(row: Array, cells: Array) -> CameraHypothesis:
    numbers = dict(zip(_NUMBERS, row[: len(_NUMBERS)].astype(int), strict=True))
    start = len(_NUMBERS)
    in_scene, in_map = (
        Pose.from_quaternion(row[at + 3 : at + _POSE], row[at : at + 3]) for at in (start, start + _POSE)
    )
    evidence, uncertainty = np.split(row[start + 2 * _POSE :], [-_ERRORS - _COVARIANCE])
    return CameraHypothesis(
        int(numbers["scene"]),
        "map",
        in_scene,
        in_map,
        CameraEvidence(**dict(zip(CAMERA_EVIDENCE, map(float, evidence), strict=True))),
        uncertainty[_ERRORS:].reshape(6, 6),
        uncertainty[:_ERRORS].reshape(6, COMMON),
        int(numbers["points"]),
        cells,
    )
