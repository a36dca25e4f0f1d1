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

"""References of a model: stored with it, refused when altered, and what `vloc model check` compares with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import network_graph, network_inputs, network_manifest, write_network

from vloc_ros.cli.main import main
from vloc_ros.core.errors import ModelError
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import REFERENCES, Model, read_any_model, write_model
from vloc_ros.inference.references import References, read_references


@pytest.fixture
def references() -> References:
    inputs = network_inputs()
    return References(inputs, OnnxRuntime(Model(Path("small"), network_manifest(), network_graph())).run(inputs))


def test_they_are_read_as_they_were_written(references: References, tmp_path: Path) -> None:
    found = read_references(read_any_model(write_network(tmp_path / "model", references)))
    assert found is not None
    for name, array in references.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], array)
    assert found.inputs.keys() == references.inputs.keys()
    assert read_references(read_any_model(write_network(tmp_path / "bare"))) is None


def test_altered_and_missing_ones_are_refused(references: References, tmp_path: Path) -> None:
    folder = write_network(tmp_path / "model", references)
    data = (folder / REFERENCES).read_bytes()
    (folder / REFERENCES).write_bytes(data[:-1])
    with pytest.raises(ModelError, match="was altered"):
        read_references(read_any_model(folder))
    (folder / REFERENCES).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_references(read_any_model(folder))


def test_check_fails_where_an_engine_gives_something_else(
    references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    good = write_network(tmp_path / "good", references)
    assert main(["model", "check", str(good)]) == 0
    assert "CPUExecutionProvider" in capsys.readouterr().out
    bad = tmp_path / "bad"
    write_model(bad, network_graph(seed=1), network_manifest(), references=references.to_bytes())
    assert main(["model", "check", str(bad)]) == 1
    assert "not recommended" in capsys.readouterr().out
    bare = write_network(tmp_path / "bare")
    assert main(["model", "check", str(bare)]) == 1
    assert "has no references" in capsys.readouterr().err


def test_bench_times_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = str(write_network(tmp_path / "model"))
    assert main(["model", "bench", folder, "--runs", "3", "--size", "96x64"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "CPUExecutionProvider" in line]
    assert row.endswith("MB")
    assert int(row.split()[-2]) > 0
    assert main(["model", "bench", folder, "--size", "large"]) == 1
    assert "--size is 'large'" in capsys.readouterr().err


def test_onnx_in_another_precision_is_a_model_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                         references: References) -> None:  # fmt: skip
    folder = write_network(tmp_path / "model", references)
    words = ["model", "build", str(folder), "--engine", "onnx", "--precision", "fp16"]
    assert main([*words, "--out", str(tmp_path / "half")]) == 0
    assert "keypoints in both" in capsys.readouterr().out
    half = read_any_model(tmp_path / "half")
    assert half.entry("converted", "precision") == "fp16"
    assert half.entry("hash") != read_any_model(folder).entry("hash")
    assert main(words) == 1
    assert main([*words[:-1], "int8", "--out", str(tmp_path / "int8")]) == 1
    assert "int8 is calibrated on 0 samples" in capsys.readouterr().err
