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

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rclpy.parameter import Parameter
from ros_session import WAIT_S

from vloc_ros.nodes.bag_tools.player import PlayerNode


def play(**parameters: str) -> subprocess.CompletedProcess[str]:
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "vloc_ros.nodes.bag_tools.player", "--ros-args", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_bag_is_played_and_logged(ros_domain: int, wall_bag: Path, tmp_path: Path) -> None:
    done = play(bag=str(wall_bag), log=str(tmp_path / "log"), rate="50.0")
    assert done.returncode == 0, done.stderr
    assert "/truth" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"log": "/dev/null/log"}, "/dev/null/log: cannot be written", marks=pytest.mark.slow),
        ({"bag": "/no/such/bag"}, "/no/such/bag"),
    ],
)
def test_a_failure_ends_it_with_one_line(
    ros_domain: int, wall_bag: Path, changes: dict[str, str], message: str
) -> None:
    done = play(**({"bag": str(wall_bag), "rate": "50.0"} | changes))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_raised(ros_context: None, wall_bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PlayerNode, "_play", broken)
    node = PlayerNode(parameter_overrides=[Parameter("bag", value=str(wall_bag))])
    with pytest.raises(ZeroDivisionError):
        node.destroy_node()
    assert node.done.done()


def run_player(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vloc_ros.nodes.bag_tools.player", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_help_lists_the_parameters() -> None:
    done = run_player("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: ros2 run vloc_ros player --ros-args" in done.stdout
    assert "  bag: bag folder or .mcap file (default '')" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my.bag"], "unknown argument my.bag; parameters follow --ros-args"),
        pytest.param(
            ["--ros-args", "--params-file", "/no/such.yaml"],
            "Couldn't parse params file: '--params-file /no/such.yaml'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: list[str], message: str) -> None:
    done = run_player(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
