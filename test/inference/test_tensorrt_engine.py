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

"""What TensorRtEngine asks of CUDA and TensorRT, by recorded calls; no engine was run on a GPU by these tests."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded_cuda import RecordedCuda, recorded_tensorrt

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ConfigError, InputError, ModelError
from vloc_ros.inference import tensorrt_engine
from vloc_ros.inference.cuda import Cuda, Device, load_cuda
from vloc_ros.inference.engine_cache import EngineKey, write_engine
from vloc_ros.inference.tensorrt_api import (
    BUILDER_NAMES,
    RUNTIME_NAMES,
    TENSORRT,
    TENSORRT_RTX,
    find_missing_names,
    load_tensorrt,
)
from vloc_ros.inference.tensorrt_engine import TensorRtEngine, drop_padding, explain_misfit, explain_other_device

PROFILE = {"values": ((1,), (8,), (64,))}
GPU = Device("sm86", "RTX of the tests")
KEY = EngineKey("a" * 64, "b" * 64, TENSORRT, "11.4.0", ("sm86",), "fp16", PROFILE, device=GPU.name)
Start = Callable[..., TensorRtEngine]


@pytest.fixture
def cuda() -> RecordedCuda:
    return RecordedCuda()


@pytest.fixture
def start(cuda: RecordedCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start_engine(*, loads: bool = True, key: EngineKey = KEY) -> TensorRtEngine:
        monkeypatch.setattr(tensorrt_engine, "load_tensorrt", lambda flavour: recorded_tensorrt(cuda, loads=loads))
        monkeypatch.setattr(tensorrt_engine, "load_cuda", lambda: cuda)
        return TensorRtEngine(write_engine(tmp_path / key.digest, key, b"plan", {}))

    return start_engine


def values(count: int, first: float = 1.0) -> dict[str, np.ndarray]:
    return {"values": np.arange(first, first + count, dtype=np.float32)}


def test_a_shape_that_stays_is_launched_as_a_graph_until_another_comes(start: Start, cuda: RecordedCuda) -> None:
    engine = start()
    for turn, count in enumerate((8, 8, 8, 8, 5, 8, 5, 5, 5)):
        inputs = values(count, first=turn)
        np.testing.assert_array_equal(engine.run(inputs)["doubled"], 2 * inputs["values"])
    # the first run in a shape is plain, the second records, all from then on launch
    assert cuda.calls.count("cudaStreamBeginCapture") == 2
    assert cuda.calls.count("cudaGraphLaunch") == 3
    engine.close()


def test_a_graph_that_cannot_be_recorded_is_done_without(start: Start, cuda: RecordedCuda) -> None:
    engine = start()
    cuda.refuses_capture = True
    for turn in range(4):
        assert engine.run(values(3, first=turn))["doubled"][0] == 2 * turn
    assert cuda.captured is None
    assert not cuda.recorded
    assert cuda.calls.count("cudaStreamBeginCapture") == 1
    engine.close()


def test_an_engine_of_another_gpu_or_version_or_for_fewer_keypoints_does_not_fit(
    cuda: RecordedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "load_tensorrt", lambda flavour: recorded_tensorrt(cuda))
    monkeypatch.setattr(tensorrt_engine, "load_cuda", lambda: cuda)
    assert explain_misfit(KEY) == ""
    assert "built by tensorrt 10.3.0, found 11.4.0" in explain_misfit(replace(KEY, version="10.3.0"))
    assert "built for sm89, this GPU is sm86" in explain_misfit(replace(KEY, targets=("sm89",)))
    assert "built on Orin" in explain_misfit(replace(KEY, device="Orin"))
    assert explain_other_device(replace(KEY, flavour=TENSORRT_RTX, device=""), GPU) == ""
    assert explain_misfit(replace(KEY, keypoints=100), keypoints=100) == ""
    assert "built for 100 keypoints, expected 200" in explain_misfit(replace(KEY, keypoints=100), keypoints=200)


def test_all_calls_come_from_one_thread(start: Start, cuda: RecordedCuda) -> None:
    """Callbacks of rclpy's executors come from many."""
    engine = start()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda first: engine.run(values(6, first))["doubled"][0], range(100)))
    assert found == [2.0 * first for first in range(100)]
    assert len(cuda.threads) == 1
    engine.close()


def test_nothing_grows_and_everything_is_freed(start: Start, cuda: RecordedCuda) -> None:
    engine = start()
    blocks = len(cuda.allocated)
    for turn in range(300):
        engine.run(values(1 + turn % 20))
    for turn in range(60):
        engine.run(values(1 + turn % 3))
    assert len(cuda.allocated) == blocks
    assert not cuda.graphs
    engine.close()
    assert not cuda.allocated
    assert not cuda.graphs
    assert cuda.calls[-1] == "cudaStreamDestroy"


def test_an_engine_that_nobody_holds_gives_its_memory_back(start: Start, cuda: RecordedCuda) -> None:
    """As when a map with another localizer replaces it."""
    start().run(values(3))
    gc.collect()
    assert not cuda.allocated


def test_a_shape_outside_of_the_profile_is_refused_and_the_next_image_runs(start: Start) -> None:
    engine = start()
    with pytest.raises(InputError, match=r"shape \[65\], the engine takes \[1\] to \[64\]; build it for this shape"):
        engine.run(values(65))
    with pytest.raises(InputError, match="values is of float64, the engine takes float32"):
        engine.run({"values": np.zeros(3)})
    with pytest.raises(InputError, match="found the inputs other, expected values"):
        engine.run({"other": np.zeros(3, np.float32)})
    assert engine.run(values(3))["doubled"].tolist() == [2, 4, 6]
    engine.close()


def test_what_does_not_load_is_explained(start: Start, cuda: RecordedCuda) -> None:
    with pytest.raises(ModelError, match=r"cannot load the plan on this sm86 .the plan is of another device"):
        start(loads=False)
    cuda.memory = 16
    with pytest.raises(ModelError, match=r"cudaMalloc failed with cudaErrorMemoryAllocation, code 2 .* smaller shapes"):
        start()
    assert not cuda.allocated
    with pytest.raises(ModelError, match=r"was built by tensorrt 10.3.0, found 11.4.0; run `vloc model build` again"):
        start(key=replace(KEY, version="10.3.0"))
    with pytest.raises(ModelError, match=r"was built for sm89, this GPU is sm86; run `vloc model build` again"):
        start(key=replace(KEY, targets=("sm89",)))


def test_padding_is_dropped_and_the_limit_kept() -> None:
    outputs = {"scores": np.array([0.9, 0.5, 0.4, 0.0], np.float32), "keypoints": np.arange(8).reshape(4, 2)}
    assert drop_padding(outputs, 10)["keypoints"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert drop_padding(outputs, 2)["keypoints"].tolist() == [[0, 1], [2, 3]]


def test_without_a_driver_the_message_says_so() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-bindings: pip install cuda-bindings")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("this machine has a GPU")
    with pytest.raises(
        ModelError, match=r"cudaGetDeviceCount failed with cudaError\w+, code \d+ .*inference.engine onnx"
    ):
        Cuda(load_cuda())


def test_tensorrt_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ModelError, match=r"inference.engine is tensorrt, .*No module named 'tensorrt'.*JetPack"):
        load_tensorrt(TENSORRT)
    with pytest.raises(ModelError, match="cuda-bindings cannot be imported"):
        load_cuda()


def test_the_names_that_are_used_exist_in_tensorrt_rtx(tensorrt_rtx: object) -> None:
    assert find_missing_names(tensorrt_rtx, TENSORRT_RTX, builder=True) == []
    assert "Builder.create_network" in find_missing_names(np, TENSORRT_RTX, builder=True)


@pytest.mark.parametrize("release", ["10.16", "11.4"])
def test_the_names_that_are_used_exist_in_the_bindings_of_tensorrt(release: str) -> None:
    """The library itself is not to be had, its bindings are: they hold the names of all that they offer."""
    wheels = list((Path(sys.prefix) / "tensorrt-bindings").glob(f"tensorrt_cu*_bindings-{release}.*.whl"))
    if not wheels and os.environ.get("REQUIRE_TENSORRT_RTX"):
        pytest.fail(f"the bindings of TensorRT {release} are required and missing: make engines")
    if not wheels:
        pytest.skip("no bindings of TensorRT: make engines")
    with zipfile.ZipFile(wheels[0]) as wheel:
        code = b"".join(wheel.read(name) for name in wheel.namelist() if name.endswith(".so"))
    used = {name for table in (RUNTIME_NAMES, BUILDER_NAMES) for kind, of in table.items() for name in (kind, *of)}
    assert {name for name in used if name.encode() + b"\0" not in code} == set()
    assert (b"EXPLICIT_BATCH\0" in code) == release.startswith("10.")  # as 11 dropped it: names can be told


def test_a_precision_is_for_tensorrt_alone() -> None:
    assert InferenceConfig(engine=TENSORRT, precision="int8").precision == "int8"
    with pytest.raises(ConfigError, match=r"inference.precision is fp16 with inference.engine onnx, expected fp32"):
        InferenceConfig(precision="fp16")
