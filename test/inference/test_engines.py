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

"""ONNX Runtime as it is set up: no spinning threads, and no other provider than the requested one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from graphs import write_recognizer
from small_networks import network_graph

from vloc_ros.core.config import EXECUTION_PROVIDERS, InferenceConfig
from vloc_ros.core.errors import ConfigError, ModelError
from vloc_ros.inference.engine_cache import EngineKey, lock_engine, write_engine
from vloc_ros.inference.engines import OnnxRuntime, check_partition, report_engine_waits, start_engine
from vloc_ros.inference.models import Model, read_model


def key_of(model: Model) -> EngineKey:
    return EngineKey(str(model.entry("hash")), "b" * 64, "tensorrt", "11.4.0", ("sm86",), "fp16", {}, device="RTX")


def write_built(cache: Path, model: Model) -> None:
    """An engine that this machine cannot run, for want of TensorRT."""
    key = key_of(model)
    write_engine(cache / "vloc_ros" / "engines" / key.digest, key, b"plan", {})


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return read_model(write_recognizer(tmp_path), kind="recognizer")


def test_threads_do_not_spin_and_are_as_many_as_configured(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, options, providers: (
            given.append((options, providers)) or real(graph, options, providers=providers)
        ),
    )
    engine = start_engine(model, InferenceConfig(threads=3))
    ((options, providers),) = given
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 3
    assert providers == ["CPUExecutionProvider"]
    found = engine.run({"rays": np.zeros((2, 2), np.float32), "descriptors": np.zeros((2, 8), np.float32)})
    assert found["background"].shape == (2,)


def test_a_provider_that_cannot_be_used_is_no_silent_fall_back(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists a provider whose libraries are missing, and takes the CPU in its place."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, options, providers, real=onnxruntime.InferenceSession: real(
            graph, options, providers=["CPUExecutionProvider"]
        ),
    )
    with pytest.raises(ModelError, match="cannot use CUDAExecutionProvider here, it fell back to CPU"):
        OnnxRuntime(model, provider="CUDAExecutionProvider")


def test_bound_inputs_and_outputs_give_the_same(model: Model) -> None:
    """As with CUDA, here on the CPU."""
    engine = OnnxRuntime(model, threads=1)
    rng = np.random.default_rng(0)
    for count in (3, 5):
        inputs = {"rays": rng.random((count, 2), np.float32), "descriptors": rng.random((count, 8), np.float32)}
        plain, bound = engine._run_plainly(inputs), engine._run_bound(inputs)
        for one, other in zip(plain, bound, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", ["", "640", "640x480,", "0x480", "640x480;320x240", "99999x480"])
def test_sizes_to_warm_up_are_checked(sizes: str) -> None:
    with pytest.raises(ConfigError, match=r"inference\.warm_up_sizes is .*, expected sizes such as 640x480"):
        InferenceConfig(warm_up_sizes=sizes)
    assert InferenceConfig(warm_up_sizes="640x480,1280x720").image_sizes == [(640, 480), (1280, 720)]


def test_a_provider_that_is_not_there_is_refused_by_what_is(model: Model) -> None:
    available = onnxruntime.get_available_providers()
    missing = next(name for name in EXECUTION_PROVIDERS if name not in available)
    with pytest.raises(ModelError, match=f"has no {missing} here, expected one of {', '.join(available)}"):
        start_engine(model, InferenceConfig(provider=missing))
    with pytest.raises(ConfigError, match="expected one of CPUExecutionProvider"):
        InferenceConfig(provider="gpu")


def test_products_on_another_provider_are_refused(tmp_path: Path) -> None:
    """What ONNX Runtime itself says of a session, here of one on the CPU alone."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(network_graph(), options, providers=["CPUExecutionProvider"])
    check_partition(session, "CPUExecutionProvider")
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not say which nodes a provider runs: 1.24 or newer does")
    with pytest.raises(ModelError, match=r"CUDAExecutionProvider does not run 4 products .* Conv"):
        check_partition(session, "CUDAExecutionProvider")


def test_an_engine_that_was_not_built_is_no_fall_back(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inference = InferenceConfig(engine="tensorrt", precision="fp16")
    with pytest.raises(ModelError, match=r"no engine by tensorrt in fp16 .* `vloc model build MODEL --engine tensorrt"):
        start_engine(model, inference)
    write_built(tmp_path, model)
    if importlib.util.find_spec("tensorrt") is None:
        with pytest.raises(ModelError, match=r"inference\.engine is tensorrt, which cannot be loaded"):
            start_engine(model, inference)


def test_a_wait_for_an_engine_is_reported_until_it_is_over(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        write_built(tmp_path, model)

    lock = lock_engine(tmp_path / "vloc_ros" / "engines", key_of(model), timeout_s=1)
    with lock, report_engine_waits(report), pytest.raises(ModelError):
        start_engine(model, InferenceConfig(engine="tensorrt", precision="fp16"))
    assert len(lines) == 2
    assert lines[0].startswith("waiting for the engine of the model")
    assert lines[1] == ""
