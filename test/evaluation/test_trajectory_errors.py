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

"""APE and RPE over the accepted poses: by hand, and against evo on the files that are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_scores import accepted, refused

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.evaluation.scores import compute_errors
from vloc_ros.evaluation.trajectory_alignment import align_records
from vloc_ros.evaluation.trajectory_errors import absolute_pose_error, relative_pose_error
from vloc_ros.storage.results import ResultRecord, write_results

AT = [0.0, 1.0, 2.0, 4.0]


def along_x(xs: list[float]) -> list[Pose]:
    return [Pose(np.eye(3), np.array([x, 0.0, 0.0])) for x in xs]


def results(xs: list[float | None]) -> list[ResultRecord]:
    poses = [None if x is None else Pose(np.eye(3), np.array([x, 0.0, 0.0])) for x in xs]
    return [replace(accepted(pose) if pose else refused(), stamp_ns=i) for i, pose in enumerate(poses)]


def test_statistics_are_over_the_accepted_alone() -> None:
    found = absolute_pose_error(compute_errors(results([0.03, 0.96, None, 4.0]), along_x(AT)))
    assert found is not None
    assert found["poses"] == 3
    assert found["translation_m"] == pytest.approx(
        {
            "rmse": np.sqrt(0.0025 / 3),
            "mean": 0.07 / 3,
            "median": 0.03,
            "std": np.std([0.03, 0.04, 0]),
            "min": 0,
            "max": 0.04,
        }
    )


def test_relative_errors_are_from_one_accepted_pose_to_the_next() -> None:
    found = relative_pose_error(results([0.1, 1.1, None, 4.3]), along_x(AT))
    assert found is not None
    assert (found["pairs"], found["delta"]) == (2, {"value": 1, "unit": "frame"})
    assert (found["translation_m"]["min"], found["translation_m"]["max"]) == (pytest.approx(0.0), pytest.approx(0.2))


def test_the_order_is_that_of_time() -> None:
    records, truth = results([0.0, 1.1, 2.0, 4.0]), along_x(AT)
    shuffled = [2, 0, 3, 1]
    found = relative_pose_error([records[i] for i in shuffled], [truth[i] for i in shuffled])
    assert found == relative_pose_error(records, truth)


def test_pairs_over_a_length_of_path_begin_where_the_last_ended() -> None:
    found = relative_pose_error(results([0.0, 1.0, 2.0, 4.3]), along_x(AT), delta_m=1.5)
    assert found is not None
    assert (found["pairs"], found["translation_m"]["max"]) == (2, pytest.approx(0.3))


def test_without_accepted_poses_there_is_no_error() -> None:
    records, truth = results([None] * 4), along_x(AT)
    assert absolute_pose_error(compute_errors(records, truth)) is None
    assert relative_pose_error(records, truth) is None
    assert relative_pose_error(results([0.0, None, None, None]), truth) is None
    assert relative_pose_error(records, truth, delta_m=1.0) is None


def test_a_pose_in_another_scene_has_no_error() -> None:
    records = [replace(r, result=replace(r.result, frame_id=f)) for r, f in zip(results(AT), "abbb", strict=True)]
    found = absolute_pose_error(compute_errors(records, along_x(AT), frame_id="b"))
    assert found is not None
    assert found["poses"] == 3


@pytest.mark.parametrize(
    "case", [{}, {"align": True}, {"align": True, "correct_scale": True}, {"delta_m": 1.0}], ids=str
)
def test_figures_are_those_of_evo(case: dict[str, Any], tmp_path: Path) -> None:
    """On the files that are written, with stamps as they are today and a refused image."""
    pytest.importorskip("evo", reason="evo is not installed; pip install 'vloc_ros[test]'")
    from evo.core.metrics import APE, RPE, PoseRelation, Unit
    from evo.core.sync import associate_trajectories
    from evo.tools.file_interface import read_tum_trajectory_file

    rng = np.random.default_rng(5)
    truth = [Pose.from_rotation_vector(rng.normal(0, 0.4, 3), [0.3 * i, np.sin(i), 0.1 * i]) for i in range(30)]
    found = [Pose.from_rotation_vector(rng.normal(0, 0.02, 3), rng.normal(0, 0.05, 3)) @ pose for pose in truth]
    records = [
        replace(accepted(pose), stamp_ns=1_700_000_000_123_456_789 + i * 33_333_333) for i, pose in enumerate(found)
    ]
    records[7] = replace(refused(), stamp_ns=records[7].stamp_ns)
    write_results(tmp_path, records, truth)

    align, scale, delta_m = case.get("align", False), case.get("correct_scale", False), case.get("delta_m")
    pair = [read_tum_trajectory_file(str(tmp_path / name)) for name in ("truth.txt", "poses.txt")]
    reference, estimate = associate_trajectories(*pair)
    assert len(estimate.timestamps) == 29
    if align:
        estimate.align(reference, correct_scale=scale)
        kept = [(r, t) for r, t in zip(records, truth, strict=True) if r.result.ok]
        source = np.array([r.result.map_from_rig.translation for r, _ in kept if r.result.map_from_rig])
        fitted = Similarity.umeyama(source, np.array([t.translation for _, t in kept]), with_scale=scale)
        records = align_records(records, fitted)
    ape = absolute_pose_error(compute_errors(records, truth))
    rpe = relative_pose_error(records, truth, delta_m=delta_m)
    delta = {"delta": delta_m or 1, "delta_unit": Unit.meters if delta_m else Unit.frames}
    for key, relation in (
        ("translation_m", PoseRelation.translation_part),
        ("rotation_deg", PoseRelation.rotation_angle_deg),
    ):
        for mine, metric in ((ape, APE(relation)), (rpe, RPE(relation, **delta))):
            assert mine is not None
            metric.process_data((reference, estimate))
            theirs = metric.get_all_statistics()
            assert mine[key] == pytest.approx({name: theirs[name] for name in mine[key]}, abs=1e-6)
