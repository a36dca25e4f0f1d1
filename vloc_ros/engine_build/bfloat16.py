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

"""What bfloat16 loses, on a CPU without arithmetic of it."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

_FLOAT, _BFLOAT = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16


def emulate_bfloat16(graph: bytes) -> bytes:
    """A graph in float32 that rounds to bfloat16 wherever the given one, of `precision.to_bfloat16`, holds it.

    Products are summed in float32, as tensor cores do. ONNX Runtime's CPU has no more of bfloat16 than its casts.
    """
    model = onnx.load_from_string(graph)
    short = _widen_weights(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        casts = node.op_type == "Cast"
        if _target_of(node) == _BFLOAT if casts else not short.isdisjoint(node.input):
            short.update(node.output)
            nodes.extend(_round(node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _widen_weights(graph: onnx.GraphProto) -> set[str]:
    """Make weights float32, with their rounded values; their names."""
    widened = set()
    for item in graph.initializer:
        if item.data_type == _BFLOAT:
            widened.add(item.name)
            values = numpy_helper.to_array(item).astype("float32")
            item.CopyFrom(numpy_helper.from_array(values, item.name))
    return widened


def _target_of(cast: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")


def _round(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """What rounds the output of a node, which is float32 afterwards."""
    name = node.output[0]
    rounded, exact = f"{name}_rounded", f"{name}_exact"
    made = [helper.make_node("Cast", [rounded], [name], f"widen_{name}", to=_FLOAT)]
    node.output[0] = rounded if node.op_type == "Cast" else exact
    if node.op_type != "Cast":
        made.insert(0, helper.make_node("Cast", [exact], [rounded], f"round_{name}", to=_BFLOAT))
    return made
