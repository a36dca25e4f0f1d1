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

"""Precision as a step of its own: a graph whose heavy parts are float16 or bfloat16, made of one in float32.

Inputs and outputs stay the same. What runs the graph, ONNX Runtime or TensorRT, keeps to its types.

Both stay away from everything that 16 bits break: normalisations, softmax and sums, and all arithmetic of positions and
indices, where half a pixel at column 600 is one unit in the last place of float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array

# products, which take nearly all of the time
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# what may be float16 between them
_LIGHT = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Gelu", "Add"}
    | {"Mul", "MaxPool", "AveragePool", "Concat", "Resize", "DepthToSpace", "SpaceToDepth", "Pad", "Identity"}
)
# whatever is computed from these is positions, or too little to matter
SELECTIONS = frozenset({"TopK", "NonZero", "ArgMax", "ArgMin"})
# what indices are made by
_TO_INDICES = frozenset({"Floor", "Ceil", "Round", *SELECTIONS})
# which inputs have the type of the values, where it is not all
_FLOAT_INPUTS: dict[str, Sequence[int]] = {"Resize": (0,), "Pad": (0, 2)}
_FLOAT, _HALF, _BFLOAT = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
_NAMES: dict[int, str] = {_FLOAT: "float32", _HALF: "float16", _BFLOAT: "bfloat16"}
_LARGEST: dict[int, float] = {_HALF: float(np.finfo(np.float16).max), _BFLOAT: float.fromhex("0x1.fep127")}


def to_float16(graph: bytes) -> bytes:
    """The graph with float16 weights and products, and float32 inputs and outputs; see `to_bfloat16`.

    Raises:
        ModelError: the graph has branches or loops.
    """
    return _to_16_bits(graph, _HALF)


def to_bfloat16(graph: bytes) -> bytes:
    """The graph with bfloat16 weights and products: the range of float32 with 8 bits of mantissa.

    ONNX Runtime's CPU has no arithmetic of it: `bfloat16.emulate_bfloat16` makes what it runs.

    Raises:
        ModelError: the graph has branches or loops.
    """
    return _to_16_bits(graph, _BFLOAT)


def _to_16_bits(graph: bytes, kind: int) -> bytes:
    """The graph with weights and products of a type of 16 bits, and float32 inputs and outputs.

    onnxruntime.transformers.float16 casts before and after every single node that it is told to leave alone, so that
    float32 arithmetic of positions goes through float16 after each step. Here a value keeps the type of the node that
    made it until a node of the other type takes it.
    """
    model = infer_shapes(onnx.load_from_string(graph))
    name_nodes(model.graph)
    if any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        raise ModelError("the graph has branches or loops, expected none for 16 bits; use fp32")
    kept = keep_float32(model.graph)
    floats = _float_values(model.graph)
    _Casting(model.graph, choose_short(model.graph, kept, floats), floats, kind).apply()
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def _float_values(graph: onnx.GraphProto) -> set[str]:
    """Names of the float32 values, weights aside: shapes are integers, and computed by the same operators."""
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT}


class _Casting:
    """Moves nodes of a graph to a type of 16 bits, and casts where a value goes from one type to the other."""

    def __init__(self, graph: onnx.GraphProto, short: Set[str], floats: Set[str], kind: int) -> None:
        self._graph, self._short, self._floats, self._kind = graph, short, floats, kind
        self._weights = {item.name: item for item in graph.initializer if item.data_type == _FLOAT}
        self._outputs = {value.name for value in graph.output}
        self._made_short: set[str] = set()
        self._cast: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def apply(self) -> None:
        """Rewrite the graph."""
        for node in list(self._graph.node):
            is_short = node.name in self._short
            typed = _FLOAT_INPUTS.get(node.op_type, range(len(node.input)))
            for index, name in enumerate(node.input):
                if is_short and index in typed and name not in self._made_short:
                    node.input[index] = self._to_short(name)
                elif (not is_short or index not in typed) and name in self._made_short:
                    node.input[index] = self._to(name, _FLOAT)
            self._nodes.append(node)
            if is_short:
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
        """Note that they have 16 bits; those of the graph stay float32."""
        for index, name in enumerate(node.output):
            if name in self._outputs:
                node.output[index] = f"{name}_{_NAMES[self._kind]}"
                self._nodes.append(_make_cast(node.output[index], name, _FLOAT))
            self._made_short.add(node.output[index])

    def _to_short(self, name: str) -> str:
        if name not in self._weights:
            return self._to(name, self._kind) if name in self._floats else name
        if (name, self._kind) not in self._cast:
            target = self._cast[name, self._kind] = f"{name}_{_NAMES[self._kind]}"
            weights = numpy_helper.to_array(self._weights[name])
            # a limit that stands for none stays finite
            limited = np.clip(weights, -_LARGEST[self._kind], _LARGEST[self._kind])
            data = _SHORTENERS[self._kind](limited).tobytes()
            self._graph.initializer.append(helper.make_tensor(target, self._kind, weights.shape, data, raw=True))
        return self._cast[name, self._kind]

    def _to(self, name: str, kind: int) -> str:
        if (name, kind) not in self._cast:
            target = self._cast[name, kind] = f"{name}_as_{_NAMES[kind]}"
            self._nodes.append(_make_cast(name, target, kind))
        return self._cast[name, kind]


def _round_to_bfloat16(values: Array) -> Array:
    """The upper halves of float32 values, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


_SHORTENERS: dict[int, Callable[[Array], Array]] = {
    _HALF: lambda values: values.astype(np.float16),
    _BFLOAT: _round_to_bfloat16,
}


def _make_cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=kind)


def choose_short(graph: onnx.GraphProto, kept: Set[str], floats: Set[str]) -> set[str]:
    """Names of the nodes that get 16 bits: products, and light ones that take a value of these.

    A light one that follows a sum or a normalisation, such as the limit of a length, stays float32.
    """
    short: set[str] = set()
    made_short: set[str] = set()
    for node in graph.node:
        is_light = node.op_type in _LIGHT and not made_short.isdisjoint(node.input)
        if (node.op_type in HEAVY or is_light) and node.name not in kept and floats >= set(node.output):
            short.add(node.name)
            made_short.update(node.output)
    return short


def keep_float32(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that stay float32.

    They are those after a selection, the light ones before one or before indices, and all before a sine or cosine,
    which encode positions.
    """
    users: dict[str, list[onnx.NodeProto]] = {}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    starts = [node for node in graph.node if node.op_type in SELECTIONS]
    after = walk_nodes(starts, lambda node: (user for name in node.output for user in users.get(name, [])))
    waves = [node for node in graph.node if node.op_type in ("Sin", "Cos")]
    before_waves = walk_nodes(waves, lambda node: (makers[name] for name in node.input if name in makers))
    to_indices = [node for node in graph.node if node.op_type in _TO_INDICES or _casts_to_integer(node)]
    before = walk_nodes(
        to_indices,
        lambda node: (m for name in node.input if (m := makers.get(name)) and m.op_type not in HEAVY),
    )
    return {node.name for nodes in (after, before, before_waves) for node in nodes}


def walk_nodes(starts: Iterable[onnx.NodeProto], neighbours: Any) -> Iterator[onnx.NodeProto]:
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


def name_nodes(graph: onnx.GraphProto) -> None:
    """Name the nodes that have no name."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"node_{index}"


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the types and shapes of its values."""
    return onnx.shape_inference.infer_shapes(model)
