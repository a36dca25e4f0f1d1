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

"""The package as pip and colcon see it: extras, manifests, versions, and a build of both packages by colcon."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = [ROOT / "package.xml", ROOT / "vloc_msgs" / "package.xml", ROOT / "tools/wheel_ros/tf2_msgs/package.xml"]


def project_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-")


def test_a_robot_installs_no_torch(declared: dict[str, Any]) -> None:
    heavy = {"torch", "timm", "lightning", "pycolmap", "gtsam", "scikit-learn", "matplotlib", "plotly"}
    base = {project_of(requirement) for requirement in declared["install_requires"]}
    assert not base & heavy
    for extra in ("mapping", "evaluation", "ros-wheels", "ros-wheels-kilted", "test"):
        assert "torch" not in {project_of(requirement) for requirement in declared["extras_require"][extra]}
    for extra in ("training", "models"):
        assert "torch" in {project_of(requirement) for requirement in declared["extras_require"][extra]}


def test_configuration_is_installed_where_the_documents_look_for_it(declared: dict[str, Any]) -> None:
    installed = {f"{folder}/{Path(name).name}" for folder, names in declared["data_files"] for name in names}
    text = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    named = set(re.findall(r"--share vloc_ros\)/([\w./-]+)", text))
    assert "config/sros2/policies.xml" in named
    assert {f"share/vloc_ros/{name}" for name in named} <= installed


def test_every_command_names_a_function_that_exists(declared: dict[str, Any]) -> None:
    for script in declared["entry_points"]["console_scripts"]:
        module, function = script.split(" = ")[1].split(":")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        assert re.search(rf"^def {function}\(", source.read_text(), re.MULTILINE), script


def test_the_pip_lines_for_a_robot_are_what_setup_declares(declared: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "installation.md").read_text()
    lines = [line.partition("#")[0] for line in text.splitlines() if line.startswith("python3 -m pip install")]
    named = [word.strip('"') for line in lines for word in line.split()[4:] if word != "..."]
    by_rosdep = {"numpy", "opencv-python-headless", "pyyaml", "tqdm"}  # exec_depends of package.xml
    wanted = [*declared["install_requires"], *declared["extras_require"]["mapping"]]
    for extra in ("evaluation", "lidar", "aerial", "server"):
        wanted += declared["extras_require"][extra]
    assert {project_of(n) for n in named} - {"numpy"} == {project_of(w) for w in wanted} - by_rosdep
    bounds = {project_of(w): w for w in wanted}
    assert all(n == bounds[project_of(n)] for n in named if ">" in n)


def test_documents_name_no_requirements_file_that_is_not_there() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for name in re.findall(r"requirements[\w-]*\.txt", document.read_text()):
            assert (ROOT / name).is_file(), f"{document.name} names {name}"


def make(*arguments: str, **variables: str) -> str:
    """Return what make prints without a ROS 2 of the shell, only with these variables."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("ROS_", "MAKE", "PYTHON3"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=shell | variables,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout


def test_each_ros_distribution_and_python_has_a_setup_of_its_own() -> None:
    here = "{}.{}".format(*sys.version_info)
    for wanted, variables in {
        f"wheels-jazzy-{here}": {"ROS_WHEELS": "jazzy", "PYTHON3": sys.executable},
        f"wheels-kilted-{here}": {"ROS_WHEELS": "kilted", "PYTHON3": sys.executable},
        f"humble-{here}": {"ROS_DISTRO": "humble", "PYTHON3": sys.executable},
        "wheels-jazzy-9.9": {"ROS_WHEELS": "jazzy", "PYTHON3": "echo 9.9 #"},
    }.items():
        assert f"READY := .venv/.ready-{wanted}\n" in make("--print-data-base", "--dry-run", "help", **variables)


def test_an_environment_keeps_its_python_and_its_wheels(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text("#!/bin/sh\necho 9.9\n")
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / ".venv" / ".ready-wheels-kilted-9.9").touch()
    shown = make("--directory", str(tmp_path), "--print-data-base", "--dry-run", "help")
    assert "READY := .venv/.ready-wheels-kilted-9.9\n" in shown


def test_wheels_that_pypi_does_not_have_are_refused() -> None:
    tried = subprocess.run(
        [sys.executable, "tools/setup_environment.py"],
        cwd=ROOT, env={**os.environ, "ROS_WHEELS": "foxy"}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert tried.returncode == 1
    assert "foxy" in tried.stderr
    assert "jazzy, kilted" in tried.stderr


@pytest.mark.parametrize(("extra", "distribution"), [("ros-wheels", "jazzy"), ("ros-wheels-kilted", "kilted")])
def test_wheels_are_of_one_distribution(extra: str, distribution: str, declared: dict[str, Any]) -> None:
    names = declared["extras_require"][extra]
    assert f"ros-{distribution}-rclpy[fastrtps]" in names
    assert all(name.startswith(f"ros-{distribution}-") for name in names)


def test_the_benchmark_takes_its_sections_from_make() -> None:
    assert "tools/bench.py redkitchen castle" in make("--dry-run", "bench", "SECTIONS=redkitchen castle")


def test_launch_and_configuration_files_are_installed(declared: dict[str, Any]) -> None:
    installed = {name for _, names in declared["data_files"] for name in names}
    present = {str(path.relative_to(ROOT)) for folder in ("launch", "config") for path in (ROOT / folder).glob("*.*")}
    assert present | {"package.xml", "resource/vloc_ros"} <= installed


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_colcon_and_rosdep_accept_the_manifest(manifest: Path) -> None:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    warnings: list[str] = []
    parsed = package.parse_package(str(manifest), warnings=warnings)
    assert not warnings
    assert parsed.package_format == 3
    assert parsed.licenses == ["Apache-2.0"]


def test_rosdep_installs_only_what_setup_declares(declared: dict[str, Any]) -> None:
    """By the names that Debian gives to projects of PyPI."""
    debian = {"opencv": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    keys = [node.text or "" for node in ET.parse(MANIFESTS[0]).iter("exec_depend")]
    named = {key.removeprefix("python3-") for key in keys if key.startswith("python3-")}
    extras = [one for extra in ("mapping", "evaluation") for one in declared["extras_require"][extra]]
    wanted = {project_of(requirement) for requirement in [*declared["install_requires"], *extras]}
    assert {debian.get(name, name) for name in named} <= wanted
    assert not any(key.endswith("-pip") for key in keys), "rosdep has no pip where the system manages Python"


def test_all_versions_are_one(declared: dict[str, Any]) -> None:
    versions = {str(path.relative_to(ROOT)): ET.parse(path).findtext("version") for path in MANIFESTS[:2]}
    assert set(versions.values()) == {declared["version"]}
    for changelog in (ROOT / "CHANGELOG.rst", ROOT / "vloc_msgs" / "CHANGELOG.rst"):
        assert declared["version"] in changelog.read_text()


def test_every_interface_file_is_built() -> None:
    text = (ROOT / "vloc_msgs" / "CMakeLists.txt").read_text()
    named = set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', text))
    present = {f"{path.parent.name}/{path.name}" for path in (ROOT / "vloc_msgs").glob("*/*.[ms][sr][gv]")}
    assert named == present


def test_ros_packages_that_are_imported_are_declared() -> None:
    declared = {element.text for element in ET.parse(ROOT / "package.xml").iter() if element.tag.endswith("depend")}
    imported: set[str] = set()
    for path in [*(ROOT / "vloc_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        imported.update(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    ros = {
        name for name in imported if name.endswith(("_msgs", "_srvs", "_interfaces")) or name in ("rclpy", "tf2_ros")
    }
    optional = {"geographic_msgs"}  # without it a topic is missing
    assert (ros - optional) | (imported & {"launch", "launch_ros", "ament_index_python"}) <= declared


@pytest.mark.slow
def test_both_packages_build_by_colcon_in_a_workspace(tmp_path: Path) -> None:
    if importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("colcon_core") is None:
        pytest.skip("no ROS 2 or no colcon in this environment")
    source = tmp_path / "src" / "vloc_ros"
    ignored = shutil.ignore_patterns(".*", "build", "test", "docs", "__pycache__", "*.egg-info", "training")
    shutil.copytree(ROOT, source, ignore=ignored)
    # Interfaces take a minute to compile, so this goes on from what `make setup` compiled of the same sources.
    compiled = ROOT / "build" / "environment" / "messages"
    manifests = [tmp_path / "src/vloc_ros", ROOT / "vloc_msgs"]
    cmake = ["-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={sys.executable}"]
    built = subprocess.run(
        [
            *(sys.executable, "-m", "colcon", "build", "--base-paths", *map(str, manifests)),
            *("--build-base", str(compiled), "--cmake-args", *cmake),
        ],
        **_in_environment(tmp_path),
    )
    assert built.returncode == 0, built.stdout
    assert "2 packages finished" in built.stdout
    install = tmp_path / "install"
    for script in ("localizer", "map_server", "mapper", "player", "recorder", "vloc"):
        assert (install / "vloc_ros" / "lib" / "vloc_ros" / script).exists(), "ros2 run looks for it there"
    for name in ("package.xml", *(f"launch/{path.name}" for path in (source / "launch").glob("*.launch.py"))):
        assert (install / "vloc_ros" / "share" / "vloc_ros" / name).exists()
    probe = "import vloc_msgs.msg, vloc_ros; print(vloc_msgs.__file__, vloc_ros.__file__)"
    sourced = f". install/local_setup.sh; {sys.executable} -c '{probe}'"
    found = subprocess.run(["bash", "-c", sourced], **_in_environment(tmp_path))
    assert found.returncode == 0, found.stdout
    assert found.stdout.count(str(install)) == 2, found.stdout


def _in_environment(folder: Path) -> dict[str, Any]:
    """Return how to run a command there with this environment as its ROS."""
    prefix = Path(sys.prefix)
    variables = {
        **os.environ,
        "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}",
        "AMENT_PREFIX_PATH": ":".join(filter(None, [str(prefix), os.environ.get("AMENT_PREFIX_PATH")])),
        "CMAKE_PREFIX_PATH": ":".join(filter(None, [str(prefix), os.environ.get("CMAKE_PREFIX_PATH")])),
    }
    return {
        "cwd": folder,
        "env": variables,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "check": False,
    }
