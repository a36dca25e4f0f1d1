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

"""The order of an epoch's batches, and how several processes share them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from toy_task import ToyTask

from training.framework.batches import EpochOrder


@pytest.mark.parametrize(("processes", "steps"), [(1, 6), (2, 3), (4, 1), (7, 1)])
def test_processes_take_equally_many_different_batches(processes: int, steps: int) -> None:
    task = ToyTask()
    network = task.build_network()
    parts = [EpochOrder(task, network, rank=rank, processes=processes) for rank in range(processes)]
    for part in parts:
        part.set_epoch(3)
    keys = [list(part) for part in parts]
    assert {len(part) for part in parts} == {len(of_one) for of_one in keys} == {steps}
    everything = [key for of_one in keys for key in of_one]
    assert {epoch for epoch, _ in everything} == {3}
    assert len(set(everything)) == min(len(everything), 6)
