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

"""Walks stay in free space, are smooth, and pass the same places by different paths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.simulation.trajectories import CLEARANCE_M, drive, walk
from vloc_ros.simulation.world import make_world

KINDS = ("room", "corridor", "yard", "apartment")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_walk_stays_in_free_space_at_head_height(kind: str, seed: int) -> None:
    world = make_world(kind, seed)
    positions = np.array([pose.translation for pose in walk(world, 300, seed)])
    assert world.is_free(positions[:, :2], margin_m=CLEARANCE_M - 0.1).all()
    assert positions[:, 2].min() > 1.1
    assert positions[:, 2].max() < 1.7


def test_a_walk_is_smooth_and_looks_about_level() -> None:
    poses = walk(make_world("apartment", 1), 600, 3)
    steps = [a.distance_to(b) for a, b in pairwise(poses)]
    assert max(s[0] for s in steps) < 2.0 * np.median([s[0] for s in steps])
    assert max(s[1] for s in steps) < np.radians(25)
    down = np.array([pose.rotation[2] for pose in poses])  # z of the camera's axes in the map
    assert (down[:, 1] < -0.9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_seeds_pass_the_same_places_by_different_paths(kind: str) -> None:
    world = make_world(kind, 1)
    first, second = (np.array([p.translation[:2] for p in walk(world, 300, seed)]) for seed in (0, 1))
    nearest = np.linalg.norm(second[:, None] - first[None], axis=2).min(axis=1)
    assert nearest.max() < 1.5
    assert np.percentile(nearest, 90) > 0.05
    again = np.array([p.translation[:2] for p in walk(world, 300, 0)])
    assert np.array_equal(first, again)


def test_a_drive_keeps_its_base_on_the_floor_and_its_camera_in_place() -> None:
    lap = drive(make_world("room", 1), 50, 0, rate_hz=5.0, camera_height_m=0.6)
    assert (np.diff(lap.stamps_ns) == 200_000_000).all()
    assert all(p.translation[2] == 0 and abs(p.rotation[2, 2] - 1) < 1e-9 for p in lap.map_from_base)
    assert np.allclose([p.translation[2] for p in lap.map_from_camera], 0.6)
    assert all(p.rotation[2, 2] > 0 for p in lap.map_from_camera)  # the optical axis points slightly up


def test_one_frame_is_no_walk() -> None:
    with pytest.raises(InputError, match="1 frames"):
        walk(make_world("room", 1), 1, 0)
