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

import threading

import pytest

from vloc_ros.nodes.localizer.slot import ImageSynchronizer, LatestImageSet

MS = 1_000_000
FOR_EVER_NS = 3600 * 10**9


class Recorder:
    """The latest image set of two cameras, and the images that it dropped."""

    def __init__(self, *, wait_ns: int = FOR_EVER_NS) -> None:
        self.dropped: list[tuple[list[str], str]] = []
        synchronizer: ImageSynchronizer[str] = ImageSynchronizer(2, window_ns=20 * MS, wait_ns=wait_ns)
        self.latest = LatestImageSet(
            synchronizer, on_dropped=lambda items, reason: self.dropped.append((items, reason))
        )

    def put(self, camera: int, item: str, stamp_ms: int) -> None:
        self.latest.put(camera, item, stamp_ns=stamp_ms * MS)


def test_the_latest_set_is_kept_and_the_previous_one_is_reported() -> None:
    recorder = Recorder()
    for stamp_ms in (0, 100):
        recorder.put(1, f"rear {stamp_ms}", stamp_ms)
        recorder.put(0, f"front {stamp_ms}", stamp_ms)
    assert recorder.latest.take() == ["front 100", "rear 100"]
    ((items, reason),) = recorder.dropped
    assert items == ["front 0", "rear 0"]
    assert "newer" in reason


def test_a_late_image_is_reported_with_the_remedy() -> None:
    recorder = Recorder(wait_ns=0)
    recorder.put(0, "front", 0)
    assert recorder.latest.take() == ["front"]
    recorder.put(1, "rear", 0)
    ((items, reason),) = recorder.dropped
    assert items == ["rear"]
    assert "rig_wait_s" in reason


def test_an_image_set_is_not_split_while_the_worker_is_busy() -> None:
    recorder = Recorder(wait_ns=0)
    recorder.put(0, "front", 0)
    recorder.put(1, "rear", 0)
    assert recorder.latest.take() == ["front", "rear"]
    assert not recorder.dropped


@pytest.mark.parametrize("begun_before", [True, False])
def test_the_worker_wakes_when_a_set_has_waited_long_enough(begun_before: bool) -> None:
    recorder, taken = Recorder(wait_ns=50 * MS), []
    worker = threading.Thread(target=lambda: taken.append(recorder.latest.take()))
    if begun_before:
        recorder.put(0, "front", 0)
    worker.start()
    if not begun_before:
        recorder.put(0, "front", 0)
    worker.join(10.0)
    assert taken == [["front"]]


def test_only_the_latest_set_is_kept_for_a_busy_worker() -> None:
    recorder = Recorder(wait_ns=0)
    recorder.put(0, "first", 0)
    recorder.put(0, "second", 100)
    assert recorder.latest.take() == ["second"]
    assert [items for items, _ in recorder.dropped] == [["first"]]


def test_polling_leaves_reports_to_the_caller_who_may_hold_the_lock() -> None:
    recorder = Recorder(wait_ns=0)
    recorder.put(0, "first", 0)
    recorder.put(0, "second", 100)
    taken, displaced = recorder.latest.poll()
    assert (taken, displaced, recorder.dropped) == (["second"], [["first"]], [])
    recorder.latest.report_displaced(displaced)
    assert [items for items, _ in recorder.dropped] == [["first"]]


def test_closing_frees_the_worker() -> None:
    recorder, taken = Recorder(), []
    worker = threading.Thread(target=lambda: taken.append(recorder.latest.take()))
    worker.start()
    recorder.put(0, "front", 0)
    recorder.latest.close()
    worker.join(10.0)
    assert taken == [None]
