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

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vloc_ros.nodes.localizer.slot import ImageSet, ImageSynchronizer

MS = 1_000_000
FRONT, REAR, LEFT = range(3)


class Cameras:
    """Adds images named after their camera and stamp, in milliseconds."""

    def __init__(self, cameras: int = 2, *, window_ms: int = 20, wait_ms: int = 50) -> None:
        self.synchronizer: ImageSynchronizer[str] = ImageSynchronizer(
            cameras, window_ns=window_ms * MS, wait_ns=wait_ms * MS
        )

    def put(self, camera: int, stamp_ms: float, arrival_ms: float) -> list[list[str]]:
        stamp_ns, name = int(stamp_ms * MS), f"{camera}@{stamp_ms:.10g}"
        if self.synchronizer.is_late(camera, stamp_ns):
            return [["late", name]]
        return _names_of(self.synchronizer.put(camera, name, stamp_ns=stamp_ns, arrival_ns=int(arrival_ms * MS)))

    def pop_due(self, now_ms: float) -> list[list[str]]:
        return _names_of(self.synchronizer.pop_due(int(now_ms * MS)))


def _names_of(sets: list[ImageSet[str]]) -> list[list[str]]:
    return [[one.items[camera] for camera in sorted(one.items)] for one in sets]


def test_a_set_is_ready_when_the_last_camera_has_delivered() -> None:
    cameras = Cameras(3)
    assert cameras.put(LEFT, 0, 1) == cameras.put(FRONT, 5, 6) == []
    assert cameras.put(REAR, 19, 20) == [["0@5", "1@19", "2@0"]]
    assert cameras.synchronizer.deadline_ns is None


def test_of_one_camera_every_image_is_ready_at_once() -> None:
    cameras = Cameras(1)
    stamps = [33, 0, 0, 66, 66, 33]
    assert [cameras.put(FRONT, stamp, k) for k, stamp in enumerate(stamps)] == [[[f"0@{stamp}"]] for stamp in stamps]


def test_images_outside_the_window_are_not_synchronized() -> None:
    cameras = Cameras(3)
    assert cameras.put(FRONT, 0, 0) == cameras.put(REAR, 15, 1) == cameras.put(LEFT, 25, 2) == []
    assert cameras.pop_due(60) == [["0@0", "1@15"], ["2@25"]]


def test_an_image_goes_to_the_set_nearest_in_time() -> None:
    cameras = Cameras(wait_ms=100)
    cameras.put(FRONT, 0, 0)
    cameras.put(FRONT, 30, 30)
    assert cameras.put(REAR, 16, 31) == [["0@0"], ["0@30", "1@16"]]


def test_a_silent_camera_is_waited_for_and_no_longer() -> None:
    cameras = Cameras()
    assert cameras.put(FRONT, 1000, 7) == []
    assert cameras.synchronizer.deadline_ns == 57 * MS
    assert cameras.pop_due(56) == []
    assert cameras.pop_due(57) == [["0@1000"]]
    assert cameras.synchronizer.deadline_ns is None


def test_an_overdue_set_that_was_not_taken_still_takes_its_images() -> None:
    cameras = Cameras()
    assert cameras.put(FRONT, 0, 0) == []
    assert cameras.put(REAR, 0, 70) == [["0@0", "1@0"]]


def test_an_overdue_set_is_handed_over_with_all_its_images() -> None:
    cameras = Cameras(3)
    assert cameras.put(FRONT, 0, 0) == []
    assert cameras.put(REAR, 0, 70) == [["0@0", "1@0"]]
    assert cameras.put(LEFT, 0, 71) == [["late", "2@0"]]


def test_a_slower_camera_is_in_the_sets_of_its_time() -> None:
    cameras, sets = Cameras(wait_ms=20), []
    for tick in range(30):  # 30 Hz, the other one 10 Hz
        stamp_ms = tick * 100 / 3
        sets += cameras.pop_due(stamp_ms)
        sets += cameras.put(FRONT, stamp_ms, stamp_ms)
        sets += cameras.put(REAR, stamp_ms, stamp_ms + 5) if tick % 3 == 0 else []
    sets += cameras.pop_due(2000)
    assert [len(one) for one in sets] == [2, 1, 1] * 10


def test_images_out_of_order_find_their_sets() -> None:
    cameras = Cameras()
    assert cameras.put(FRONT, 33, 40) == cameras.put(FRONT, 0, 41) == []
    assert cameras.put(REAR, 0, 42) == [["0@0", "1@0"]]
    assert cameras.put(REAR, 33, 43) == [["0@33", "1@33"]]


def test_an_older_set_is_handed_over_before_a_complete_one() -> None:
    cameras = Cameras()
    cameras.put(FRONT, 0, 0)
    cameras.put(FRONT, 33, 33)
    assert cameras.put(REAR, 33, 34) == [["0@0"], ["0@33", "1@33"]]
    assert cameras.put(REAR, 0, 35) == [["late", "1@0"]]


def test_an_image_after_its_set_is_late_but_a_second_one_of_a_camera_is_not() -> None:
    cameras = Cameras()
    cameras.put(FRONT, 0, 0)
    assert cameras.pop_due(50) == [["0@0"]]
    assert cameras.put(REAR, 10, 51) == [["late", "1@10"]]
    assert cameras.put(FRONT, 0, 52) == []
    assert cameras.put(REAR, 10, 53) == [["0@0", "1@10"]]


def test_doubled_stamps_make_sets_of_their_own() -> None:
    cameras = Cameras()
    assert cameras.put(FRONT, 0, 0) == cameras.put(FRONT, 0, 1) == []
    assert cameras.put(REAR, 0, 2) == [["0@0", "1@0"]]
    assert cameras.put(REAR, 0, 3) == [["0@0", "1@0"]]


def test_clocks_that_jump_back_and_forth_delay_no_image() -> None:
    cameras = Cameras()
    hour = 3_600_000
    assert cameras.put(FRONT, hour, 0) == []
    assert cameras.put(FRONT, 0, 10) == []
    assert cameras.put(REAR, 0, 11) == [["0@0", "1@0"]]
    assert cameras.put(REAR, hour, 12) == [[f"0@{hour}", f"1@{hour}"]]
    assert cameras.put(FRONT, 33, 13) == []
    assert cameras.put(FRONT, 2 * hour, 20) == []
    assert cameras.put(REAR, 2 * hour, 21) == [["0@33"], [f"0@{2 * hour}", f"1@{2 * hour}"]]


def test_sets_of_invalid_stamps_do_not_accumulate() -> None:
    cameras = Cameras()
    ready = [one for k in range(1000) for one in cameras.put(FRONT, 100 * k, 0)]
    assert len(ready) == 1000 - 8
    assert len(cameras.pop_due(50)) == 8


@pytest.mark.parametrize("seed", range(20))
def test_every_image_is_in_one_set_or_late(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window_ms = int(rng.integers(0, 40))
    cameras, put, ready = Cameras(3, window_ms=window_ms), [], []
    arrival_ms = 0.0
    for _ in range(500):
        arrival_ms += rng.exponential(5.0)
        camera, stamp_ms = int(rng.integers(3)), round(arrival_ms - rng.exponential(40.0)) + 3600 * int(rng.integers(2))
        put.append(f"{camera}@{stamp_ms}")
        ready += cameras.put(camera, stamp_ms, arrival_ms)
        assert len(cameras.synchronizer._open) <= 8
    ready += cameras.pop_due(1e9)
    assert sorted(name for one in ready for name in one if name != "late") == sorted(put)
    sets = [names for names in ready if names[0] != "late"]
    assert all(_span_ms(names) <= window_ms for names in sets)
    for one, other in combinations(sets, 2):  # none that could have been one
        cameras_of_both = [name.partition("@")[0] for name in one + other]
        assert len(set(cameras_of_both)) < len(cameras_of_both) or _span_ms(one + other) > window_ms


def _span_ms(names: list[str]) -> int:
    stamps_ms = [int(name.partition("@")[2]) for name in names]
    return max(stamps_ms) - min(stamps_ms)
