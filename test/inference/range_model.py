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

"""A tiny range model, and scans of posts for it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graphs import ENCODER_DIMENSION
from onnx import TensorProto, helper

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.clouds.range_view import RangeView
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.inference.models import write_model

SPACE, HEADINGS = "a" * 64, 4
VIEW = RangeView(8, 12, math.radians(100.0), math.radians(-25.0), math.radians(15.0), 60.0)


def write_range_model(folder: Path, *, scale: float = 1.0, **changes: Any) -> Path:
    """Views in half of their columns, the mean over the channels times a scale, as a vector of length 1."""
    nodes = [
        helper.make_node("ReduceMean", ["views", "channels"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "scale"], ["grey"]),
        helper.make_node("AveragePool", ["grey"], ["coarse"], kernel_shape=[1, 2], strides=[1, 2]),
        helper.make_node("Flatten", ["coarse"], ["flat"], axis=1),
        helper.make_node("LpNormalization", ["flat"], ["descriptors"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("views", ["n", 3, VIEW.height, VIEW.width]), ("descriptors", ["n", ENCODER_DIMENSION]))
    ]
    constants = {"channels": np.array([1]), "scale": np.array(scale, np.float32)}
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "range", values[:1], values[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    manifest = {
        "kind": "range descriptor",
        "inputs": {"views": {"dtype": "float32", "shape": ["N", 3, VIEW.height, VIEW.width]}},
        "outputs": {"descriptors": {"dtype": "float32", "shape": ["N", ENCODER_DIMENSION]}},
        "view": VIEW.to_manifest(),
        "headings": HEADINGS,
        "training": {"space": SPACE},
        **changes,
    }
    write_model(folder, model.SerializeToString(), manifest)
    return folder


def surroundings(seed: int) -> Array:
    """(N, 3) posts around a sensor, and level ground."""
    rng = np.random.default_rng(seed)
    foot, tops = rng.uniform(-25.0, 25.0, (30, 2)), rng.uniform(0.0, 6.0, 30)
    posts = [np.column_stack([np.tile(xy, (25, 1)), np.linspace(-1.7, top, 25)]) for xy, top in zip(foot, tops,
             strict=True)]  # fmt: skip
    ground = np.column_stack([rng.uniform(-30.0, 30.0, (2000, 2)), np.full(2000, -1.7)])
    return np.concatenate([*posts, ground]).astype(np.float32)


def posed_scan(number: int, *, yaw: float = 0.0) -> PosedScan:
    """A scan 100 m from the last one."""
    pose = Pose.from_rotation_vector([0.0, 0.0, yaw], [100.0 * number, 0.0, 1.7])
    points = (surroundings(number) @ pose.rotation).astype(np.float32)
    return PosedScan(f"drive/{number}", partial(PointCloud, points), pose, number)
