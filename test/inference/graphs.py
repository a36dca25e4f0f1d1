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

"""Tiny ONNX graphs for tests: a recogniser that copies its output from the descriptors, an encoder of coarse pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vloc_ros.inference.models import write_model

KEYS = (0x0123456789ABCDEF, -5, 7)
# two coarse landmarks of at most two fine ones; the second has only one
LANDMARKS = np.array([[0, 2], [1, -1]], np.int64)


def recognizer_graph() -> bytes:
    """`probabilities` are the descriptors' columns 0 to 3 as (N, 2, 2), `background` is column 4."""
    constants = {"shape": np.array([-1, 2, 2]), "kept": np.arange(4), "column": np.array(4), "given": LANDMARKS}
    nodes = [
        helper.make_node("Gather", ["descriptors", "kept"], ["first"], axis=1),
        helper.make_node("Reshape", ["first", "shape"], ["probabilities"]),
        helper.make_node("Gather", ["descriptors", "column"], ["column_4"], axis=1),
        helper.make_node("ReduceSum", ["rays", "axes"], ["summed"], keepdims=0),
        helper.make_node("Mul", ["summed", "zero"], ["nothing"]),
        helper.make_node("Add", ["column_4", "nothing"], ["background"]),
        helper.make_node("Identity", ["given"], ["landmarks"]),
        helper.make_node("ReduceSum", ["probabilities", "over"], ["coarse"], keepdims=0),
    ]
    constants |= {"axes": np.array([1]), "zero": np.array(0, np.float32), "over": np.array([0, 2])}
    graph = helper.make_graph(
        nodes,
        "recognizer",
        [_value("rays", ["n", 2]), _value("descriptors", ["n", 8])],
        [
            _value("background", ["n"]),
            helper.make_tensor_value_info("landmarks", TensorProto.INT64, [2, 2]),
            _value("probabilities", ["n", 2, 2]),
            _value("coarse", [2]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def recognizer_manifest(**changes: Any) -> dict[str, Any]:
    """The manifest that training writes for the graph above."""
    return {
        "kind": "recognizer",
        "inputs": {"rays": {}, "descriptors": {}},
        "outputs": {"background": {}, "landmarks": {}, "probabilities": {}, "coarse": {}},
        "keypoints": {"extractor": {"name": "rootsift"}, "convention": "rays", "max_keypoints": 512},
        "landmarks": {"keys": [f"{key & (1 << 64) - 1:016x}" for key in KEYS], "parents": [0, 1, 0]},
        **changes,
    }


def write_recognizer(folder: Path, **changes: Any) -> Path:
    """A model folder."""
    write_model(folder, recognizer_graph(), recognizer_manifest(**changes))
    return folder


ENCODER_SIZE = (48, 64)
ENCODER_DIMENSION = 48


def encoder_graph(
    *, normalised: bool = True, shift: float = 0.0, output: str = "descriptors", batch: int | str = "n"
) -> bytes:
    """The image in 6 x 8 grey pixels less their mean, as a vector of length 1: enough to distinguish places.

    Args:
        normalised: False skips the normalisation.
        shift: added to every pixel; it changes only the hash.
        output: name of the output.
        batch: images at a time, dynamic by default.
    """
    constants = {"channels": np.array([1]), "pixels": np.array([1]), "shift": np.array(shift, np.float32)}
    nodes = [
        helper.make_node("Add", ["images", "shift"], ["shifted"]),
        helper.make_node("ReduceMean", ["shifted", "channels"], ["grey"], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["coarse"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["coarse"], ["flat"], axis=1),
        helper.make_node("ReduceMean", ["flat", "pixels"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["flat", "mean"], ["contrast"]),
        helper.make_node("LpNormalization" if normalised else "Identity", ["contrast"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [_value("images", [batch, 3, *ENCODER_SIZE])],
        [_value(output, [batch, ENCODER_DIMENSION])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def encoder_manifest(**changes: Any) -> dict[str, Any]:
    """The manifest that training writes for the graph above."""
    return {
        "kind": "global descriptor",
        "inputs": {"images": {"dtype": "float32", "shape": ["N", 3, *ENCODER_SIZE]}},
        "outputs": {"descriptors": {"dtype": "float32", "shape": ["N", ENCODER_DIMENSION]}},
        "preprocessing": {
            "size": list(ENCODER_SIZE),
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "color": "rgb",
            "interpolation": "area",
            "scale": 255.0,
            "own": False,
        },
        **changes,
    }


def write_encoder(folder: Path, *, shift: float = 0.0, **changes: Any) -> Path:
    """A model folder; another `shift` makes another encoder."""
    write_model(folder, encoder_graph(shift=shift), encoder_manifest(**changes))
    return folder


def _value(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
