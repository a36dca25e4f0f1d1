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

"""A tiny keypoint model that fulfils the contract of `vloc_ros.inference.keypoints`, and localizes in simulated worlds.

Keypoints are local maxima of the local contrast. A descriptor is a fixed random projection of the patch around one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.inference.models import write_model

DIMENSION, STRIDE, MIN_SIZE = 32, 8, 32
# of red, green and blue: other shares than those of luminance, so that a swap of channels shows
COLOR_SHARES = (0.7, 0.2, 0.1)
_PATCH, _BORDER = 8, 8


def keypoint_graph(
    *, color: str = "grey", seed: int = 0, dimension: int = DIMENSION, length: float = 1.0, outputs: str = ""
) -> bytes:
    """The ONNX file.

    Args:
        color: `grey` or `rgb`.
        seed: of the projection; another one makes another model.
        dimension: of a descriptor.
        length: of a descriptor.
        outputs: `float64`, `ascending` or `flat` spoils them.
    """
    kernels = np.random.default_rng(seed).normal(size=(dimension, 1, _PATCH, _PATCH)).astype(np.float32)
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    constants: dict[str, Any] = {
        "kernels": kernels,
        "shares": np.array(COLOR_SHARES, np.float32),
        "levels": np.array(255, np.float32),
        "none": np.array(0, np.float32),
        "half": np.array(0.5, np.float32),
        "length": np.array(length, np.float32),
        "first_axes": np.array([0, 1]),
        "pixel_axes": np.array([2, 3]),
        "inner_start": np.array([_BORDER] * 2),
        "inner_end": np.array([-_BORDER] * 2),
        "border": np.array([0, 0, _BORDER, _BORDER] * 2),
        "one_row": np.array([-1]),
        "rows": np.array([dimension, -1]),
        "width_axis": np.array(1),
        "width_axis_row": np.array([1]),
    }
    last = {"flat": "Flatten", "float64": "Cast"}.get(outputs, "Identity")
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        node("MatMul", ["values", "shares"], ["grey"]) if color == "rgb" else node("Identity", ["values"], ["grey"]),
        node("Div", ["grey", "levels"], ["light"]),
        node("Unsqueeze", ["light", "first_axes"], ["whole"]),
        # fails where a side is no multiple of the stride
        node("SpaceToDepth", ["whole"], ["cells"], blocksize=STRIDE),
        node("DepthToSpace", ["cells"], ["pixels"], blocksize=STRIDE),
        _average("pixels", "near", 3),
        _average("pixels", "far", 9),
        node("Sub", ["near", "far"], ["difference"]),
        node("Abs", ["difference"], ["contrast"]),
        node("Slice", ["contrast", "inner_start", "inner_end", "pixel_axes"], ["inner"]),
        node("Pad", ["inner", "border"], ["score_map"]),
        node("MaxPool", ["score_map"], ["largest"], kernel_shape=[7, 7], pads=[3] * 4, strides=[1, 1]),
        node("Equal", ["score_map", "largest"], ["is_largest"]),
        node("Greater", ["score_map", "min_score"], ["is_enough"]),
        node("Greater", ["score_map", "none"], ["is_some"]),
        node("And", ["is_largest", "is_enough"], ["is_strong"]),
        node("And", ["is_strong", "is_some"], ["is_keypoint"]),
        node("Reshape", ["is_keypoint", "one_row"], ["flags"]),
        node("Reshape", ["score_map", "one_row"], ["all_scores"]),
        node("NonZero", ["flags"], ["found_rows"]),
        node("Reshape", ["found_rows", "one_row"], ["found"]),
        node("Gather", ["all_scores", "found"], ["found_scores"]),
        node("Shape", ["found"], ["count"]),
        node("Min", ["count", "max_keypoints"], ["kept"]),
        node("TopK", ["found_scores", "kept"], ["scores", "order"], largest=0 if outputs == "ascending" else 1),
        node("Gather", ["found", "order"], ["positions"]),
        node("Shape", ["grey"], ["size"]),
        node("Gather", ["size", "width_axis"], ["width"]),
        node("Mod", ["positions", "width"], ["columns"]),
        node("Div", ["positions", "width"], ["lines"]),
        node("Unsqueeze", ["columns", "width_axis_row"], ["x"]),
        node("Unsqueeze", ["lines", "width_axis_row"], ["y"]),
        node("Concat", ["x", "y"], ["corners"], axis=1),
        node("Cast", ["corners"], ["corner_values"], to=TensorProto.FLOAT),
        node("Add", ["corner_values", "half"], ["keypoints"]),
        node("Conv", ["near", "kernels"], ["projected"], dilations=[2, 2], pads=[7, 7, 7, 7]),
        node("Reshape", ["projected", "rows"], ["patch_rows"]),
        node("Gather", ["patch_rows", "positions"], ["of_keypoints"], axis=1),
        node("Transpose", ["of_keypoints"], ["raw"], perm=[1, 0]),
        node("LpNormalization", ["raw"], ["unit"], axis=1, p=2),
        node("Mul", ["unit", "length"], ["scaled"]),
        node(last, ["scaled"], ["descriptors"], **({"to": TensorProto.DOUBLE} if last == "Cast" else {})),
    ]
    if last == "Flatten":
        nodes[-1] = node("Reshape", ["scaled", "one_row"], ["descriptors"])
    kind = TensorProto.DOUBLE if outputs == "float64" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "keypoints",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["h", "w", *([3] if color == "rgb" else [])]),
            helper.make_tensor_value_info("max_keypoints", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("min_score", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("descriptors", kind, ["n"] if outputs == "flat" else ["n", dimension]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _average(source: str, target: str, size: int) -> Any:
    pads = [size // 2] * 4
    return helper.make_node(
        "AveragePool", [source], [target], kernel_shape=[size, size], pads=pads, strides=[1, 1], count_include_pad=0
    )


def keypoint_manifest(*, color: str = "grey", **changes: Any) -> dict[str, Any]:
    """The manifest that `vloc model export` writes for such a graph."""
    channels = [3] if color == "rgb" else []
    return {
        "kind": "keypoints",
        "name": "xfeat" if color == "grey" else "aliked-t16",
        "extractor": "xfeat" if color == "grey" else "aliked",
        "inputs": {
            "image": {"dtype": "uint8", "shape": ["N", "N", *channels]},
            "max_keypoints": {"dtype": "int64", "shape": [1]},
            "min_score": {"dtype": "float32", "shape": [1]},
        },
        "outputs": {
            "keypoints": {"dtype": "float32", "shape": ["N", 2]},
            "scores": {"dtype": "float32", "shape": ["N"]},
            "descriptors": {"dtype": "float32", "shape": ["N", DIMENSION]},
        },
        "image": {"color": color, "stride": STRIDE, "min_size": MIN_SIZE},
        "keypoints": {"convention": "colmap", "default_max_keypoints": 1000, "default_min_score": 0.005},
        "source": {"package": "made-up", "version": "1.2.3", "file": "weights.pt", "weights_sha256": "ab" * 32},
        "license": {"name": "Apache-2.0", "text": "Apache License\n"},
        **changes,
    }


def write_keypoint_model(
    folder: Path, *, color: str = "grey", seed: int = 0, manifest: dict[str, Any] | None = None, **graph: Any
) -> Path:
    """A model folder; `manifest` has entries in place of the usual ones."""
    write_model(
        folder, keypoint_graph(color=color, seed=seed, **graph), keypoint_manifest(color=color, **(manifest or {}))
    )
    return folder


def make_keypoint_model(folder: Path, **options: Any) -> tuple[KeypointModel, KeypointModelConfig]:
    """A model as a map carries it, and its extractor."""
    model = read_keypoint_model(write_keypoint_model(folder, **options))
    return model, keypoint_model_config(model)
