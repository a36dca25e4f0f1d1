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

import time

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from toy_task import Points, ToyTask, configure

from training.framework.batches import EpochOrder, make_data_loader


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


class StuckTask(ToyTask):
    """Its batches come late."""

    def load_batch(self, key: tuple[int, int]) -> Points:
        time.sleep(1.0)
        return super().load_batch(key)


def test_a_process_that_loads_no_batch_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.framework.batches._LONGEST_WAIT_S", 0.2)
    task = StuckTask(configure("fit.workers=1"))
    with pytest.raises(RuntimeError, match="timed out after"):
        next(iter(make_data_loader(task, EpochOrder(task, task.build_network()))))
