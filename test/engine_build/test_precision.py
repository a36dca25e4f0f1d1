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

"""float16 and int8 graphs: same inputs and outputs, positions untouched, only what TensorRT parses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import network_graph, network_inputs, network_manifest

from vloc_ros.core.errors import InputError
from vloc_ros.engine_build.bfloat16 import emulate_bfloat16
from vloc_ros.engine_build.loss import Loss, measure_loss
from vloc_ros.engine_build.matcher_samples import MOST_CALIBRATION, split_pairs
from vloc_ros.engine_build.precision import to_bfloat16, to_float16
from vloc_ros.engine_build.quantization import LEAST_SAMPLES, exclude_from_int8, find_quantizable, to_int8
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import Model


def run_graph(graph: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    return OnnxRuntime(Model(Path("small"), network_manifest(), graph), threads=1).run(inputs)


def measure(graph: bytes) -> Loss:
    engines = (
        OnnxRuntime(Model(Path("small"), network_manifest(), one), threads=1) for one in (network_graph(), graph)
    )
    return measure_loss("keypoints", *engines, [network_inputs(seed=seed) for seed in range(3)])


@pytest.fixture(scope="module")
def int8_graph() -> bytes:
    count = LEAST_SAMPLES
    return to_int8(network_graph(), (network_inputs(seed=seed) for seed in range(count)), count=count)


def test_float16_halves_products_and_leaves_positions() -> None:
    graph = to_float16(network_graph())
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    weights = {item.name: item.data_type for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert weights[node.input[1]] == TensorProto.FLOAT16
        if node.op_type in ("TopK", "Add", "ReduceL2"):
            assert kinds.get(node.input[0], TensorProto.FLOAT) == TensorProto.FLOAT
    assert all(v.type.tensor_type.elem_type == TensorProto.FLOAT for v in model.graph.output)
    # halves are not cast to and fro between products
    assert sum(node.op_type == "Cast" for node in model.graph.node) <= 6
    assert len(graph) < len(network_graph())
    loss = measure(graph)
    assert not loss.reasons
    assert loss.figures["median descriptor cosine"] > 0.9999


def test_positions_beyond_the_resolution_of_float16_stay_exact() -> None:
    """Above 1024 px float16 has whole pixels alone."""
    inputs = network_inputs(size=(32, 2048))
    ours, theirs = run_graph(network_graph(), inputs), run_graph(to_float16(network_graph()), inputs)
    assert ours["keypoints"][:, 0].max() > 1024
    assert (theirs["keypoints"] % 1 == 0.5).all()


def test_bfloat16_has_the_same_parts_as_float16_and_is_emulated() -> None:
    graphs = {kind: onnx.load_from_string(convert(network_graph())) for kind, convert in
              ((TensorProto.FLOAT16, to_float16), (TensorProto.BFLOAT16, to_bfloat16))}  # fmt: skip
    operators = [[node.op_type for node in model.graph.node] for model in graphs.values()]
    assert operators[0] == operators[1]
    counts = [sum(item.data_type == kind for item in model.graph.initializer) for kind, model in graphs.items()]
    assert counts[0] == counts[1] > 0
    emulated = emulate_bfloat16(to_bfloat16(network_graph()))
    assert TensorProto.BFLOAT16 not in {item.data_type for item in onnx.load_from_string(emulated).graph.initializer}
    cosine = measure(emulated).figures["median descriptor cosine"]
    assert 0.999 < cosine < measure(to_float16(network_graph())).figures["median descriptor cosine"]


def test_a_product_is_emulated_as_values_of_8_bits_summed_in_float32() -> None:
    weights = np.array([[1.0, 1 + 2**-7, 1 + 2**-8, 1 + 3 * 2**-8, 3e38]], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["raw"]), helper.make_node("Identity", ["raw"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    rounded = emulate_bfloat16(to_bfloat16(model.SerializeToString()))
    (found,) = onnxruntime.InferenceSession(rounded, providers=["CPUExecutionProvider"]).run(
        None, {"x": np.ones((1, 1), np.float32)}
    )
    # ties go to the even neighbour
    np.testing.assert_array_equal(found[0, :4], [1.0, 1 + 2**-7, 1.0, 1 + 2**-6])
    assert np.isfinite(found[0, 4])


def test_what_encodes_positions_stays_float32() -> None:
    """Half a turn at an angle of 1000 is lost in 16 bits."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weights"], ["angles"]), helper.make_node("Sin", ["angles"], ["y"])],
        "waves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        [numpy_helper.from_array(np.full((2, 4), 700, np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    typed = onnx.load_from_string(to_float16(model.SerializeToString()))
    assert [item.data_type for item in typed.graph.initializer] == [TensorProto.FLOAT]


def test_int8_is_symmetric_and_spares_the_first_and_last(int8_graph: bytes) -> None:
    model = onnx.load_from_string(int8_graph)
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    quantizing = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantizing
    for node in quantizing:
        assert arrays[node.input[2]].dtype == np.int8
        assert not arrays[node.input[2]].any()
    scales = [arrays[node.input[1]] for node in quantizing if "weights" in node.input[0]]
    assert {scale.shape for scale in scales} == {(8,)}  # one for each channel
    untouched = {node.input[1] for node in model.graph.node if node.op_type == "Conv"} & arrays.keys()
    assert untouched == {"first_weights", "score_weights"}
    assert measure(int8_graph).figures["median descriptor cosine"] > 0.98


def test_int8_wants_enough_images() -> None:
    with pytest.raises(InputError, match="calibrated on 49 samples, expected 50"):
        to_int8(network_graph(), [], count=49)


def test_a_matcher_is_calibrated_on_pairs_that_share_no_image_with_those_held_out() -> None:
    for count in (73, 3000):
        calibration, held_out = split_pairs(count)
        images, others = ({k + side for k in pairs for side in (0, 1)} for pairs in (calibration, held_out))
        assert not images & others
        assert LEAST_SAMPLES <= len(calibration) <= MOST_CALIBRATION
    assert max(calibration) > 2900


def test_nothing_between_the_first_and_the_last_is_no_int8() -> None:
    model = onnx.load_from_string(network_graph())
    for index, node in enumerate(model.graph.node):
        node.name = str(index)
        if node.op_type == "Conv" and node.input[1] in ("middle_weights", "dense_weights"):
            node.op_type = "Unknown"
    with pytest.raises(InputError, match="between its first and last"):
        exclude_from_int8(model.graph)
    assert not find_quantizable(model.SerializeToString())
    assert find_quantizable(network_graph())


def test_a_loss_that_is_too_much_is_not_recommended() -> None:
    loss = measure(network_graph(seed=1))
    assert len(loss.reasons) == 2
    assert str(loss).startswith("not recommended: keypoints in both is")
    assert not measure(network_graph()).reasons
