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

"""Result folders are read back as written, and errors name the line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.results import ResultRecord, read_results, replaces_results, write_results
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum

_POSE = Pose.from_rotation_vector([0.1, -0.2, 3.0], [1.0, 2.0, -3.0])
_ACCEPTED = LocalizationResult(
    Status.OK,
    _POSE,
    np.diag(np.arange(1.0, 7.0)),
    matches=80,
    inliers=60,
    candidate="retrieval/vlad",
    keypoints=900,
    times_ms={"features": 41.25, "matching": 8.5},
)
_REFUSED = LocalizationResult.refused(Status.TOO_FEW_MATCHES, "4 matches, 12 needed")


def _records() -> list[ResultRecord]:
    return [ResultRecord("a.jpg", 1_700_000_000_123_456_789, _ACCEPTED), ResultRecord("b ü.jpg", 5, _REFUSED, False)]


def test_round_trip(tmp_path: Path) -> None:
    write_results(tmp_path / "new", _records())
    accepted, refused = read_results(tmp_path / "new")
    assert (accepted.image, accepted.stamp_ns) == ("a.jpg", 1_700_000_000_123_456_789)
    assert accepted.result.map_from_rig is not None
    assert max(accepted.result.map_from_rig.distance_to(_POSE)) < 1e-12
    np.testing.assert_array_equal(accepted.result.covariance, _ACCEPTED.covariance)
    for name in ("status", "matches", "inliers", "candidate", "reason", "keypoints", "times_ms"):
        assert getattr(accepted.result, name) == getattr(_ACCEPTED, name)
        assert getattr(refused.result, name) == getattr(_REFUSED, name)
    assert refused.image == "b ü.jpg"
    assert (accepted.usable, refused.usable) == (True, False)
    assert refused.result.map_from_rig is None


def test_results_of_earlier_versions_are_read(tmp_path: Path) -> None:
    write_results(tmp_path, _records())
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"candidate"', '"proposal"').replace("retrieval/vlad", "places/vlad"))
    accepted, refused = read_results(tmp_path)
    assert (accepted.result.candidate, refused.result.candidate) == ("places/vlad", "")
    assert accepted.result.inliers == _ACCEPTED.inliers


def test_poses_and_truth_are_in_the_order_of_time_with_nine_digits(tmp_path: Path) -> None:
    records = [ResultRecord("10.5.jpg", 10_500_000_001, _ACCEPTED), ResultRecord("9.5.jpg", 9_500_000_000, _ACCEPTED)]
    write_results(tmp_path, records, [_POSE, Pose.identity()])
    for name in ("poses.txt", "truth.txt"):
        rows = [line.split()[0] for line in (tmp_path / name).read_text().splitlines() if line[0] != "#"]
        assert rows == ["9.500000000", "10.500000001"]
    assert max(read_tum(tmp_path / "truth.txt").poses[1].distance_to(_POSE)) < 1e-8


@pytest.mark.parametrize("stamp_ns", [5, None])
def test_the_head_of_poses_claims_no_metres_where_the_scale_is_unknown(tmp_path: Path, stamp_ns: int | None) -> None:
    records = [ResultRecord("a.jpg", stamp_ns, _ACCEPTED)]
    for metric, unit in ((True, "tz[m]"), (False, "tz[scale unknown]")):
        write_results(tmp_path, records, metric=metric)
        head, row = (tmp_path / "poses.txt").read_text().splitlines()
        assert head.endswith(f"tx ty {unit} qx qy qz qw")
        assert len(row.split()) == 8


def test_a_truth_is_of_these_results_or_somebody_elses(tmp_path: Path) -> None:
    """That of earlier results goes with them; a file of the same name that is not ours stays as it is."""
    write_results(tmp_path, _records(), [_POSE])
    assert replaces_results(tmp_path, with_truth=True)
    write_results(tmp_path, _records())
    assert not (tmp_path / "truth.txt").exists()
    write_tum(tmp_path / "truth.txt", Trajectory(np.array([5]), (_POSE,)))
    content = (tmp_path / "truth.txt").read_bytes()
    with pytest.raises(StorageError, match=r"truth.txt: exists and was not written by .* move it away"):
        replaces_results(tmp_path, with_truth=True)
    write_results(tmp_path, _records())
    assert (tmp_path / "truth.txt").read_bytes() == content


def test_poses_hold_only_the_accepted(tmp_path: Path) -> None:
    write_results(tmp_path, _records())
    trajectory = read_tum(tmp_path / "poses.txt")
    assert trajectory.stamps_ns.tolist() == [1_700_000_000_123_456_789]
    assert max(trajectory.poses[0].distance_to(_POSE)) < 1e-8


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    write_results(tmp_path, _records())
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok", "too_few_matches"]
    assert json.loads(lines[1])["map_from_rig"] is None
    assert json.loads(lines[1])["covariance"] is None


def test_a_full_disk_leaves_the_old_results(tmp_path: Path, full_disk: int) -> None:
    write_results(tmp_path, _records())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(StorageError, match="cannot be written"):
        write_results(tmp_path, _records() * (full_disk // 100))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[: len(line) // 2],
        lambda line: line.replace('"ok"', '"fine"'),
        lambda line: line.replace('"ok"', '"ambiguous"'),
        lambda line: line.replace('"matches"', '"hits"'),
        lambda line: line.replace('"candidate"', '"winner"'),
        lambda line: line.replace("1.0", "NaN", 1),
        lambda _: "3",
        lambda _: "[]",
    ],
)
def test_bad_lines_are_named(tmp_path: Path, change: object) -> None:
    write_results(tmp_path, _records())
    path = tmp_path / "results.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text("\n".join([second, change(first)]))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"results\.jsonl, line 2: is no result"):
        read_results(tmp_path)
