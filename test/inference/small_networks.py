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

"""Small convolutional keypoint networks with random weights, of the operators that exported ones have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vloc_ros.inference.models import write_model
from vloc_ros.inference.references import References

CHANNELS = 8


def network_graph(*, seed: int = 0) -> bytes:
    """From `image` (H, W) uint8, `max_keypoints` and `min_score` to the strongest responses, sorted."""
    rng = np.random.default_rng(seed)

    def kernels(outputs: int, inputs: int) -> Any:
        return rng.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32)

    constants: dict[str, Any] = {
        "first_weights": kernels(CHANNELS, 1),
        "middle_weights": kernels(CHANNELS, CHANNELS),
        "dense_weights": kernels(CHANNELS, CHANNELS),
        "score_weights": kernels(1, CHANNELS),
        "white": np.array(1 / 255, np.float32),
        "half": np.array(0.5, np.float32),
        "first_axes": np.array([0, 1]),
        "one_row": np.array([-1]),
        "rows": np.array([CHANNELS, -1]),
        "last_axis": np.array([1]),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["image", "first_axes"], ["pixels"]),
        node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        node("Mul", ["values", "white"], ["light"]),
        *_convolve("light", "first"),
        *_convolve("first", "middle"),
        *_convolve("middle", "dense"),
        node("Conv", ["dense", "score_weights"], ["responses"], pads=[1] * 4),
        node("Abs", ["responses"], ["score_map"]),
        node("Reshape", ["score_map", "one_row"], ["all_scores"]),
        node("Shape", ["all_scores"], ["count"]),
        node("Min", ["max_keypoints", "count"], ["wanted"]),
        node("TopK", ["all_scores", "wanted"], ["best", "order"]),
        node("Greater", ["best", "min_score"], ["is_kept"]),
        node("NonZero", ["is_kept"], ["kept"]),
        node("Transpose", ["kept"], ["kept_rows"], perm=[1, 0]),
        node("GatherND", ["best", "kept_rows"], ["scores"]),
        node("GatherND", ["order", "kept_rows"], ["positions"]),
        node("Shape", ["image"], ["width"], start=1),
        node("Mod", ["positions", "width"], ["columns"]),
        node("Div", ["positions", "width"], ["lines"]),
        node("Unsqueeze", ["columns", "last_axis"], ["x"]),
        node("Unsqueeze", ["lines", "last_axis"], ["y"]),
        node("Concat", ["x", "y"], ["corners"], axis=1),
        node("Cast", ["corners"], ["corner_values"], to=TensorProto.FLOAT),
        node("Add", ["corner_values", "half"], ["keypoints"]),
        node("Reshape", ["dense", "rows"], ["channels"]),
        node("Transpose", ["channels"], ["vectors"], perm=[1, 0]),
        node("Gather", ["vectors", "positions"], ["raw"], axis=0),
        node("ReduceL2", ["raw", "last_axis"], ["lengths"], keepdims=1),
        node("Div", ["raw", "lengths"], ["descriptors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "keypoints",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["h", "w"]),
            helper.make_tensor_value_info("max_keypoints", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("min_score", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", CHANNELS]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _convolve(source: str, target: str) -> list[onnx.NodeProto]:
    made = helper.make_node("Conv", [source, f"{target}_weights"], [f"{target}_raw"], pads=[1] * 4)
    return [made, helper.make_node("Relu", [f"{target}_raw"], [target])]


def network_manifest() -> dict[str, Any]:
    """The manifest of the graph above."""
    return {
        "kind": "keypoints",
        "inputs": {
            "image": {"dtype": "uint8", "shape": ["N", "N"]},
            "max_keypoints": {"dtype": "int64", "shape": [1]},
            "min_score": {"dtype": "float32", "shape": [1]},
        },
        "outputs": {
            "keypoints": {"dtype": "float32", "shape": ["N", 2]},
            "scores": {"dtype": "float32", "shape": ["N"]},
            "descriptors": {"dtype": "float32", "shape": ["N", CHANNELS]},
        },
        "name": "small",
        "extractor": "xfeat",
        "image": {"color": "grey", "stride": 8, "min_size": 32},
        "keypoints": {"convention": "colmap", "default_max_keypoints": 100, "default_min_score": 0.0},
    }


def write_network(folder: Path, references: References | None = None) -> Path:
    """A model folder."""
    data = None if references is None else references.to_bytes()
    write_model(folder, network_graph(), network_manifest(), references=data)
    return folder


def network_inputs(*, seed: int = 0, size: tuple[int, int] = (64, 96), count: int = 100) -> dict[str, Any]:
    """An image of coarse noise, and limits."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 4, size[1] // 4), dtype=np.uint8)
    image = np.kron(coarse, np.ones((4, 4), np.uint8))
    return {"image": image, "max_keypoints": np.array([count]), "min_score": np.zeros(1, np.float32)}
