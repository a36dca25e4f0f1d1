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

"""What a training says of itself: epoch, loss, held-out score and time left, in its run's folder and on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from training.framework.configuration import FitConfig
from training.framework.run import make_trainer
from training.framework.run_folder import PROGRESS


class Line(lightning.LightningModule):
    """A loss of 4, then less, and a score that counts epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(2.0))

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        return (self.slope * batch).square().mean()

    def on_train_epoch_end(self) -> None:
        self.log("held_out/top1", float(self.current_epoch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(run_dir: Path, *, epochs: int, checkpoint: Path | None = None) -> list[str]:
    """The lines of the run's log."""
    trainer = make_trainer(run_dir, [], FitConfig(epochs=epochs, accelerator="cpu"))
    trainer.fit(Line(), DataLoader(torch.ones(4, 1), batch_size=2), ckpt_path=checkpoint, weights_only=True)
    return (run_dir / PROGRESS).read_text().splitlines()


def test_every_epoch_has_a_line_with_its_own_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = fit(tmp_path, epochs=3)
    pattern = r"epoch (\d) of 3: loss ([\d.]+), held_out/top1 (\d\.000); (?:about )?\d+ s (left|in all)"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), lines
    assert [match.group(1, 3, 4) for match in found] == [
        ("1", "0.000", "left"),
        ("2", "1.000", "left"),
        ("3", "2.000", "in all"),
    ]
    losses = [float(match.group(2)) for match in found]
    assert 3 < losses[0] < 4
    assert losses == sorted(losses, reverse=True)
    assert capsys.readouterr().err.splitlines() == [lines[0], lines[2]], "in a log, every ten seconds, and the last"


def test_a_resumed_run_goes_on_in_its_log(tmp_path: Path) -> None:
    begun = fit(tmp_path, epochs=1)
    assert [line.split(":")[0] for line in fit(tmp_path, epochs=3, checkpoint=tmp_path / "last.ckpt")] == [
        begun[0].split(":")[0],
        "epoch 2 of 3",
        "epoch 3 of 3",
    ]
    assert len(fit(tmp_path, epochs=1)) == 1, "a new run begins a new one"


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert len(fit(tmp_path, epochs=2)) == 2
    shown = capsys.readouterr().err
    assert "epoch 2 of 2, loss" in shown
    assert "4/4" in shown
