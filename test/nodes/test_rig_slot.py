from __future__ import annotations

import threading

import pytest

from vloc_ros.nodes.image_synchronizer import ImageSynchronizer
from vloc_ros.nodes.latest_image_set import LatestImageSet

MS = 1_000_000
FOR_EVER_NS = 3600 * 10**9


class Slot:
    """A slot of two cameras and what it dropped."""

    def __init__(self, *, wait_ns: int = FOR_EVER_NS) -> None:
        self.dropped: list[tuple[list[str], str]] = []
        gathering: ImageSynchronizer[str] = ImageSynchronizer(2, window_ns=20 * MS, wait_ns=wait_ns)
        self.slot = LatestImageSet(gathering, on_dropped=lambda items, reason: self.dropped.append((items, reason)))

    def put(self, camera: int, item: str, stamp_ms: int) -> None:
        self.slot.put(camera, item, stamp_ns=stamp_ms * MS)


def test_the_newest_set_wins_and_the_displaced_one_is_named() -> None:
    both = Slot()
    for stamp_ms in (0, 100):
        both.put(1, f"rear {stamp_ms}", stamp_ms)
        both.put(0, f"front {stamp_ms}", stamp_ms)
    assert both.slot.take() == ["front 100", "rear 100"]
    ((items, reason),) = both.dropped
    assert items == ["front 0", "rear 0"]
    assert "newer" in reason


def test_an_image_that_comes_too_late_is_named_with_the_remedy() -> None:
    both = Slot(wait_ns=0)
    both.put(0, "front", 0)
    assert both.slot.take() == ["front"]
    both.put(1, "rear", 0)
    ((items, reason),) = both.dropped
    assert items == ["rear"]
    assert "rig_wait_s" in reason


def test_a_moment_is_not_split_while_the_worker_is_busy() -> None:
    both = Slot(wait_ns=0)
    both.put(0, "front", 0)
    both.put(1, "rear", 0)
    assert both.slot.take() == ["front", "rear"]
    assert not both.dropped


@pytest.mark.parametrize("begun_before", [True, False])
def test_the_worker_wakes_when_a_set_has_waited_long_enough(begun_before: bool) -> None:
    both, taken = Slot(wait_ns=50 * MS), []
    worker = threading.Thread(target=lambda: taken.append(both.slot.take()))
    if begun_before:
        both.put(0, "front", 0)
    worker.start()
    if not begun_before:
        both.put(0, "front", 0)
    worker.join(10.0)
    assert taken == [["front"]]


def test_of_sets_that_waited_for_a_busy_worker_the_newest_wins() -> None:
    both = Slot(wait_ns=0)
    both.put(0, "first", 0)
    both.put(0, "second", 100)
    assert both.slot.take() == ["second"]
    assert [items for items, _ in both.dropped] == [["first"]]


def test_closing_frees_the_worker() -> None:
    both, taken = Slot(), []
    worker = threading.Thread(target=lambda: taken.append(both.slot.take()))
    worker.start()
    both.put(0, "front", 0)
    both.slot.close()
    worker.join(10.0)
    assert taken == [None]
