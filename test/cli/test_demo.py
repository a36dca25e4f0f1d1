"""`vloc demo`: its steps are commands that exist, and it removes nothing that is not its own."""

import argparse
import importlib
from pathlib import Path

import pytest

from vloc_ros.cli import demo
from vloc_ros.cli.main import COMMANDS, main

STEPS = [*demo.offline_steps(Path("out")), *demo.live_steps(Path("out")), *demo.learned_steps(Path("out"))]


@pytest.mark.parametrize("words", STEPS, ids=" ".join)
def test_every_step_is_a_command_with_options_that_exist(words):
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


def test_steps_run_in_order_and_the_first_failure_ends_them(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(demo, "make_images", lambda out: ran.append("images"))
    monkeypatch.setattr(demo, "has_ros", lambda: False)
    monkeypatch.setattr(demo, "can_export", lambda: False)
    monkeypatch.setattr("vloc_ros.cli.main.main", lambda words: ran.append(words[0]) or int(words[0] == "localize"))
    assert demo.run(argparse.Namespace(out=tmp_path / "demo")) == 1
    assert ran == ["images", "map", "localize"]
    assert "$ vloc map build --images" in capsys.readouterr().out
