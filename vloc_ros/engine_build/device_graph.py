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

"""The ONNX graph that TensorRT builds an engine of, made of a model's own.

TensorRT takes no uint8 tensor beyond a cast, no output whose size depends on values, and no number of keypoints that is
an input. So the number becomes a constant, and keypoints that a model would leave out stay, with a score of zero:
`vloc_ros.inference.keypoints` drops them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from vloc_ros.core.errors import ModelError

Shape = tuple[int, ...]

COUNT_INPUT, SCORES_OUTPUT = "max_keypoints", "scores"
# of TensorRT's TopK
_MOST_KEYPOINTS = 3840
_FEWEST_OPSET = 17


def make_device_graph(graph: bytes, *, shapes: Mapping[str, Shape] | None = None, keypoints: int = 0) -> bytes:
    """A graph of the same inputs, without `max_keypoints`, and of the same outputs.

    Args:
        graph: the ONNX file, weights inside.
        shapes: of inputs that become fixed; the others stay dynamic.
        keypoints: number of rows of every output that had as many as keypoints were found; 0 where there is no
            `max_keypoints`.

    Raises:
        ModelError: the graph has an operator that cannot be replaced, or an input cannot have a shape.
    """
    model = onnx.load_from_string(graph)
    if (opset := next(item.version for item in model.opset_import if not item.domain)) < _FEWEST_OPSET:
        raise ModelError(f"the graph has opset {opset}, expected {_FEWEST_OPSET} or newer; export the model again")
    if COUNT_INPUT in {value.name for value in model.graph.input}:
        _fix_keypoint_count(model.graph, keypoints)
    for name, shape in (shapes or {}).items():
        _fix_shape(model.graph, name, shape)
    _cast_byte_inputs(model.graph)
    _forget_shapes(model.graph)
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    return bytes(inferred.SerializeToString())


def input_shapes(graph: bytes) -> dict[str, list[int | None]]:
    """The shape of each input, None for a dynamic size."""
    values = onnx.load_from_string(graph).graph.input
    return {value.name: [_size(dim) for dim in value.type.tensor_type.shape.dim] for value in values}


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") else None


def _fix_keypoint_count(graph: onnx.GraphProto, count: int) -> None:
    """Replace the input by a constant, the K of every TopK by it, and the rows that are not zero by all rows."""
    if not 1 <= count <= _MOST_KEYPOINTS:
        raise ModelError(f"the number of keypoints is {count}, expected 1 to {_MOST_KEYPOINTS}, what TensorRT can sort")
    given = next(value for value in graph.input if value.name == COUNT_INPUT)
    graph.input.remove(given)
    graph.initializer.append(numpy_helper.from_array(np.array([count], np.int64), COUNT_INPUT))
    constants = {item.name for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "TopK" and (node.input[1] not in constants or node.input[1] == COUNT_INPUT):
            node.input[1] = COUNT_INPUT
    for node in [node for node in graph.node if node.op_type == "NonZero"]:
        if not _is_of_sorted_scores(node.input[0], makers):
            raise ModelError(
                f"the graph's NonZero {node.name!r} is of something else than sorted scores, which TensorRT cannot "
                "run; use inference.engine onnx for this model"
            )
        rows = numpy_helper.from_array(np.arange(count, dtype=np.int64)[None], node.output[0])
        graph.initializer.append(rows)
        graph.node.remove(node)
        _clear_scores(graph, node.input[0])


def _clear_scores(graph: onnx.GraphProto, mask: str) -> None:
    """Make the output `scores` zero where a mask of its rows is false."""
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == SCORES_OUTPUT:
                node.output[index] = f"{SCORES_OUTPUT}_of_all"
        for index, name in enumerate(node.input):
            if name == SCORES_OUTPUT:
                node.input[index] = f"{SCORES_OUTPUT}_of_all"
    as_float = f"{mask}_as_float"
    graph.node.extend(
        [
            helper.make_node("Cast", [mask], [as_float], f"cast_{mask}", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{SCORES_OUTPUT}_of_all", as_float], [SCORES_OUTPUT], "clear_scores"),
        ]
    )


def _is_of_sorted_scores(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a mask is a comparison of the values of a TopK, so that it is true for the first rows."""
    comparison = makers.get(name)
    if comparison is None or comparison.op_type not in ("Greater", "GreaterOrEqual"):
        return False
    compared = comparison.input[0]
    while (maker := makers.get(compared)) is not None and maker.op_type == "Cast":
        compared = maker.input[0]
    return maker is not None and maker.op_type == "TopK" and maker.output[0] == compared


def _fix_shape(graph: onnx.GraphProto, name: str, shape: Sequence[int]) -> None:
    given = next((value for value in graph.input if value.name == name), None)
    if given is None:
        names = ", ".join(value.name for value in graph.input)
        raise ModelError(f"the shape of {name} is given, expected one of the graph's inputs {names}")
    dims = given.type.tensor_type.shape.dim
    if len(dims) != len(shape) or any(dim.dim_value not in (0, size) for dim, size in zip(dims, shape, strict=True)):
        declared = [dim.dim_param or dim.dim_value for dim in dims]
        raise ModelError(f"the shape of {name} is {list(shape)}, expected one that fits {declared}")
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size


def _cast_byte_inputs(graph: onnx.GraphProto) -> None:
    """Cast uint8 inputs first of all: values up to 255 are exact in float32."""
    casts = []
    for value in graph.input:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        cast_name = f"{value.name}_as_float"
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name == value.name and node.op_type != "Shape":
                    node.input[index] = cast_name
        casts.append(helper.make_node("Cast", [value.name], [cast_name], f"cast_{value.name}", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Remove inferred types, and the sizes of outputs: both may have changed."""
    del graph.value_info[:]
    for value in graph.output:
        dims = value.type.tensor_type.shape.dim
        for dim in dims:
            if dim.HasField("dim_param"):
                dim.ClearField("dim_param")
