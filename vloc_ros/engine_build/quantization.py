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

"""int8 as a step of its own: a graph with Q/DQ nodes around its products, made of one in float32.

It is symmetric with a scale for each channel of the weights, as TensorRT demands. The first and the last convolution or
product stay float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.engine_build.precision import HEAVY, SELECTIONS, infer_shapes, name_nodes, walk_nodes

LEAST_SAMPLES = 50


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
    if count < LEAST_SAMPLES:
        raise InputError(
            f"int8 is calibrated on {count} samples, expected {LEAST_SAMPLES} or more of the map's own; "
            "name a folder with more images, or use fp16"
        )
    from onnxruntime import quantization

    model = onnx.load_from_string(graph)
    name_nodes(model.graph)
    excluded = exclude_from_int8(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(infer_shapes(model).SerializeToString())
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


def find_quantizable(graph: bytes) -> set[str]:
    """Names of the products of a graph that int8 is for; empty where there are none."""
    model = onnx.load_from_string(graph)
    name_nodes(model.graph)
    return _products(model.graph) - _exclude(model.graph)


def exclude_from_int8(graph: onnx.GraphProto) -> set[str]:
    """Names of the products that stay float32: without constant weights, after a selection, the first and the last.

    Raises:
        InputError: nothing is left to quantise.
    """
    excluded = _exclude(graph)
    if not _products(graph) - excluded:
        raise InputError("the graph has no convolution or product between its first and last, expected some for int8; "
                         "use fp16")  # fmt: skip
    return excluded


def _products(graph: onnx.GraphProto) -> set[str]:
    return {node.name for node in graph.node if node.op_type in HEAVY}


def _exclude(graph: onnx.GraphProto) -> set[str]:
    constants = {item.name for item in graph.initializer}
    heavy = [node for node in graph.node if node.op_type in HEAVY]
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def after(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        return (user for name in node.output for user in users.get(name, []))

    selections = [node for node in graph.node if node.op_type in SELECTIONS]
    excluded = {node.name for node in walk_nodes(selections, after)}
    excluded |= {node.name for node in heavy if not any(name in constants for name in node.input[1:2])}
    not_first = {n.name for node in heavy for n in walk_nodes(list(after(node)), after) if n.op_type in HEAVY}
    for node in heavy:
        is_last = not any(n.op_type in HEAVY and n.name not in excluded for n in walk_nodes(list(after(node)), after))
        if is_last or node.name not in not_first:
            excluded.add(node.name)
    return excluded
