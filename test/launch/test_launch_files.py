"""Launch files as text: `launch` is in no registry, so here they are parsed and not run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAV2 = {"map", "namespace", "use_sim_time", "params_file", "autostart", "use_respawn", "log_level"}
OF_THE_IMAGE = {"image_topic", "camera_info_topic", "image_transport"}


def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / "launch" / name).read_text())


def arguments(name: str) -> set[str]:
    tables = [
        node.value
        for node in parsed(name).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
    ]
    assert isinstance(tables[0], ast.Dict)
    return {ast.literal_eval(key) for key in tables[0].keys if key is not None}


def words(name: str, kind: str, keyword: str) -> set[Any]:
    """Literal values of a keyword in every call of `kind`."""
    calls = [
        node for node in ast.walk(parsed(name)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == kind
    ]
    return {ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg == keyword}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localize.launch.py", NAV2 | OF_THE_IMAGE),
        ("map_server.launch.py", NAV2),
        ("replay.launch.py", {"bag", "map", "truth_topic", "report", "json"}),
    ],
)
def test_the_arguments_are_those_of_the_documentation(name: str, expected: set[str]) -> None:
    assert arguments(name) == expected


@pytest.mark.parametrize("name", ["localize.launch.py", "map_server.launch.py"])
def test_executables_are_installed_ones(name: str) -> None:
    installed = (ROOT / "setup.py").read_text()
    executables = words(name, "Node", "executable")
    assert executables
    assert all(f'"{executable} = vloc_ros.nodes.{executable}:main"' in installed for executable in executables)


def test_rviz_looks_at_topics_that_are_published() -> None:
    displays = yaml.safe_load((ROOT / "config" / "vloc.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    code = "".join((ROOT / "vloc_ros" / "nodes" / f"{name}.py").read_text() for name in ("localizer", "map_server"))
    assert topics
    assert all(f'"~/{topic.rpartition("/")[2]}"' in code for topic in topics)
