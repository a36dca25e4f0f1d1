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

"""A third task trains, resumes exactly and is exported by the framework alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_task import Interruption, Points, ToyTask, configure, draw_points, flatten_weights

from training.framework.export import ParityCheck, Signature, check_parity, convert_to_onnx, export_network
from training.framework.finite import NotFiniteError, name_batch_file
from training.framework.provenance import training_metadata
from training.framework.run import make_trainer, train
from training.framework.run_folder import BEST, INFO, LAST, LOG
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import read_model
from vloc_ros.model_export.onnx_files import ExportError

SIGNATURE = Signature({"xy": torch.zeros(2, 2)}, ("logits",), {"input": {0: torch.export.Dim("points", max=1 << 10)}})
PARITY = ParityCheck([{"xy": draw_points(7, count=count).xy.numpy()} for count in (1, 9)], 1e-5)


def test_a_new_task_is_trained_and_exported(tmp_path: Path) -> None:
    task = ToyTask(configure("fit.epochs=8"))
    trained = train(task, tmp_path / "run", sources={"points": "drawn"})
    assert trained.held_out["accuracy"] > 0.85
    training = training_metadata(task.config, trained.held_out, {"points": "drawn"})
    network, out = trained.network, tmp_path / "model"
    export_network(network, out, SIGNATURE, PARITY, kind="toy", training=training, entries={"curve": "y = x²"})
    model, xy = read_model(out, kind="toy"), draw_points(3).xy
    found = OnnxRuntime(model, threads=1).run({"xy": xy.numpy()})["logits"]
    assert np.abs(found - network(xy).detach().numpy()).max() < 1e-5
    assert model.entry("training", "config", "fit", "epochs") == 8
    assert model.entry("training", "metrics", "held_out") == dict(trained.held_out)
    assert model.entry("training", "seed") == 0
    assert model.entry("curve") == "y = x²"


def test_an_export_of_other_weights_is_refused() -> None:
    task = ToyTask()
    onnx_bytes = convert_to_onnx(task.build_network().eval(), SIGNATURE)
    with pytest.raises(ExportError, match="logits differs"):
        check_parity(task.build_network().eval(), onnx_bytes, SIGNATURE, PARITY)


@pytest.mark.parametrize("kept", ["last", "best"])
def test_a_resumed_training_is_bit_equal_whatever_the_number_of_workers(tmp_path: Path, kept: str) -> None:
    whole = train(ToyTask(configure(f"fit.kept={kept}")), tmp_path / "whole")
    of_workers = ToyTask(configure(f"fit.kept={kept}", "fit.workers=2"))
    cut = train(of_workers, tmp_path / "parts", callbacks=[Interruption()])
    torch.manual_seed(5)
    resumed = train(of_workers, tmp_path / "parts", resume=True)
    assert not np.array_equal(flatten_weights(cut.network), flatten_weights(whole.network))
    assert np.array_equal(flatten_weights(resumed.network), flatten_weights(whole.network))
    assert resumed.held_out == whole.held_out
    again = train(of_workers, tmp_path / "parts", resume=True)
    assert np.array_equal(flatten_weights(again.network), flatten_weights(whole.network))


def test_several_processes_may_leave_weights_out_of_a_step(tmp_path: Path) -> None:
    strategy = make_trainer(tmp_path, [], configure("fit.devices=2").fit).strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy._ddp_kwargs["find_unused_parameters"]
    assert not isinstance(make_trainer(tmp_path, [], configure().fit).strategy, DDPStrategy)


class MiningTask(ToyTask):
    """Its batches depend on the network, as hard negatives do."""

    def list_batches(self, epoch: int, network: nn.Sequential) -> Sequence[tuple[int, int]]:
        first = int(1e6 * float(network[0].weight.detach().abs().sum())) % 1000
        return [(epoch, first + number) for number in range(self.batches_per_epoch)]


def test_batches_mined_by_the_network_are_resumed_exactly(tmp_path: Path) -> None:
    task = MiningTask(configure("fit.kept=last"))
    whole = train(task, tmp_path / "whole")
    train(task, tmp_path / "parts", callbacks=[Interruption()])
    resumed = train(task, tmp_path / "parts", resume=True)
    assert np.array_equal(flatten_weights(resumed.network), flatten_weights(whole.network))


class OrderRecorder(Callback):
    """Records the keys of every epoch."""

    def __init__(self) -> None:
        self.seen: list[list[Any]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.seen.append([])

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
        self.seen[-1].append(batch.key)


def test_every_epoch_has_batches_of_its_own(tmp_path: Path) -> None:
    orders = OrderRecorder()
    train(ToyTask(configure("fit.workers=2")), tmp_path, callbacks=[orders])
    assert [{epoch for epoch, _ in order} for order in orders.seen] == [{0}, {1}, {2}, {3}]
    assert len({tuple(number for _, number in order) for order in orders.seen}) > 1


class LossRecorder(Callback):
    """Records the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(outputs["loss"].item())


def test_every_tenth_loss_is_in_the_log(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recorder = LossRecorder()
    train(ToyTask(), tmp_path, callbacks=[recorder])
    log = events.EventAccumulator(str(tmp_path / LOG))
    log.Reload()
    written = {scalar.step: scalar.value for scalar in log.Scalars("loss")}
    assert written == pytest.approx({9: recorder.losses[9], 19: recorder.losses[19]})
    parts = {tag for tag in log.Tags()["scalars"] if tag.startswith("loss/")}
    assert sum(log.Scalars(tag)[0].value for tag in parts) == pytest.approx(recorder.losses[9])


class ScriptedTask(ToyTask):
    """Scores of given epochs; a validation is at the end of an epoch, the last one of the weights that are kept."""

    def __init__(self, scores: Sequence[float], *more: str) -> None:
        super().__init__(configure("fit.epochs=6", *more))
        self._scores, self.weights = iter([*scores, scores[-1]]), [np.zeros(0)]

    def validate(self, network: nn.Sequential) -> dict[str, float]:
        self.weights.append(flatten_weights(network))
        return {"accuracy": next(self._scores)}


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    task = ScriptedTask([0.1, 0.5, 0.5, 0.4], "fit.patience=2")
    trained = train(task, tmp_path)
    assert len(task.weights) == 1 + 4 + 1
    assert np.array_equal(flatten_weights(trained.network), task.weights[3]), "the later of two equal scores"
    assert not np.array_equal(task.weights[3], task.weights[4])
    assert set(load_file(tmp_path / BEST)) == set(trained.network.state_dict())
    later = ScriptedTask([0.9], "fit.patience=2")
    again = train(later, tmp_path, resume=True)
    assert len(later.weights) == 1 + 1, "a run that has stopped is not trained further"
    assert np.array_equal(flatten_weights(again.network), task.weights[3])


def test_patience_outlasts_an_interruption(tmp_path: Path) -> None:
    train(ScriptedTask([0.5, 0.4], "fit.patience=2"), tmp_path, callbacks=[Interruption()])
    rest = ScriptedTask([0.3, 0.9], "fit.patience=2")
    train(rest, tmp_path, resume=True)
    assert len(rest.weights) == 1 + 1 + 1


def test_validations_may_be_rare_and_without_samples(tmp_path: Path) -> None:
    task = ScriptedTask([float("nan")] * 4, "fit.scored_every=4")
    trained = train(task, tmp_path)
    assert len(task.weights) == 1 + 2 + 1, "after the fourth and the last epoch"
    assert not (tmp_path / BEST).exists()
    assert np.array_equal(flatten_weights(trained.network), task.weights[2]), "the last one, where none is best"


def test_an_unknown_score_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'recall', expected one of accuracy"):
        train(ToyTask(configure("fit.monitored=recall")), tmp_path)


class BrokenTask(ToyTask):
    """One batch leads to a loss, or a gradient, that is not finite."""

    def __init__(self, *, loss: bool) -> None:
        super().__init__()
        self._loss = loss

    def loss(self, network: nn.Sequential, batch: Points, generator: torch.Generator) -> Mapping[str, Tensor]:
        losses = dict(super().loss(network, batch, generator))
        if torch.equal(batch.xy, draw_points(0, 1, 2).xy):
            # the root of 0 is finite, its slope is not
            losses["size"] = losses["size"] / 0 if self._loss else (losses["size"] * 0).sqrt()
        return losses


@pytest.mark.parametrize("loss", [True, False])
def test_training_stops_where_a_number_is_not_finite_and_writes_the_batch(tmp_path: Path, loss: bool) -> None:
    with pytest.raises(NotFiniteError, match=r"\(1, 2\)"):
        train(BrokenTask(loss=loss), tmp_path)
    written = name_batch_file(tmp_path, 0)
    assert torch.equal(load_file(written)["batch.xy"], draw_points(0, 1, 2).xy)
    with safe_open(written, framework="pt") as file:
        assert json.loads(file.metadata()["key"]) == [1, 2]
        assert ("size inf" if loss else "the gradient") in file.metadata()["reason"]
    last = torch.load(tmp_path / LAST, weights_only=True)
    assert last["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())
    train(ToyTask(configure("fit.epochs=1")), tmp_path)
    assert not written.exists(), "of an earlier run"


class TaughtTask(ToyTask):
    """Follows another network."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__(configure("fit.epochs=1"))
        self.teacher = teacher

    def frozen_networks(self) -> Sequence[nn.Module]:
        return (self.teacher,)

    def loss(self, network: nn.Sequential, batch: Points, generator: torch.Generator) -> Mapping[str, Tensor]:
        assert not self.teacher.training
        return {"distillation": (network(batch.xy) - self.teacher(batch.xy)).square().mean()}


def test_a_teacher_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    teacher = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.9))
    before = flatten_weights(teacher)
    trained = train(TaughtTask(teacher), tmp_path)
    assert np.array_equal(flatten_weights(teacher), before)
    saved = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    assert len(saved) == len(trained.network.state_dict())


def test_a_run_has_its_configuration_a_log_and_the_cost_of_its_network(tmp_path: Path) -> None:
    train(ToyTask(configure("fit.epochs=1", "width=8")), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["fit"]["epochs"] == 1
    assert list(tmp_path.glob("log/events.*"))
    lines = dict(line.split(": ") for line in (tmp_path / INFO).read_text().splitlines())
    assert lines["parameters"].startswith(f"{2 * 8 + 8 + 8 + 8 + 8 + 1} ")
    assert lines["multiply-accumulates"].startswith(f"{2 * 8 + 8} ")
    assert (lines["inputs"], lines["outputs"], lines["seed"]) == ("1x2", "1x1", "0")


def test_resuming_needs_the_same_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        train(ToyTask(), tmp_path / "none", resume=True)
    train(ToyTask(configure("fit.epochs=1")), tmp_path / "run")
    with pytest.raises(InputError, match="differs from the given configuration"):
        train(ToyTask(configure("fit.epochs=2")), tmp_path / "run", resume=True)
