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

"""Phase 1: every view is described by itself; pairs, presets, and a training through the command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cross_view_world import write_dataset
from safetensors.torch import load_file

from training.cross_view import evaluate, train
from training.cross_view.config import PRESETS, CrossViewConfig, HierarchyConfig, read_config
from training.cross_view.layout import read_views
from training.cross_view.network import CrossViewNetwork, FusionEncoder
from training.cross_view.pairs import PairMiner, _draw_turns
from training.cross_view.task import CrossViewTask, Side
from training.framework.run_folder import BEST
from training.place_recognition.encoders import InitialWeights
from training.place_recognition.geolocalization.images import ImageStore
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array

SMALL = ("network.height=64", "network.width=64", "network.dimension=32")
GEM = (*SMALL, "disc=false", "network.aggregation=gem")
FUSED = ("encoder=fusion", "fusion.side=64", "fusion.width=16", "fusion.heads=2", "fusion.dimension=24")


@pytest.mark.parametrize("settings", [SMALL, GEM, FUSED])
def test_a_descriptor_is_bit_equal_whatever_else_is_in_the_batch(settings: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    config = read_config("small", CrossViewConfig, settings)
    network = CrossViewNetwork(config, pretrained=True, teachers={"clip": 8}).eval()
    images, others = torch.rand(2, 4, 3, 64, 64)
    others[1] = images[1]
    with torch.no_grad():
        assert torch.equal(network(images)[1], network(others)[1])
    assert not torch.equal(images[0], others[0])


def test_beyond_the_disc_nothing_counts() -> None:
    network = CrossViewNetwork(read_config("small", CrossViewConfig, SMALL), pretrained=True, teachers={}).eval()
    images = torch.rand(1, 3, 64, 64).repeat(3, 1, 1, 1)
    images[1, :, :9, :9] += 1.0  # a corner
    images[2, :, 28:37, :9] += 1.0  # an edge
    with torch.no_grad():
        corner, edge = (network(images) - network(images)[0]).abs().amax(dim=1)[1:]
    assert corner == 0.0
    assert edge > 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_file(name: str) -> None:
    assert read_config(name, CrossViewConfig).fit.epochs > 1
    assert read_config("hierarchy", HierarchyConfig).voters == 5


def test_an_unknown_parameter_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("fit: {epoch: 3}")
    with pytest.raises(ConfigError, match="epoch"):
        read_config(path, CrossViewConfig)


def test_the_fused_stages_have_the_configured_length() -> None:
    config = read_config("small", CrossViewConfig, FUSED)
    encoder = FusionEncoder(config.fusion).eval()
    with torch.no_grad():
        found = encoder(torch.rand(1, 3, 64, 64))
    assert found.shape == (1, 24)
    assert found.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert encoder.extract_local(torch.rand(1, 3, 64, 64)).shape == (1, 64 + 16 + 4, 16)


def test_negatives_that_look_alike_are_batched_together(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    queries, gallery = (read_views(tmp_path, "train", view, is_query=True) for view in ("drone", "satellite"))
    miner = PairMiner(queries, gallery, min_overlap=0.2)
    fit = read_config("small", CrossViewConfig, ("fit.hard=3", "fit.pairs=3", "fit.regions=0")).fit

    def describe(which: Array) -> Array:  # places 0 to 2 look alike, and 3 to 5
        return np.eye(6)[which // 3 * 3]

    keys = miner.list_batches(0, fit, 6, describe)
    for key in keys:
        assert len({view // 3 for view in key.gallery}) == 1
        assert len(set(key.gallery)) == 3
        assert [query // 3 for query in key.queries] == list(key.gallery)
    assert keys == miner.list_batches(0, fit, 6, describe)


def test_a_batch_is_of_few_regions(tmp_path: Path) -> None:
    write_dataset(tmp_path, places=10, drones=6, positions=True)
    queries, gallery = (read_views(tmp_path, "train", view, is_query=True) for view in ("drone", "satellite"))
    fit = read_config("small", CrossViewConfig, ("fit.regions=2", "fit.pairs=8")).fit
    keys = PairMiner(queries, gallery, min_overlap=0.5).list_batches(0, fit, 7, lambda _: pytest.fail("described"))
    assert all(len(set(gallery.regions[list(key.gallery)])) <= 2 for key in keys)
    assert len({query for key in keys for query in key.queries}) > 50


def test_queries_are_turned_north_and_pairs_together() -> None:
    headings_deg, rng = np.array([10.0, 200.0, -90.0, 0.0] * 20), np.random.default_rng(0)
    config = read_config("small", CrossViewConfig, ("heading_deg=5", "turned=false"))
    ours, theirs = _draw_turns(headings_deg, config, rng)
    off = ours + headings_deg - theirs
    assert abs(off).max() <= 5.0
    assert off.std() > 1.0
    assert sorted(set(theirs)) == [0.0, 90.0, 180.0, 270.0]
    unturned = _draw_turns(headings_deg, read_config("small", CrossViewConfig, ("heading_deg=0", "turned=false")), rng)
    assert not np.any(unturned)


@pytest.mark.parametrize(("setting", "what"), [("heading_deg=10", "heading"), ("fit.regions=2", "region")])
def test_what_a_data_set_does_not_say_is_refused(tmp_path: Path, setting: str, what: str) -> None:
    write_dataset(tmp_path)
    images = [read_views(tmp_path, "train", view, is_query=True) for view in ("drone", "satellite")]
    sides = [Side(one, ImageStore(one.paths, (64, 64))) for one in images]
    config = read_config("small", CrossViewConfig, ("heading_deg=0", "fit.regions=0", *SMALL, setting))
    with pytest.raises(InputError, match=what):
        CrossViewTask((sides[0], sides[1]), None, config, initial=InitialWeights(False, None))


@pytest.mark.slow
def test_the_preset_small_trains_resumes_and_is_evaluated_at_several_headings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / "data", positions=True, headings=True)
    settings = [*SMALL, "loss.min_overlap=0.3", "fit.epochs=2", "fit.pairs=4", "fit.scored_every=1", "fit.held_out=0.3"]

    def run(command: Any, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        return command.main()

    options = ["--weights", "none", *(word for one in settings for word in ("--set", one))]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert run(train, data, "--out", whole, *options) == 0
    with monkeypatch.context() as patch:
        patch.setattr(CrossViewTask, "list_batches", _end_after(CrossViewTask.list_batches, epochs=1))
        assert run(train, data, "--out", halves, *options) == 1
    assert run(train, data, "--out", halves, *options, "--resume") == 0
    weights = [load_file(folder.with_name(f"{folder.name}.run") / BEST) for folder in (whole, halves)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert run(evaluate, data, "--index", whole, "--headings", 4, "--out", tmp_path / "scores") == 0
    assert run(evaluate, data, "--index", whole, "--heading-std", 5, "--out", tmp_path / "compass") == 0
    found = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert found["headings"] == 4
    assert found["indices"][0]["drone->satellite"]["queries"] == 18


def _end_after(list_batches: Callable[..., Any], *, epochs: int) -> Callable[..., Any]:
    def end(task: CrossViewTask, epoch: int, network: CrossViewNetwork) -> Any:
        if epoch >= epochs:
            raise InputError("ended before its end")
        return list_batches(task, epoch, network)

    return end
