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

"""How far a command has come, on a terminal and in a log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vloc_ros import progress
from vloc_ros.progress import bar, format_duration, format_time_left


def test_a_log_gets_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    taken = []
    for item in bar(range(1000), description="features"):
        taken.append(item)
        now[0] += 0.035
    assert taken == list(range(1000))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "features: 286 of 1000, about 25 s left",
        "features: 572 of 1000, about 15 s left",
        "features: 858 of 1000, about 5 s left",
        "features: 1000 of 1000 in 35 s",
    ]


def test_what_has_no_known_end_has_no_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in bar(iter(range(3)), description="images"):
        now[0] += 90
    assert capsys.readouterr().err.splitlines() == ["images: 1", "images: 2", "images: 3 in 4 min"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7000, "117 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_time_left_goes_by_the_pace_so_far() -> None:
    assert format_time_left(60.0, 10, 30) == "about 2 min left"
    assert format_time_left(1.0, 0, 30) == "about 30 s left"


def test_a_short_loop_logs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(bar(iter("abc"), description="features")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(bar(iter("abc"), description="features", total=3)) == ["a", "b", "c"]
    assert "3/3" in capsys.readouterr().err
