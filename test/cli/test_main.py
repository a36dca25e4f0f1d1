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

"""What ends a command: words that name none, missing libraries and signals from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vloc_ros.cli.main import COMMANDS, main


def command_without(module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a fresh interpreter that has no such module."""
    source = (
        f"import sys; sys.modules[{module!r}] = None; from vloc_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", source, *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("pycolmap", "the extra 'mapping' holds; install it with pip install pycolmap"),
        pytest.param(
            "rosbags", "every installation needs; install it with pip install rosbags", marks=pytest.mark.slow
        ),
        pytest.param("yaml", "pip install pyyaml", marks=pytest.mark.slow),
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
        ("map xyzzy", "`vloc map xyzzy`, expected one of the commands; `vloc --help` lists them"),
        ("--map m", "`vloc --map`, expected one of the commands"),
        ("--verison", "`vloc --verison`, expected one of the commands; did you mean `vloc --version`?"),
        ("localise --help", "`vloc localise`, expected one of the commands; did you mean `vloc localize`?"),
        ("map biuld --help", "`vloc map biuld`, expected one of the commands; did you mean `vloc map build`?"),
        ("--help localise", "`vloc localise`, expected one of the commands; did you mean `vloc localize`?"),
    ],
)
def test_an_unknown_command_is_named_with_the_nearest_one(words: str, said: str, capsys) -> None:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vloc: found {said}")


def test_a_group_alone_is_answered_with_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map"]) == 2
    said = capsys.readouterr().err
    assert "vloc map build" in said
    assert "vloc localize" not in said
    assert said.splitlines()[-1] == "vloc: found `vloc map`, expected one of its commands after it"


def test_help_of_a_command_may_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["help", "map", "info"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: vloc map info")


@pytest.mark.parametrize(
    ("words", "commands"),
    [([], 2), (["--help"], 2), (["help"], 2), (["map", "--help"], 1), (["map", "-h"], 1), (["help", "map"], 1)],
)
def test_help_is_no_error(words: list[str], commands: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    listed = capsys.readouterr().out
    assert [f"vloc {name}" in listed for name in ("map build", "localize")] == [True, commands == 2]


def test_the_version_is_that_of_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    manifest = Path(__file__).parents[2] / "package.xml"
    assert capsys.readouterr().out == f"vloc {ElementTree.parse(manifest).findtext('version')}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("map build --imagse photos --out m", "--imagse: did you mean --images?"),
        ("map build --images photos --out m --camra=c.yaml", "--camra: did you mean --camera?"),
        ("map build --images photos --poses", "expected one argument"),
        ("map build --images photos --structure smf", "did you mean --structure sfm?"),
        ("map build --images photos", "required: --out"),
    ],
)
def test_a_mistyped_option_is_named_with_the_nearest_one(words: str, hint: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{hint}; `vloc map build --help` lists the options")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vloc ma", {"map", "match"}),
        ("vloc map he", {"health "}),
        ("vloc map build --pos", {"--poses", "--poses-drift", "--positions", "--pose-topic"}),
        ("vloc localize --structure ", {}),
        ("vloc map build --structure ", {"given", "sfm"}),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, expected: set[str]) -> None:
    pytest.importorskip("argcomplete", reason="no argcomplete")
    shell = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    # descriptor 8 is where argcomplete writes to
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m vloc_ros.cli.main 8>&1 >/dev/null"],
        check=False, capture_output=True, text=True, env={**os.environ, **shell},
        timeout=300,
    )  # fmt: skip
    assert set(filter(None, done.stdout.split("\n"))) >= set(expected), done.stderr
    assert bool(done.stdout.strip()) is bool(expected)


def test_what_needs_no_library_loads_none_that_makes_it_slow() -> None:
    """Below 0.3 s: none of these, of which NumPy takes the shortest time. All in one interpreter."""
    all_words = [*([*command, "--help"] for command in COMMANDS), ["--version"], ["config", "mapping"], ["config"]]
    source = (
        "import sys\nfrom vloc_ros.cli.main import main\n"
        f"for words in {all_words!r}:\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "    print('loaded by', *words, *sys.modules.keys() & {'numpy', 'cv2', 'yaml', 'scipy', 'torch'})"
    )
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True, timeout=300)
    found = [line for line in done.stdout.splitlines() if line.startswith("loaded by ")]
    assert found == [f"loaded by {' '.join(words)}" for words in all_words]


_SLOW = [
    ["config", "--markdown"],
    ["config"],
    ["config", "--json"],
    ["map", "info", "--help"],
    ["map", "info", "@map", "--json"],
    ["map", "health", "@map"],
]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["map", "info", "@map"],
        *(pytest.param(words, marks=pytest.mark.slow) for words in _SLOW),
    ],
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
