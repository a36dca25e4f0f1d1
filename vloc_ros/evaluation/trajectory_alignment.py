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

"""Results in the frame of the ground truth: as they are, or moved there by the similarity that fits them best.

A map from images alone has a frame, and a scale, of its own. Its poses have an error only after an alignment, as evo
does it (`--align --correct_scale`): by the least squares of all positions that were accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.results import ResultRecord

_FRAME_ARBITRARY = "the map's frame, chosen by images alone, is arbitrary; use --align"
_SCALE_ARBITRARY = "the map's frame and scale, chosen by images alone, are arbitrary; use --align --correct-scale"
_TRUTH_SCALE_UNKNOWN = "the scale of the true poses is unknown; use --align --correct-scale"
_NO_METRES = (
    "neither the map nor the true poses are in metres, in which errors are; `vloc map align` gives a map metres"
)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A similarity that was fitted to the accepted positions.

    Attributes:
        truth_from_map: the similarity; where the unit of the true poses is unknown, onto these in metres.
        with_scale: whether its scale was fitted.
        poses: number of positions that it was fitted to.
        unit_m: metres of the unit of the true poses, by the fit, where that is unknown; else 1.
    """

    truth_from_map: Similarity
    with_scale: bool
    poses: int
    unit_m: float = 1.0

    def as_values(self) -> dict[str, Any]:
        """Values for JSON, of the similarity onto the true poses as they are given; the quaternion is x y z w."""
        fitted = self.truth_from_map
        return {
            "method": "Sim3" if self.with_scale else "SE3",
            "poses": self.poses,
            "scale": fitted.scale / self.unit_m,
            "quaternion": Pose(fitted.rotation, fitted.translation).quaternion.tolist(),
            "translation": (fitted.translation / self.unit_m).tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ComparableResults:
    """Results in the frame of the ground truth.

    Attributes:
        records: the results; where there is an alignment, their poses and covariances are moved by it.
        alignment: how they were moved; None where they are as they were found.
        not_comparable: why they have no error; empty where they have.
    """

    records: Sequence[ResultRecord]
    alignment: Alignment | None = None
    not_comparable: str = ""

    def truth_in_metres(self, truth: Sequence[Pose]) -> list[Pose]:
        """True poses to compare the results with, whatever the unit in which they are given."""
        unit_m = 1.0 if self.alignment is None else self.alignment.unit_m
        return list(truth) if unit_m == 1.0 else [Pose(pose.rotation, unit_m * pose.translation) for pose in truth]

    def truth_in_map(self, truth: Sequence[Pose] | None) -> list[Pose] | None:
        """True poses as they lie in the map; None where that is not known."""
        if truth is None or self.not_comparable:
            return None
        if self.alignment is None:
            return list(truth)
        map_from_truth = self.alignment.truth_from_map.inverse()
        return [map_from_truth.apply_to_pose(pose) for pose in self.truth_in_metres(truth)]


def compare_with_truth(
    records: Sequence[ResultRecord],
    truth: Sequence[Pose],
    *,
    landmark_map: LandmarkMap,
    align: bool = False,
    correct_scale: bool = False,
    truth_metric: bool = True,
    frame_id: str = "",
) -> ComparableResults:
    """Bring results into the frame of the ground truth, and both into metres.

    Args:
        records: the results.
        truth: true map_from_rig of each.
        landmark_map: which says whether its frame and its scale are arbitrary.
        align: whether place and turn in the frame of the ground truth are fitted.
        correct_scale: whether the scale is fitted too.
        truth_metric: whether the lengths of the true poses are metres.
        frame_id: frame of the scene of the ground truth; empty where the map has only one.
    """
    reason = _reason_without_alignment(
        landmark_map, frame_id, align=align, scaled=align and correct_scale, truth_metric=truth_metric
    )
    if reason:
        return ComparableResults(records, not_comparable=reason)
    if not align:
        return ComparableResults(records)
    try:
        alignment = _fit(records, truth, with_scale=correct_scale, frame_id=frame_id)
    except InputError as error:
        remedy = "evaluate more images, or leave out --align"
        reason = f"the accepted poses give no alignment: {error}; {remedy}"
        return ComparableResults(records, not_comparable=reason)
    if not truth_metric:
        alignment = _in_metres(alignment)
    return ComparableResults(align_records(records, alignment.truth_from_map), alignment)


def _reason_without_alignment(
    landmark_map: LandmarkMap, frame_id: str, *, align: bool, scaled: bool, truth_metric: bool
) -> str:
    """Why results have no error, so far as it is known before an alignment; empty where they may have."""
    if not (landmark_map.metric or truth_metric):
        return _NO_METRES
    if not landmark_map.metric and not scaled:
        return _SCALE_ARBITRARY
    if not truth_metric and not scaled:
        return _TRUTH_SCALE_UNKNOWN
    return _FRAME_ARBITRARY if landmark_map.scene(frame_id).frame_is_arbitrary and not align else ""


def _in_metres(alignment: Alignment) -> Alignment:
    """An alignment of a map in metres with true poses of another unit, made one with these in metres."""
    fitted = alignment.truth_from_map
    unit_m = 1.0 / fitted.scale
    rigid = Similarity(1.0, fitted.rotation, unit_m * fitted.translation)
    return replace(alignment, truth_from_map=rigid, unit_m=unit_m)


def _fit(records: Sequence[ResultRecord], truth: Sequence[Pose], *, with_scale: bool, frame_id: str) -> Alignment:
    """The alignment of the accepted results in the scene of the ground truth."""
    pairs = [
        (pose.translation, true.translation)
        for record, true in zip(records, truth, strict=True)
        if (pose := record.result.map_from_rig) is not None and frame_id in ("", record.result.frame_id)
    ]
    source, target = (
        np.array(positions).reshape(-1, 3) for positions in (zip(*pairs, strict=True) if pairs else ((), ()))
    )
    return Alignment(Similarity.umeyama(source, target, with_scale=with_scale), with_scale, len(pairs))


def align_records(records: Sequence[ResultRecord], truth_from_map: Similarity) -> list[ResultRecord]:
    """Results with poses and covariances in the frame and the scale of the ground truth."""
    return [_align_record(record, truth_from_map) for record in records]


def _align_record(record: ResultRecord, truth_from_map: Similarity) -> ResultRecord:
    """A result with its pose in the frame of the ground truth, and the covariance in that frame's axes and unit."""
    result = record.result
    if result.map_from_rig is None or result.covariance is None:
        return record
    carry = np.zeros((6, 6))
    carry[:3, :3], carry[3:, 3:] = truth_from_map.scale * truth_from_map.rotation, truth_from_map.rotation
    moved = replace(
        result,
        map_from_rig=truth_from_map.apply_to_pose(result.map_from_rig),
        covariance=carry @ result.covariance @ carry.T,
    )
    return replace(record, result=moved)
