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

"""`vloc demo`: its steps are commands that exist, and it removes nothing that is not its own."""

import argparse
import importlib
from pathlib import Path

import pytest

from vloc_ros.cli import demo
from vloc_ros.cli.main import COMMANDS, main

STEPS = [*demo.offline_steps(Path("out")), *demo.live_steps(Path("out")), *demo.learned_steps(Path("out"))]

_WRITES = ("--out", "--json", "--report")


@pytest.mark.parametrize(("purpose", "words"), STEPS, ids=[" ".join(words) for _, words in STEPS])
def test_every_step_is_a_command_with_options_that_exist(purpose, words):
    assert purpose
    command = next(c for c in COMMANDS if tuple(words[: len(c)]) == c)
    module = importlib.import_module(f"vloc_ros.cli.{COMMANDS[command][0]}")
    parser = argparse.ArgumentParser()
    module.register(parser)
    parser.parse_args(words[len(command) :])


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys):
    photograph = tmp_path / "images" / "holiday.jpg"
    photograph.parent.mkdir()
    photograph.write_bytes(b"irreplaceable")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "name another folder with --out" in capsys.readouterr().err
    assert photograph.read_bytes() == b"irreplaceable"


def test_an_earlier_demo_is_replaced(tmp_path):
    out = tmp_path / "demo"
    demo.clear(out)
    (out / "map").mkdir()
    (out / "map" / "old").write_text("")
    demo.clear(out)
    assert not (out / "map").exists()


def test_nothing_of_an_earlier_demo_is_left_beside_a_new_one(tmp_path):
    steps = [*demo.offline_steps(tmp_path), *demo.live_steps(tmp_path), *demo.learned_steps(tmp_path)]
    demo.clear(tmp_path)
    written = [Path(words[i + 1]) for _, words in steps for i, word in enumerate(words) if word in _WRITES]
    for path in written:
        path.mkdir() if not path.suffix else path.write_text("old")
    (tmp_path / "notes.txt").write_text("of the user")
    demo.clear(tmp_path)
    assert len(written) > 8
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", ".vloc_demo"}


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)])
def test_a_demo_that_ends_early_says_that_it_is_incomplete(tmp_path, monkeypatch, capsys, raised, code):
    def fail(out):
        raise raised

    monkeypatch.setattr(demo, "make_images", fail)
    assert main(["demo", "--out", str(tmp_path)]) == code
    said = capsys.readouterr().err
    assert f"{tmp_path} is incomplete; run the demo again" in said
    assert "nothing was left half-written" not in said


def test_steps_run_in_order_and_the_first_failure_ends_them(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(demo, "make_images", lambda out: ran.append("images"))
    monkeypatch.setattr(demo, "has_ros", lambda: False)
    monkeypatch.setattr(demo, "can_export", lambda: False)
    monkeypatch.setattr("vloc_ros.cli.main.main", lambda words: ran.append(words[0]) or int(words[0] == "localize"))
    assert demo.run(argparse.Namespace(out=tmp_path / "demo")) == 1
    assert ran == ["images", "map", "localize"]
    said = capsys.readouterr().out
    assert "\n# build a map of the first lap, whose poses are known\n$ vloc map build --images" in said
