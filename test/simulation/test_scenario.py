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

"""A scenario in one call: lazily rendered laps with ground truth."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.simulation.lighting import NIGHT
from vloc_ros.simulation.scenario import make_aliased_lap, make_scenario

CAMERA = Camera("PINHOLE", 160, 120, (130.0, 130.0, 80.0, 60.0))


def test_two_laps_of_one_world_by_different_paths_and_at_different_times() -> None:
    scenario = make_scenario("room", 2, map_frames=6, query_frames=4, camera=CAMERA, query_lighting=NIGHT)
    first, second = scenario.map_lap, scenario.query_lap
    assert (len(first), len(second)) == (6, 4)
    assert first.world is second.world
    assert first.stamps_ns[-1] < second.stamps_ns[0]
    assert first.image(0).shape == (120, 160, 3)
    assert np.array_equal(first.image(3), first.image(3))
    assert second.image(0).mean() < first.image(0).mean()
    assert not np.allclose(first.map_from_camera[0].matrix, second.map_from_camera[0].matrix)
    assert [first.name(i) for i in range(6)] == sorted(first.name(i) for i in range(6))


def test_an_aliased_lap_is_of_another_world() -> None:
    world = make_scenario("room", 2, map_frames=2, query_frames=2, camera=CAMERA).map_lap.world
    lap = make_aliased_lap(world, 3, 1, camera=CAMERA)
    assert lap.world is not world
    assert lap.world.rectangles != world.rectangles
    assert lap.image(0).mean() > 30
