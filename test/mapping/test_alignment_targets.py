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

"""What a map is aligned to, for maps near zero and far from it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posed_points import UTM

from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.alignment_targets import GravityTarget, PairsTarget, TrajectoryTarget, align_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

sys.path.append(str(Path(__file__).parents[1] / "core"))
from synthetic import make_scene

TARGET_FROM_ROOM = Similarity(2.0, Pose.from_rotation_vector([0, 0, 0.5], np.zeros(3)).rotation, np.array([3.0, 4, 0]))


@pytest.fixture(scope="module")
def room() -> LandmarkMap:
    return make_scene().landmark_map


@pytest.mark.parametrize("target", [np.zeros(3), UTM])
@pytest.mark.parametrize("source", [np.zeros(3), UTM])
@pytest.mark.parametrize("kind", ["trajectory", "pairs"])
def test_a_map_is_moved_from_its_frame_to_that_of_the_target(
    room: LandmarkMap, source: Array, target: Array, kind: str, tmp_path: Path
) -> None:
    """Files hold coordinates of the map's and of the target's frame, whatever origin the points are relative to."""
    given = transform_map(room, Similarity(1.0, np.eye(3), source))
    truth = Similarity(2.0, TARGET_FROM_ROOM.rotation, TARGET_FROM_ROOM.translation + target)
    poses = [truth.apply_to_pose(room.keyframes.pose(k)) for k in range(len(room.keyframes))]
    if kind == "trajectory":
        write_tum(tmp_path / "file", Trajectory(np.arange(len(poses)) * 10**9, tuple(poses)))
    else:
        points = room.points[:20].astype(np.float64)
        np.savetxt(tmp_path / "file", np.column_stack([points + source, truth.apply(points)]), fmt="%.9f")
    to = TrajectoryTarget(tmp_path / "file") if kind == "trajectory" else PairsTarget(tmp_path / "file")
    aligned = align_map(given, to, source_hash="0", change_scale=True)
    assert aligned.target_from_map.scale == pytest.approx(2.0, abs=1e-4)
    assert aligned.residuals is not None
    assert aligned.residuals.max() < 1e-3
    moved = aligned.landmark_map
    for k in (0, 11):
        distance_m, angle_rad = moved.scene().map_from(moved.keyframes.pose(k)).distance_to(poses[k])
        assert max(distance_m, angle_rad) < 1e-3
    assert moved.scene().origin.any() == target.any()


@pytest.mark.parametrize(("change_scale", "std"), [(False, 0.1), (True, 0.0)])
def test_a_target_gives_place_and_turn_and_where_it_is_told_to_the_scale(
    room: LandmarkMap, change_scale: bool, std: float, tmp_path: Path
) -> None:
    uncertain = FrameUncertainty(np.diag([1.0] * 6 + [0.01]), np.zeros(3))
    given = replace(room, scenes=(replace(room.scene(), frame_uncertainty=uncertain),))
    points = room.points[:20].astype(np.float64)
    np.savetxt(tmp_path / "file", np.column_stack([points, points]), fmt="%.9f")
    moved = align_map(given, PairsTarget(tmp_path / "file"), source_hash="0", change_scale=change_scale).landmark_map
    assert np.sqrt(np.diag(moved.scene().frame_uncertainty.covariance)) == pytest.approx([0.0] * 6 + [std])
    level = align_map(given, GravityTarget(), source_hash="0").landmark_map
    assert np.diag(level.scene().frame_uncertainty.covariance) == pytest.approx([1.0] * 6 + [0.01])


def test_a_target_gives_a_map_from_images_alone_a_frame_and_gravity_does_not(room: LandmarkMap, tmp_path: Path) -> None:
    given = replace(room, metric=False, scenes=(replace(room.scene(), frame_is_arbitrary=True),))
    points = room.points[:20].astype(np.float64)
    np.savetxt(tmp_path / "file", np.column_stack([points, points]), fmt="%.9f")
    aligned = align_map(given, PairsTarget(tmp_path / "file"), source_hash="0").landmark_map
    assert (aligned.metric, aligned.scene().frame_is_arbitrary) == (True, False)
    assert align_map(given, GravityTarget(), source_hash="0").landmark_map.scene().frame_is_arbitrary


def test_a_map_that_was_moved_no_longer_lies_at_its_datum(room: LandmarkMap) -> None:
    given = replace(room, provenance={**room.provenance, "datum": {"latitude": 47.4}})
    moved = align_map(given, GravityTarget(), source_hash="0").landmark_map
    assert "datum" not in moved.provenance
    assert "alignments" in moved.provenance


def test_a_datum_moves_along_or_is_dropped_with_the_reason(room: LandmarkMap, tmp_path: Path) -> None:
    datum = Datum(47.4, 8.55, 450.0, 0.3)
    given = replace(room, scenes=(replace(room.scene(), datum=datum),))
    move = Similarity(1.0, TARGET_FROM_ROOM.rotation, TARGET_FROM_ROOM.translation)
    near = transform_map(given, move).scene().datum
    assert near is not None
    place = np.array([10.0, -20.0, 1.0])
    np.testing.assert_allclose(datum.local(*near.geodetic(move.apply(place))), place, atol=1e-3)
    points = room.points[:20].astype(np.float64)
    for shift, kept in ((move.translation, True), (UTM, False)):
        np.savetxt(tmp_path / "file", np.column_stack([points, points + shift]), fmt="%.9f")
        aligned = align_map(given, PairsTarget(tmp_path / "file"), source_hash="0")
        assert (aligned.landmark_map.scene().datum is not None) == kept
        assert bool(aligned.datum_dropped) != kept
