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

"""`vloc doctor` tries everything, and its exit code is about what is needed."""

from __future__ import annotations

import json

import pytest

from vloc_ros.cli import doctor
from vloc_ros.cli.main import main


def broken(*, needed: bool) -> doctor.Check:
    def attempt() -> str:
        raise ModuleNotFoundError("No module named 'faiss'\nand a long explanation", name="faiss")

    return doctor.Check("faiss", "nearest neighbours", needed, "pip install faiss-cpu", attempt)


@pytest.mark.slow
def test_a_whole_environment_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    works = {check["name"] for check in report["checks"] if check["works"]}
    assert report["healthy"]
    assert {"numpy", "opencv", "poselib", "faiss", "rosbags"} <= works


def test_weights_are_named_and_no_robot_needs_them() -> None:
    check = next(check for check in doctor.CHECKS if check.name == "models")
    finding = doctor.examine(check)
    assert not finding.needed
    assert finding.works == ("xfeat, aliked-n16, aliked-t16" in finding.detail)
    assert finding.works or "vloc_ros[models]" in finding.remedy


def test_what_is_needed_and_missing_is_a_failure_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (broken(needed=True),))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "Localization does not work without faiss."
    assert "MISSING  faiss  nearest neighbours: faiss is not installed; pip install faiss-cpu\n" in text


def test_what_only_some_uses_need_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (broken(needed=False),))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Everything that localization needs works."
    assert lines[-2] == "Only if you want it:"
    assert lines[-1] == "-        faiss  nearest neighbours: faiss is not installed; pip install faiss-cpu"
