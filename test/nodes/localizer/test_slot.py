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

from vloc_ros.nodes.localizer.slot import LatestSlot


def test_the_latest_item_is_kept_and_the_previous_one_returned() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert slot.put(1) is None
    assert slot.put(2) == 1
    assert slot.take() == 2
    assert slot.put(3) is None


def test_closing_releases_a_waiting_worker() -> None:
    slot: LatestSlot[int] = LatestSlot()
    taken: list[int | None] = []
    waiter = threading.Thread(target=lambda: taken.append(slot.take()))
    waiter.start()
    slot.close()
    waiter.join(10.0)
    assert taken == [None]


def test_waiting_leaves_the_item_there() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert not slot.wait(0.0)
    slot.put(1)
    assert slot.wait(10.0)
    assert slot.take() == 1
    slot.close()
    assert slot.wait(10.0)
