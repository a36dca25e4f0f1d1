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

"""Precision as a step of its own: a graph whose heavy parts are float16 or int8, made of one in float32.

Inputs and outputs stay the same. What runs the graph, ONNX Runtime or TensorRT, keeps to its types.

float16 stays away from everything that float16 breaks: normalisations, softmax and sums, and all arithmetic of
positions and indices, where half a pixel at column 600 is one unit in the last place. int8 is symmetric with a scale
for each channel of the weights, as TensorRT demands; the first and the last convolution or product stay float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array

PRECISIONS = ("fp32", "fp16", "int8")
# products, which take nearly all of the time
_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# what may be float16 between them
_LIGHT = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Gelu", "Add"}
    | {"Mul", "MaxPool", "AveragePool", "Concat", "Resize", "DepthToSpace", "SpaceToDepth", "Pad", "Identity"}
)
# whatever is computed from these is positions, or too little to matter
_SELECTIONS = frozenset({"TopK", "NonZero", "ArgMax", "ArgMin"})
# what indices are made by
_TO_INDICES = frozenset({"Floor", "Ceil", "Round", *_SELECTIONS})
# which inputs have the type of the values, where it is not all
_FLOAT_INPUTS: dict[str, Sequence[int]] = {"Resize": (0,), "Pad": (0, 2)}
_LARGEST_HALF = float(np.finfo(np.float16).max)
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LEAST_CALIBRATION_IMAGES = 50


def to_float16(graph: bytes) -> bytes:
    """The graph with float16 weights and products, and float32 inputs and outputs.

    onnxruntime.transformers.float16 casts before and after every single node that it is told to leave alone, so that
    float32 arithmetic of positions goes through float16 after each step. Here a value keeps the type of the node that
    made it until a node of the other type takes it.

    Raises:
        ModelError: the graph has branches or loops.
    """
    model = _infer_shapes(onnx.load_from_string(graph))
    _name_nodes(model.graph)
    if any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        raise ModelError("the graph has branches or loops, expected none for fp16; use fp32")
    kept = keep_float32(model.graph)
    floats = _float_values(model.graph)
    _Casting(model.graph, choose_float16(model.graph, kept, floats), floats).apply()
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def _float_values(graph: onnx.GraphProto) -> set[str]:
    """Names of the float32 values, weights aside: shapes are integers, and computed by the same operators."""
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT}


class _Casting:
    """Moves nodes of a graph to float16, and casts where a value goes from one type to the other."""

    def __init__(self, graph: onnx.GraphProto, halves: Set[str], floats: Set[str]) -> None:
        self._graph, self._halves, self._floats = graph, halves, floats
        self._weights = {item.name: item for item in graph.initializer if item.data_type == _FLOAT}
        self._outputs = {value.name for value in graph.output}
        self._made_half: set[str] = set()
        self._cast: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def apply(self) -> None:
        """Rewrite the graph."""
        for node in list(self._graph.node):
            is_half = node.name in self._halves
            typed = _FLOAT_INPUTS.get(node.op_type, range(len(node.input)))
            for index, name in enumerate(node.input):
                if is_half and index in typed and name not in self._made_half:
                    node.input[index] = self._to_half(name)
                elif (not is_half or index not in typed) and name in self._made_half:
                    node.input[index] = self._to(name, _FLOAT)
            self._nodes.append(node)
            if is_half:
                self._rename_outputs(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._remove_unused_weights()

    def _remove_unused_weights(self) -> None:
        used = {name for node in self._nodes for name in node.input} | self._outputs
        weights = [item for item in self._graph.initializer if item.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(weights)

    def _rename_outputs(self, node: onnx.NodeProto) -> None:
        """Note that they are float16; those of the graph stay float32."""
        for index, name in enumerate(node.output):
            if name in self._outputs:
                node.output[index] = f"{name}_float16"
                self._nodes.append(_make_cast(f"{name}_float16", name, _FLOAT))
            self._made_half.add(node.output[index])

    def _to_half(self, name: str) -> str:
        if name in self._weights:
            weights = numpy_helper.to_array(self._weights[name])
            # a limit that stands for none stays finite
            half = np.clip(weights, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
            if (name, _HALF) not in self._cast:
                self._graph.initializer.append(numpy_helper.from_array(half, f"{name}_float16"))
                self._cast[name, _HALF] = f"{name}_float16"
            return self._cast[name, _HALF]
        return self._to(name, _HALF) if name in self._floats else name

    def _to(self, name: str, kind: int) -> str:
        if (name, kind) not in self._cast:
            target = self._cast[name, kind] = f"{name}_as_{'float16' if kind == _HALF else 'float32'}"
            self._nodes.append(_make_cast(name, target, kind))
        return self._cast[name, kind]


def _make_cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], f"cast_{target}", to=kind)


def choose_float16(graph: onnx.GraphProto, kept: Set[str], floats: Set[str]) -> set[str]:
    """Names of the nodes that become float16: products, and light ones that take a value of these.

    A light one that follows a sum or a normalisation, such as the limit of a length, stays float32.
    """
    halves: set[str] = set()
    made_half: set[str] = set()
    for node in graph.node:
        is_light = node.op_type in _LIGHT and not made_half.isdisjoint(node.input)
        if (node.op_type in _HEAVY or is_light) and node.name not in kept and floats >= set(node.output):
            halves.add(node.name)
            made_half.update(node.output)
    return halves


def keep_float32(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that stay float32: after a selection, and the light ones before one or before indices."""
    users: dict[str, list[onnx.NodeProto]] = {}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    starts = [node for node in graph.node if node.op_type in _SELECTIONS]
    kept = {node.name for node in _walk(starts, lambda node: (u for name in node.output for u in users.get(name, [])))}
    to_indices = [node for node in graph.node if node.op_type in _TO_INDICES or _casts_to_integer(node)]
    before = _walk(
        to_indices,
        lambda node: (m for name in node.input if (m := makers.get(name)) and m.op_type not in _HEAVY),
    )
    return kept | {node.name for node in before}


def _walk(starts: Iterable[onnx.NodeProto], neighbours: Any) -> Iterator[onnx.NodeProto]:
    """All nodes that are reached, the starts included."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        yield node
        waiting.extend(neighbours(node))


def _casts_to_integer(node: onnx.NodeProto) -> bool:
    integers = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    return node.op_type == "Cast" and any(a.name == "to" and a.i in integers for a in node.attribute)


class _Reader:
    """Inputs one after another, as onnxruntime.quantization reads them."""

    def __init__(self, samples: Iterable[Mapping[str, Array]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._samples, None)


def to_int8(graph: bytes, samples: Iterable[Mapping[str, Array]], *, count: int) -> bytes:
    """The graph with int8 products between Q/DQ nodes, its scales calibrated on samples.

    By onnxruntime.quantization: symmetric, int8 activations and weights, a scale for each channel of the weights.

    Args:
        graph: the ONNX file.
        samples: inputs by name.
        count: how many there are.

    Raises:
        InputError: there are fewer samples than a calibration needs, or the graph has nothing to quantise.
    """
    if count < LEAST_CALIBRATION_IMAGES:
        raise InputError(
            f"int8 is calibrated on {count} images, expected {LEAST_CALIBRATION_IMAGES} or more of the map's own; "
            "name a folder with more, or use fp16"
        )
    from onnxruntime import quantization

    model = onnx.load_from_string(graph)
    _name_nodes(model.graph)
    excluded = exclude_from_int8(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(_infer_shapes(model).SerializeToString())
        quantization.quantize_static(
            source,
            target,
            _Reader(samples),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=sorted(excluded),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            # TensorRT takes no int32 bias behind a DequantizeLinear
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return target.read_bytes()


def exclude_from_int8(graph: onnx.GraphProto) -> set[str]:
    """Names of the products that stay float32: without constant weights, after a selection, the first and the last.

    Raises:
        InputError: nothing is left to quantise.
    """
    constants = {item.name for item in graph.initializer}
    heavy = [node for node in graph.node if node.op_type in _HEAVY]
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def after(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        return (user for name in node.output for user in users.get(name, []))

    selections = [node for node in graph.node if node.op_type in _SELECTIONS]
    excluded = {node.name for node in _walk(selections, after)}
    excluded |= {node.name for node in heavy if not any(name in constants for name in node.input[1:2])}
    not_first = {n.name for node in heavy for n in _walk(list(after(node)), after) if n.op_type in _HEAVY}
    for node in heavy:
        is_last = not any(n.op_type in _HEAVY and n.name not in excluded for n in _walk(list(after(node)), after))
        if is_last or node.name not in not_first:
            excluded.add(node.name)
    if not {node.name for node in heavy} - excluded:
        raise InputError("the graph has no convolution or product between its first and last, expected some for int8; "
                         "use fp16")  # fmt: skip
    return excluded


def _name_nodes(graph: onnx.GraphProto) -> None:
    for index, node in enumerate(graph.node):
        node.name = node.name or f"node_{index}"


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(model)
