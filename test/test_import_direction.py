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

"""Imports point one way, as DESIGN's table has it: between packages, within core, and without circles of files."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import vloc_ros

ROOT = Path(vloc_ros.__file__).parent
STANDARD = set(sys.stdlib_module_names) | {"__future__"}

CORE = {"numpy", "cv2", "poselib", "faiss", "transforms3d", "vloc_ros.core"}
STORAGE = CORE | {"vloc_ros.storage", "yaml"}
ENGINES = {"onnxruntime", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "kiss_matcher", "small_gicp"}
INFERENCE = STORAGE | ENGINES | {"vloc_ros.inference"}
ASSEMBLY = INFERENCE | {"vloc_ros.assembly"}
MAPPING = ASSEMBLY | {"vloc_ros.mapping", "gtsam", "pycolmap", "sklearn", "scipy", "threadpoolctl", "ray"}
GEO = MAPPING | {"vloc_ros.geo", "pyproj", "rasterio"}
SIMULATION = STORAGE | {"vloc_ros.simulation", "scipy"}
BAGS = STORAGE | {"vloc_ros.bags", "rosbags"}
DATASETS = BAGS | SIMULATION | {"vloc_ros.datasets"}
FOOTPRINT = {"vloc_ros.footprint", "threadpoolctl"}
EVALUATION = STORAGE | FOOTPRINT | {"vloc_ros.evaluation", "jinja2", "markupsafe", "plotly", "rerun"}
WEB = {"fastapi", "starlette", "uvicorn", "pydantic"}
SERVER = ASSEMBLY | WEB | {"vloc_ros.server"}
PROGRESS = {"vloc_ros.progress", "tqdm"}
NODE_CONFIG = {"vloc_ros.core", "vloc_ros.node_config"}
EXPORTER = {"vloc_ros.model_export"}
# a robot that only runs engines has no onnx: only the command line loads this package, and late
ENGINE_BUILD = INFERENCE | {"vloc_ros.engine_build", "onnx"}
# torch is not installed on a robot: only the command line loads this package, and late
MODEL_EXPORT = INFERENCE | EXPORTER | {"torch", "onnxscript"}
ROS = {"rclpy", "tf2_ros", "ament_index_python"}
MESSAGES = {
    *("builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs", "rcl_interfaces"),
    *("rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "vloc_msgs"),
}
MAY_IMPORT: dict[str, set[str]] = {
    "core": CORE,
    "storage": STORAGE,
    "inference": INFERENCE,
    "mapping": MAPPING,
    "geo": GEO,
    "simulation": SIMULATION,
    "bags": BAGS,
    "datasets": DATASETS,
    "evaluation": EVALUATION,
    "assembly": ASSEMBLY,
    "server": SERVER,
    "footprint": FOOTPRINT,
    "node_config": NODE_CONFIG,
    "progress": PROGRESS,
    "engine_build": ENGINE_BUILD,
    "model_export": MODEL_EXPORT,
    "launching": {"launch", "launch_ros", "ament_index_python", "vloc_ros.footprint", "vloc_ros.nodes"},
    "nodes": ASSEMBLY
    | BAGS
    | FOOTPRINT
    | NODE_CONFIG
    | ROS
    | MESSAGES
    | {"bondpy", "geographic_msgs", "vloc_ros.nodes"},
    "cli": GEO
    | DATASETS
    | EVALUATION
    | NODE_CONFIG
    | PROGRESS
    | ROS
    | MESSAGES
    | {"vloc_ros.cli", "argcomplete", "vloc_ros.engine_build", "vloc_ros.server", *EXPORTER, *WEB},
}
# Never installed on a robot, and imported by nobody: all but the nodes and the command line.
TRAINING = GEO | DATASETS | EVALUATION | PROGRESS | EXPORTER | {"training", "torch"}
TRAINING |= {"lightning", "timm", "safetensors", "matplotlib"}
# What the shared parts of training may import of it; a task may import all of them, and no other task, but that
# retrieval across views and sensors is place recognition.
TRAINING_PARTS: dict[str, set[str]] = {"framework": set(), "networks": set(), "data": {"framework"}}
TRAINING_EXTENDS = {"cross_view": {"place_recognition"}, "cross_modal": {"place_recognition"}}
# Loaded only when they are used: constructors of engines, whatever makes a command's --help slow, and what not
# every robot has.
LATE = {
    "inference": ENGINES,
    "assembly": ENGINES,
    "engine_build": ENGINES,
    "mapping": {"ray"},
    "geo": {"pyproj", "rasterio"},
    "nodes": {"bondpy", "geographic_msgs"},
    "cli": {
        "argcomplete",
        "rclpy",
        "tf2_ros",
        "gtsam",
        "pyproj",
        "rasterio",
        "pycolmap",
        "faiss",
        "jinja2",
        "plotly",
        "rerun",
        "sklearn",
        "onnx",
        "onnxruntime",
        "vloc_ros.engine_build",
        "vloc_ros.server",
        *WEB,
        "ray",
        *EXPORTER,
        "torch",
    },
}
# What packages other than the command line may import inside of functions, and why.
LATE_IMPORTS: dict[str, dict[str, str]] = {
    "core": {"faiss": "a command that only reads a map does not wait for it"},
    "inference": {
        "onnxruntime": "constructors load the engine, which not every robot has",
        "kiss_matcher": "only a robot with a LiDAR has it",
        "small_gicp": "only a robot with a LiDAR has it",
    },
    "engine_build": {"onnxruntime": "its quantisation takes seconds to load, and only int8 needs it"},
    "geo": {
        "pyproj": "only positions in another coordinate system need it",
        "rasterio": "only who reads GeoTIFF has it",
    },
    "mapping": {
        "ray": "only who builds maps on a cluster has it",
        "scipy": "its optimizer takes as long to load as all else, and only one camera model's refinement needs it",
    },
    "nodes": {"bondpy": "not every robot has it", "geographic_msgs": "not every robot has it"},
    "progress": {"tqdm": "a log needs no bar"},
}
# Modules that need a library which not every installation has: without it they are not loaded.
OPTIONAL = {"rerun_recording.py": "rerun"}
# Within core, each may import itself and those before it; what lies beside the folders may be imported by all.
CORE_ORDER = ("geometry", "clouds", "query sources", "features", "retrieval", "map", "localization", "tracking")
CORE_ROOT = {"config", "errors", "integer_arrays", "parameter_names", "spelling"}
# Loaded by libraries on their own account; of these only the ones that the table is about are looked at.
WATCHED = set().union(*MAY_IMPORT.values(), {"torch", "training"})


def modules(package: str) -> list[Path]:
    """Return the source files of a package, or of a module at the top such as assembly."""
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def all_sources() -> dict[str, str]:
    """Return the text of every module of vloc_ros and training by its dotted name."""
    files = [path for folder in (ROOT, ROOT.parent / "training") for path in sorted(folder.rglob("*.py"))]
    dotted = (".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in files)
    return {name.removesuffix(".__init__"): path.read_text() for name, path in zip(dotted, files, strict=True)}


def name_of(imported: str) -> str:
    """Return the part of a module's name that the table speaks of: vloc_ros.PACKAGE, or the top-level library."""
    parts = imported.split(".")
    return ".".join(parts[:2]) if parts[0] == "vloc_ros" else parts[0]


@cache
def tree_of(source: str) -> ast.Module:
    """Return what a module's text says; several tests look at the same one."""
    return ast.parse(source)


@cache
def all_imports(source: str) -> tuple[str, ...]:
    """Return the dotted names of everything that a module's text imports."""
    return tuple(dotted_imports(tree_of(source)))


def statements_in(tree: ast.AST) -> Iterator[ast.AST]:
    """Give a node and all statements in it at whatever depth; most nodes are expressions, which import nothing."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, block, ()))


def dotted_imports(tree: ast.AST) -> Iterator[str]:
    """Give the dotted name of everything that is imported at whatever depth: of `from a import b` it is a.b."""
    for node in statements_in(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_in(source: str) -> set[str]:
    """Return everything that a module's text imports, at whatever depth, as the table names it."""
    return {name_of(name) for name in all_imports(source)} - STANDARD


def offences(package: str, source: str) -> set[str]:
    """Return what a module of this package imports against the table."""
    return imports_in(source) - MAY_IMPORT[package]


def core_rank(module: str) -> int:
    """Return where a module of core, such as vloc_ros.core.map.places, stands in CORE_ORDER; -1 beside the folders."""
    part = module.split(".")[2]
    return -1 if part in CORE_ROOT else next(i for i, parts in enumerate(CORE_ORDER) if part in parts.split())


def core_offences(module: str, source: str) -> set[str]:
    """Return what a module of core imports from parts of core that come after its own."""
    imported = {name for name in all_imports(source) if name.startswith("vloc_ros.core.")}
    return {name for name in imported if core_rank(name) > core_rank(module)}


@cache
def late_imports(source: str) -> set[str]:
    """Return what a module's text imports inside of functions, as the table names it."""
    functions = [n for n in statements_in(tree_of(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {name_of(name) for function in functions for name in dotted_imports(function)} - STANDARD


def late_offences(package: str, source: str) -> set[str]:
    """Return what a module of this package imports inside of functions without a reason in the table."""
    return set() if package == "cli" else late_imports(source) - LATE_IMPORTS.get(package, {}).keys()


def circles(sources: Mapping[str, str]) -> set[frozenset[str]]:
    """Return the strongly connected components of more than one module, by every import of whatever depth."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = all_imports(source)
        graph[module] = {name if name in sources else name.rpartition(".")[0] for name in found} & sources.keys()
    reached = {module: _reached_from(module, graph) for module in graph}
    components = (frozenset({module, *(n for n in reached[module] if module in reached[n])}) for module in graph)
    return {component for component in components if len(component) > 1}


def _reached_from(module: str, graph: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        new = graph[waiting.pop()] - reached
        reached |= new
        waiting.extend(new)
    return reached


def loaded_by(statements: str) -> set[str]:
    """Return what a fresh interpreter has loaded after these statements, as the table names it."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
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


def test_training_imports_what_it_may_and_nobody_imports_it() -> None:
    sources = {path: imports_in(path.read_text()) for path in sorted((ROOT.parent / "training").rglob("*.py"))}
    assert not {path: names - TRAINING for path, names in sources.items() if names - TRAINING}
    assert set().union(*sources.values()) >= {"training", "torch"}
    assert not any("training" in allowed for allowed in MAY_IMPORT.values())


def test_the_parts_of_training_have_an_order_and_tasks_know_no_other() -> None:
    wrong = {}
    for module, source in all_sources().items():
        if module.startswith("training."):
            part = module.split(".")[1]
            allowed = {part, *TRAINING_PARTS.get(part, TRAINING_PARTS), *TRAINING_EXTENDS.get(part, ())}
            imported = {name for name in all_imports(source) if name.startswith("training.")}
            wrong[module] = {name for name in imported if name.split(".")[1] not in allowed}
    assert wrong.keys() >= {"training.framework.run", "training.data.overlap", "training.place_recognition.task"}
    assert not {name: names for name, names in wrong.items() if names}


def test_the_parts_of_core_have_an_order() -> None:
    sources = {name: text for name, text in all_sources().items() if name.startswith("vloc_ros.core.")}
    wrong = {name: core_offences(name, text) for name, text in sources.items()}
    assert not {name: names for name, names in wrong.items() if names}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circles(all_sources())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_only_commands_import_inside_of_functions(package: str) -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in modules(package)}
    wrong = {path: late_offences(package, source) for path, source in sources.items()}
    assert not {path: names for path, names in wrong.items() if names}
    needed = set().union(*map(late_imports, sources.values()))
    assert package == "cli" or needed == LATE_IMPORTS.get(package, {}).keys(), "a reason that nothing needs"


def test_training_imports_its_packages_at_the_top() -> None:
    wrong = {path: late_imports(path.read_text()) for path in sorted((ROOT.parent / "training").rglob("*.py"))}
    own = {path: {n for n in names if n.startswith(("vloc_ros", "training"))} for path, names in wrong.items()}
    assert not {path: names for path, names in own.items() if names}


# what a robot runs, and what must be quick to load
QUICK = {"core", "inference", "nodes", "cli"}


@pytest.mark.parametrize(
    "package", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MAY_IMPORT]
)
def test_a_fresh_interpreter_loads_no_more(package: str) -> None:
    if package == "launching":
        pytest.importorskip("launch_ros", reason="no launch_ros: it comes with a ROS installation")
    if package == "nodes":
        pytest.importorskip("rclpy", reason="no ROS 2: rclpy cannot be imported")
    if package == "model_export":
        pytest.importorskip("onnxscript", reason="no torch and onnxscript: pip install 'vloc_ros[models]'")
    paths = [path for path in modules(package) if importlib.util.find_spec(OPTIONAL.get(path.name, "sys"))]
    names = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in paths]
    loaded = loaded_by("\n".join(f"import {name.removesuffix('.__init__')}" for name in names))
    assert not loaded - MAY_IMPORT[package] - _brought_along(package)
    assert not loaded & LATE.get(package, set())


def _brought_along(package: str) -> set[str]:
    """Return what allowed libraries load of themselves: SciPy by scikit-learn, tqdm by torch, onnx by onnxscript."""
    return {"mapping": {"scipy"}, "cli": {"scipy"}, "model_export": {"tqdm", "onnx"}}.get(package, set())


def test_a_wrong_import_is_seen_in_the_text() -> None:
    assert offences("core", "import yaml\nimport numpy as np") == {"yaml"}
    assert offences("core", "def late():\n    from vloc_ros.storage.maps import read_map") == {"vloc_ros.storage"}
    assert offences("evaluation", "from vloc_ros import nodes") == {"vloc_ros.nodes"}
    assert offences("datasets", "from vloc_ros.mapping import config") == {"vloc_ros.mapping"}
    assert offences("cli", "import vloc_ros.nodes.localizer.node") == {"vloc_ros.nodes"}
    assert offences("storage", "import torch, json") == {"torch"}


def test_a_wrong_import_is_seen_in_the_interpreter() -> None:
    assert loaded_by("import vloc_ros.core.geometry.pose, yaml") - MAY_IMPORT["core"] == {"yaml"}


def test_a_wrong_import_is_seen_within_core() -> None:
    later = "from vloc_ros.core.localization.result import Status"
    assert core_offences("vloc_ros.core.map.places", later) == {"vloc_ros.core.localization.result.Status"}
    assert core_offences("vloc_ros.core.map.places", f"def late():\n    {later}")
    assert core_offences("vloc_ros.core.config", "from vloc_ros.core.geometry.pose import Pose")
    assert core_offences("vloc_ros.core.query", "from vloc_ros.core.features import keypoints")
    assert not core_offences("vloc_ros.core.tracking.fix", f"{later}\nfrom vloc_ros.core.errors import InputError")
    assert not core_offences("vloc_ros.core.sources", "from vloc_ros.core.query import Query")


def test_a_circle_is_seen() -> None:
    sources = {
        "vloc_ros.a": "from vloc_ros.b import x",
        "vloc_ros.b": "def late():\n    from vloc_ros import c",
        "vloc_ros.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vloc_ros.a",
        "vloc_ros.d": "import vloc_ros.a, vloc_ros.e",
        "vloc_ros.e": "import numpy",
    }
    assert circles(sources) == {frozenset({"vloc_ros.a", "vloc_ros.b", "vloc_ros.c"})}
    assert not circles({**sources, "vloc_ros.c": "import vloc_ros.e"})


def test_a_late_import_is_seen() -> None:
    late = "class Index:\n    def search(self):\n        import faiss, json"
    assert late_offences("mapping", late) == {"faiss"}
    assert late_offences("bags", "async def read():\n    from vloc_ros.core import query") == {"vloc_ros.core"}
    assert not late_offences("core", late)
    assert not late_offences("cli", late)
    assert not late_offences("mapping", "import faiss")
