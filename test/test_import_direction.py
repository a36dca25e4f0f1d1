"""Imports point one way: each package may import what this table allows, directly and through others."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vloc_ros

ROOT = Path(vloc_ros.__file__).parent
STANDARD = set(sys.stdlib_module_names) | {"__future__"}

CORE = {"numpy", "cv2", "poselib", "faiss", "transforms3d", "vloc_ros.core"}
STORAGE = CORE | {"vloc_ros.storage", "yaml"}
INFERENCE = STORAGE | {"vloc_ros.inference", "onnxruntime", "tensorrt", "pycuda"}
ASSEMBLY = INFERENCE | {"vloc_ros.assembly"}
BAGS = STORAGE | {"vloc_ros.bags", "rosbags"}
FOOTPRINT = {"vloc_ros.footprint", "threadpoolctl"}
ROS = {"rclpy", "tf2_ros", "ament_index_python"}
MESSAGES = {
    *("builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs", "rcl_interfaces"),
    *("rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "vloc_msgs"),
}
MAY_IMPORT: dict[str, set[str]] = {
    "core": CORE,
    "storage": STORAGE,
    "inference": INFERENCE,
    "mapping": INFERENCE | {"vloc_ros.mapping", "pycolmap", "sklearn", "scipy", "threadpoolctl"},
    "simulation": STORAGE | {"vloc_ros.simulation", "scipy"},
    "bags": BAGS,
    "evaluation": STORAGE | {"vloc_ros.evaluation", "matplotlib"},
    "assembly": ASSEMBLY,
    "footprint": FOOTPRINT,
    "node_config": {"vloc_ros.core", "vloc_ros.node_config"},
    "progress": {"vloc_ros.progress", "tqdm"},
    "nodes": ASSEMBLY | BAGS | FOOTPRINT | ROS | MESSAGES | {"bondpy", "vloc_ros.node_config", "vloc_ros.nodes"},
    "cli": ASSEMBLY
    | BAGS
    | FOOTPRINT
    | ROS
    | MESSAGES
    | {
        "vloc_ros.node_config",
        "vloc_ros.mapping",
        "vloc_ros.simulation",
        "vloc_ros.evaluation",
        "vloc_ros.progress",
        "vloc_ros.cli",
        "pycolmap",
        "tqdm",
    },
}
# Never installed on a robot, and imported by nobody.
TRAINING = INFERENCE | {
    *("training", "vloc_ros.assembly", "vloc_ros.mapping", "vloc_ros.progress", "vloc_ros.simulation"),
    *("torch", "lightning", "timm", "safetensors", "scipy", "pycolmap", "tqdm"),
}
# Loaded only when they are used: constructors of engines, whatever makes a command's --help slow, and what not
# every robot has.
LATE = {
    "inference": {"onnxruntime", "tensorrt", "pycuda"},
    "assembly": {"onnxruntime", "tensorrt", "pycuda"},
    "nodes": {"bondpy"},
    "cli": {"rclpy", "tf2_ros", "pycolmap", "faiss", "matplotlib", "sklearn", "onnxruntime"},
}
# Loaded by libraries on their own account; of these only the ones that the table is about are looked at.
WATCHED = set().union(*MAY_IMPORT.values(), {"torch", "training"})


def modules(package: str) -> list[Path]:
    """Return the source files of a package, or of a module at the top such as assembly."""
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def name_of(imported: str) -> str:
    """Return the part of a module's name that the table speaks of: vloc_ros.PACKAGE, or the top-level library."""
    parts = imported.split(".")
    return ".".join(parts[:2]) if parts[0] == "vloc_ros" else parts[0]


def imports_in(source: str) -> set[str]:
    """Return everything that a module's text imports, at whatever depth, as the table names it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(name_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"vloc_ros.{alias.name}" for alias in node.names] if node.module == "vloc_ros" else [node.module]
            found.update(name_of(str(name)) for name in names)
    return found - STANDARD


def test_training_imports_what_it_may_and_nobody_imports_it() -> None:
    sources = {path: imports_in(path.read_text()) for path in sorted((ROOT.parent / "training").rglob("*.py"))}
    assert not {path: names - TRAINING for path, names in sources.items() if names - TRAINING}
    assert set().union(*sources.values()) >= {"training", "torch"}
    assert not any("training" in allowed for allowed in MAY_IMPORT.values())


def offences(package: str, source: str) -> set[str]:
    """Return what a module of this package imports against the table."""
    return imports_in(source) - MAY_IMPORT[package]


def loaded_by(statements: str) -> set[str]:
    """Return what a fresh interpreter has loaded after these statements, as the table names it."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name_of(name) for name in json.loads(done.stdout.splitlines()[-1])} & WATCHED - {"vloc_ros"}


def test_the_table_names_every_package() -> None:
    found = {module.name for module in pkgutil.iter_modules([str(ROOT)])}
    assert found == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_what_it_may(package: str) -> None:
    wrong = {str(path.relative_to(ROOT)): offences(package, path.read_text()) for path in modules(package)}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_fresh_interpreter_loads_no_more(package: str) -> None:
    if package == "nodes":
        pytest.importorskip("rclpy", reason="no ROS 2: rclpy cannot be imported")
    names = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in modules(package)]
    loaded = loaded_by("\n".join(f"import {name.removesuffix('.__init__')}" for name in names))
    assert not loaded - MAY_IMPORT[package] - _brought_along(package)
    assert not loaded & LATE.get(package, set())


def _brought_along(package: str) -> set[str]:
    """Return what allowed libraries load of themselves: scikit-learn and matplotlib draw in SciPy, rclpy its YAML."""
    return {"scipy"} if package in ("mapping", "evaluation", "cli") else set()


def test_a_wrong_import_is_seen_in_the_text() -> None:
    assert offences("core", "import yaml\nimport numpy as np") == {"yaml"}
    assert offences("core", "def late():\n    from vloc_ros.storage.maps import read_map") == {"vloc_ros.storage"}
    assert offences("evaluation", "from vloc_ros import nodes") == {"vloc_ros.nodes"}
    assert offences("cli", "import vloc_ros.nodes.localizer") == {"vloc_ros.nodes"}
    assert offences("storage", "import torch, json") == {"torch"}


def test_a_wrong_import_is_seen_in_the_interpreter() -> None:
    assert loaded_by("import vloc_ros.core.geometry.pose, yaml") - MAY_IMPORT["core"] == {"yaml"}
