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

"""The commands that score and count overwrite only their own outputs, which is checked before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from training.landmark_recognizer import evaluate as evaluate_recognizer
from training.place_recognition import cost, evaluate

_MANIFEST = '{"format": "vloc_ros map", "keyframes": []}'
_GIVEN = ("--map", "absent", "--images", "absent")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (evaluate.main, (*_GIVEN, "--encoder", "vlad", "--queries", "absent")),
        (evaluate_recognizer.main, (*_GIVEN, "--model", "absent", "--poses", "absent", "--camera", "absent")),
        (cost.main, ()),
    ],
)
def test_another_file_is_not_overwritten_and_no_work_is_done(
    main: Callable[[list[str]], int],
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "count_cost", lambda *_: pytest.fail("costs were counted before the output was checked"))
    manifest = tmp_path / "manifest.json"
    manifest.write_text(_MANIFEST)
    assert main([*words, "--json", str(manifest)]) == 1
    assert "manifest.json: exists and is no JSON file with" in capsys.readouterr().err
    assert manifest.read_text() == _MANIFEST


def test_costs_replace_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = cost.Cost("student", 240, 240, 8, 1.0, 1.0)
    monkeypatch.setattr(cost, "count_cost", lambda *_: row)
    for outcome in ("written", "replaced"):
        assert cost.main(["--json", str(tmp_path / "cost.json")]) == 0
        assert f"{outcome}: {tmp_path / 'cost.json'}" in capsys.readouterr().out
