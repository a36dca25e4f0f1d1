"""What ends a command: words that name none, missing libraries and signals from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vloc_ros.cli.main import main


def command_without(module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a fresh interpreter that has no such module."""
    source = (
        f"import sys; sys.modules[{module!r}] = None; from vloc_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", source, *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("pycolmap", "the extra 'mapping' holds; install it with pip install pycolmap"),
        ("rosbags", "every installation needs; install it with pip install rosbags"),
        ("yaml", "pip install pyyaml"),
    ],
)
def test_a_missing_library_is_one_line(tmp_path: Path, module: str, remedy: str) -> None:
    done = command_without(module, "map", "build", "--bag", tmp_path, "--out", tmp_path / "map")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{module} is not installed" in done.stderr
    assert remedy in done.stderr


def test_a_module_that_no_installation_lacks_is_a_bug(tmp_path: Path) -> None:
    words = ["localize", "--map", tmp_path, "--images", tmp_path, "--camera", tmp_path, "--out", tmp_path / "o"]
    done = command_without("vloc_ros.storage.cameras", *words)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("localise --map m", "`vloc localise`, expected one of the commands; did you mean `vloc localize`?"),
        ("map biuld", "`vloc map biuld`, expected one of the commands; did you mean `vloc map build`?"),
        ("build --out m", "`vloc build`, expected one of the commands; did you mean `vloc map build`?"),
        ("map xyzzy", "`vloc map xyzzy`, expected one of the commands; see them above"),
        ("--map m", "`vloc --map`, expected one of the commands"),
        ("map", "`vloc map`, expected one of its commands after it"),
    ],
)
def test_an_unknown_command_is_named_with_the_nearest_one(words: str, said: str, capsys) -> None:
    assert main(words.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("usage: vloc")
    assert lines[-1].startswith(f"vloc: found {said}")


@pytest.mark.parametrize(
    "words", [["config"], ["config", "--json"], ["map", "info", "--help"], ["--help"], ["map", "info", "@map"]]
)
def test_a_reader_that_goes_away_ends_a_command_without_a_word(scene_folder, words: list[str]) -> None:
    """As `| head` does; the code is that of commands which SIGPIPE ends."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "vloc_ros.cli.main", *words]
    command = [str(scene_folder.map) if word == "@map" else word for word in command]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, check=False, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, env=buffered
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


# pycolmap takes SIGTERM for itself when it is imported, which is after the command has begun
_BUILD = """
import os, signal, sys
from vloc_ros.cli.main import main
from vloc_ros.datasets import image_folders
read = image_folders.read_image
def read_image(path):
    os.kill(os.getpid(), signal.SIGTERM)
    return read(path)
image_folders.read_image = read_image
sys.exit(main(sys.argv[1:]))
"""


def test_a_terminated_build_ends_with_one_line_and_no_map(scene_folder, tmp_path: Path) -> None:
    options = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    words = ["map", "build", *options, "--out", tmp_path / "map"]
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, *map(str, words)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "vloc: interrupted, nothing was left half-written"
    assert "***" not in done.stderr, "the stack trace of pycolmap's logging library"
    assert list(tmp_path.iterdir()) == []
