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

"""Libraries that an installation may lack, and how to get them."""

from __future__ import annotations

import importlib.util

from vloc_ros.core.errors import MissingDependencyError

# import name -> what pip calls it, extra of setup.py that holds it (none: every installation needs it)
_LIBRARIES = {
    "pycolmap": ("pycolmap", "mapping"),
    "gtsam": ("gtsam", "mapping"),
    "pyproj": ("'vloc_ros[aerial]'", "aerial"),
    "rasterio": ("'vloc_ros[aerial]'", "aerial"),
    "sklearn": ("scikit-learn", "mapping"),
    "scipy": ("scipy", "mapping"),
    "plotly": ("'vloc_ros[evaluation]'", "evaluation"),
    "jinja2": ("'vloc_ros[evaluation]'", "evaluation"),
    "markupsafe": ("'vloc_ros[evaluation]'", "evaluation"),
    "rerun": ("'vloc_ros[rerun]'", "rerun"),
    "ray": ("ray", "ray"),
    "kiss_matcher": ("kiss-matcher", "lidar"),
    "small_gicp": ("'vloc_ros[lidar]'", "lidar"),
    "torch": ("'vloc_ros[models]'", "models"),
    "onnx": ("'vloc_ros[engines]'", "engines"),
    "fastapi": ("'vloc_ros[server]'", "server"),
    "pydantic": ("'vloc_ros[server]'", "server"),
    "starlette": ("'vloc_ros[server]'", "server"),
    "uvicorn": ("'vloc_ros[server]'", "server"),
    "onnxscript": ("'vloc_ros[models]'", "models"),
    "cv2": ("opencv-python-headless", ""),
    "faiss": ("faiss-cpu", ""),
    "poselib": ("poselib", ""),
    "rosbags": ("rosbags", ""),
    "threadpoolctl": ("threadpoolctl", ""),
    "tqdm": ("tqdm", ""),
    "yaml": ("pyyaml", ""),
}


def missing_library(error: ModuleNotFoundError) -> str:
    """One line on a library that is not installed.

    Raises:
        ModuleNotFoundError: the one that came in, where the module is none that may be missing: that is a bug.
    """
    module = (error.name or "").partition(".")[0]
    if module not in _LIBRARIES:
        raise error
    project, extra = _LIBRARIES[module]
    what = f", which the extra {extra!r} holds" if extra else ", which every installation needs"
    return f"{module} is not installed{what}; install it with pip install {project}, see docs/installation.md"


def require(option: str, *modules: str) -> None:
    """Refuse an option before the work, not after it, where a library that it needs is not installed.

    Raises:
        MissingDependencyError: one is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            project, _ = _LIBRARIES[module]
            raise MissingDependencyError(f"{option} needs {module}, which is not installed; pip install {project}")
