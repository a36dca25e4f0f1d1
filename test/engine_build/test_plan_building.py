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

"""Engines are really built, by TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from small_networks import network_inputs, write_network

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.engine_build.build import EngineRequest, build_engine, plan_engine
from vloc_ros.engine_build.plan_builder import build_plan
from vloc_ros.inference.engine_cache import PLAN, find_builder, find_engine, list_engines
from vloc_ros.inference.models import Model, read_any_model
from vloc_ros.inference.tensorrt_api import TENSORRT, TENSORRT_RTX
from vloc_ros.inference.tensorrt_engine import TensorRtEngine

pytestmark = pytest.mark.usefixtures("tensorrt_rtx")
SIZES = {"image": [(32, 32), (64, 96), (64, 96)]}
REQUEST = EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes=SIZES, time_limit_s=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return read_any_model(folder)


def command(folder: Path, cache: Path) -> list[Any]:
    words = ["model", "build", folder, "--engine", "tensorrt_rtx", "--target", "sm86", "--out", cache]
    return [sys.executable, "-m", "vloc_ros.cli.main", *words, "--shapes", "image=32x32,64x96,64x96"]


def test_two_processes_build_once_and_a_third_waits(folder: Path, model: Model, tmp_path: Path) -> None:
    running = [subprocess.Popen(command(folder, tmp_path), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digest = str(model.entry("hash"))
    while find_builder(tmp_path, digest, TENSORRT_RTX, "fp32") is None and not list_engines(tmp_path):
        assert all(process.poll() is None for process in running)
    waited_for = find_engine(tmp_path, digest, flavour=TENSORRT_RTX, precision="fp32", wait_s=120)
    said = sorted(process.communicate(timeout=120)[0] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert ["found in the cache" in one for one in said].count(True) == 1
    (built,) = list_engines(tmp_path)
    assert built.read_plan() == waited_for.read_plan()


def test_a_killed_builder_leaves_nothing_and_the_next_one_builds(folder: Path, model: Model, tmp_path: Path) -> None:
    with subprocess.Popen(command(folder, tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "builds fp32" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    assert list_engines(tmp_path) == []
    reports: list[str] = []
    built = build_engine(model, model.graph, None, REQUEST, tmp_path, report=reports.append)
    assert built.key.targets == ("sm86",)
    assert any("steps" in line for line in reports)


def test_every_precision_builds_for_several_targets(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(63):
        cv2.imwrite(str(images / f"{seed:02}.png"), network_inputs(seed=seed)["image"])
    words = ["model", "build", str(folder), "--engine", "tensorrt_rtx", "--target", "sm86,sm89,sm120"]
    words += ["--shapes", "image=32x32,64x96,64x96", "--images", str(images)]
    for precision in ("fp16", "bf16", "int8"):
        assert main([*words, "--precision", precision]) == 0
        assert f"{precision} on ONNX Runtime's CPU:" in capsys.readouterr().out
    assert main(["model", "info", str(folder)]) == 0
    found = capsys.readouterr().out
    assert "int8 for sm120, sm86, sm89" in found
    assert "does not fit" in found  # no driver, or another GPU


def test_a_plan_of_another_device_or_without_a_driver_is_refused(model: Model, tmp_path: Path) -> None:
    built = build_engine(model, model.graph, None, REQUEST, tmp_path)
    assert (built.folder / PLAN).stat().st_size > 1000
    pytest.importorskip("cuda.bindings.runtime", reason="no cuda-bindings: pip install cuda-bindings")
    with pytest.raises(ModelError, match=r"driver|was built for sm86"):
        TensorRtEngine(built)


def test_a_builder_that_takes_too_long_is_ended(model: Model) -> None:
    graph, key = plan_engine(model, model.graph, REQUEST)
    with pytest.raises(ModelError, match=r"was ended after 0 s; allow more with --time-limit"):
        build_plan(graph, key, timeout_s=0.01)


def test_a_builder_that_fails_unexpectedly_says_why(model: Model) -> None:
    graph, key = plan_engine(model, model.graph, REQUEST)
    with pytest.raises(ModelError, match=r"ended without a plan \(KeyError: 'tensorflow'\)"):
        build_plan(graph, replace(key, flavour="tensorflow"), timeout_s=60)


def test_engines_asked_for_again_are_the_newest(model: Model, tmp_path: Path) -> None:
    requests = [replace(REQUEST, keypoints=count) for count in (80, 90, 80)]
    folders = [build_engine(model, model.graph, None, request, tmp_path).folder for request in requests]
    found = find_engine(tmp_path, str(model.entry("hash")), flavour=TENSORRT_RTX, precision="fp32")
    assert found.folder == folders[2] == folders[0]


def test_what_cannot_be_parsed_is_named(model: Model) -> None:
    graph, key = plan_engine(model, model.graph, REQUEST)
    with pytest.raises(ModelError, match=r"tensorrt_rtx [\d.]+ cannot parse the graph"):
        build_plan(graph[:-100], key, timeout_s=60)


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (EngineRequest(TENSORRT_RTX), "found none, expected --target"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"picture": SIZES["image"]}), "--shapes names picture"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"image": [(64,)] * 3}), "has 2 dynamic sizes"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"image": [(64, 64), (32, 32), (64, 64)]}), "smallest"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"image": [(33, 64)] * 3}), "multiples of 8"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"image": [(480, 640)] * 3}), "at most 96x96"),
        (EngineRequest(TENSORRT_RTX, targets=("sm86",), sizes={"image": [(8, 8)] * 3}), "at least 100 pixels"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(model: Model, request_: EngineRequest, found: str) -> None:
    with pytest.raises(InputError, match=found):
        plan_engine(model, model.graph, request_)


def test_a_target_that_does_not_exist_is_refused_by_those_that_do(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the target is sm87, TensorRT-RTX .* builds for .*sm86"):
        build_engine(model, model.graph, None, EngineRequest(TENSORRT_RTX, targets=("sm87",), sizes=SIZES), tmp_path)
    with pytest.raises(ModelError, match=r"inference\.engine is tensorrt, which cannot be loaded"):
        plan_engine(model, model.graph, EngineRequest(TENSORRT))
