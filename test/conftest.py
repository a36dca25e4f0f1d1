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

"""Fixtures of all tests, and what keeps a skipped test from being overlooked."""

from __future__ import annotations

import collections
import functools
import gc
import importlib
import os
import re
import runpy
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from vloc_ros.evaluation.live_processes import free_domain

if TYPE_CHECKING:
    from learned_wall import LearnedWall
    from nodes_world import Wall
    from plane_scene import SceneFolder
    from ros_session import Ros

# how long an example takes depends on what else runs
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_DATA_NAME = re.compile(r"\.\./shared/data/?([\w./-]*)")


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function that gives the folder of a real data set, and skips the test where it is missing."""

    def folder(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"../shared/data/{name} is missing")
        return DATA / name

    return folder


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    given: dict[str, Any] = {}
    recorder = types.ModuleType("setuptools")
    recorder.setup = given.update  # type: ignore[attr-defined]
    recorder.find_packages = lambda **_: []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setuptools", recorder)
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)
    runpy.run_path("setup.py")
    return given


@pytest.fixture(scope="session")
def tensorrt_rtx() -> Any:
    """TensorRT-RTX's bindings; a skip without them is a failure where REQUIRE_TENSORRT_RTX is set, as .ci/run does."""
    try:
        return importlib.import_module("tensorrt_rtx_bindings")
    except ImportError as error:
        if os.environ.get("REQUIRE_TENSORRT_RTX"):
            pytest.fail(f"TensorRT-RTX is required and cannot be imported: {error}")
        pytest.skip("no TensorRT-RTX: make engines, or pip install 'vloc_ros[tensorrt-rtx]'")


@pytest.fixture(scope="session")
def ros_domain() -> Iterator[int]:
    """Give this test process, and those it starts, a ROS domain that nobody else on this machine uses."""
    with free_domain() as variables, pytest.MonkeyPatch.context() as environment:
        for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"):
            environment.delenv(name, raising=False)
        for name in variables.keys() - os.environ.keys() | {"ROS_DOMAIN_ID"}:
            environment.setenv(name, variables[name])
        yield int(variables["ROS_DOMAIN_ID"])


@pytest.fixture(scope="session")
def ros_context(ros_domain: int) -> Iterator[None]:
    """One participant for all tests of the process: discovery within it is immediate."""
    import rclpy

    # what earlier tests left behind stays: each test of nodes collects garbage, in a tenth of the time without it
    gc.collect()
    gc.freeze()
    rclpy.init(domain_id=ros_domain)
    yield
    rclpy.try_shutdown()


@pytest.fixture
def ros(ros_context: None) -> Iterator[Ros]:
    """Nodes of this process, and one of the test's own."""
    from ros_session import Ros

    session = Ros()
    yield session
    session.close()


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    """Six images of the mapped wall and of another one."""
    from plane_scene import write_scene

    return write_scene(tmp_path_factory.mktemp("wall"))


@pytest.fixture(scope="session")
def learned_wall(tmp_path_factory: pytest.TempPathFactory) -> LearnedWall:
    """The wall, and its map by a keypoint model."""
    from learned_wall import write_learned_wall

    return write_learned_wall(tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    """The mapped wall, and the map of another one beside it."""
    from nodes_world import Wall
    from plane_scene import make_plane_scene, poses

    from vloc_ros.storage.maps import write_map

    folder = tmp_path_factory.mktemp("maps")
    scene = make_plane_scene()
    write_map(scene.landmark_map, folder / "wall")
    write_map(make_plane_scene(seed=5).landmark_map, folder / "other")
    return Wall(scene, poses(6, seed=1), folder / "wall", folder / "other")


@pytest.fixture(scope="module")
def each_image_once() -> Iterator[None]:
    """For modules that are given the same images again and again, by each other as well."""
    from remembered_keypoints import remembered_keypoints

    with remembered_keypoints():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process is left with one at the end while the others have nothing to do."""
    first = ("training", "model_export", "mapping", "nodes", "cli")
    folders = [item.nodeid.partition("/")[2].partition("/")[0] for item in items]
    rank = {name: number for number, name in enumerate(dict.fromkeys((*first, *folders)))}
    items[:] = [item for _, item in sorted(zip(folders, items, strict=True), key=lambda pair: rank[pair[0]])]


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what was imported: tests of nodes collect garbage between each other."""
    if "torch.onnx" in sys.modules:
        _read_conversions_once()
    gc.freeze()


def _read_conversions_once() -> None:
    """Let all exports of this process share the table of ONNX conversions: half of the time of a small network's."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):  # not of PyTorch's public interface
        return
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(read))  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn the skip of a data test into a failure where the data it names as missing is there."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        named = _DATA_NAME.search(report.longrepr[2])
        if named and (DATA / named[1].rstrip(".")).exists():
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped for want of {named[0]}, which is there"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped, and why."""
    reports = [r for r in terminalreporter.stats.get("skipped", []) if isinstance(r.longrepr, tuple)]
    reasons = collections.Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    terminalreporter.write_line(f"{len(reports)} tests skipped" + (":" if reasons else ""))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count} x {reason}")
