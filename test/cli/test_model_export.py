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

"""`vloc model export`: what it prints, and how it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vloc_ros.cli.main import main


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["model", "export", "--help"])
    assert "vloc model export xfeat --out models/xfeat" in capsys.readouterr().out


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    source = "import sys; sys.modules['torch'] = None; from vloc_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", source, "model", "export", "xfeat", "--out", str(tmp_path / "xfeat")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "torch is not installed" in done.stderr
    assert "pip install 'vloc_ros[models]'" in done.stderr


def test_progress_and_what_was_written_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="no torch and onnxscript: pip install 'vloc_ros[models]'")
    from vloc_ros.inference.models import write_model
    from vloc_ros.model_export import export

    def written(name: str, folder: Path, *, report) -> str:
        report("weights: some")
        return write_model(folder, bytes(2_500_000), {"kind": "keypoints", "name": name})

    monkeypatch.setattr(export, "export_keypoint_model", written)
    assert main(["model", "export", "xfeat", "--out", str(tmp_path / "x")]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == "weights: some"
    assert last.startswith("model ")
    assert last.endswith(f"{tmp_path / 'x'} (2.50 MB)")


def test_an_unknown_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="no torch and onnxscript: pip install 'vloc_ros[models]'")
    assert main(["model", "export", "xfeta", "--out", str(tmp_path / "x")]) == 1
    assert "found the network 'xfeta', expected one of xfeat" in capsys.readouterr().err
