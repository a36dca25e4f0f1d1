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

"""The graph that TensorRT gets finds the same keypoints."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from keypoint_graphs import keypoint_graph
from small_networks import network_graph, network_inputs

from vloc_ros.core.errors import ModelError
from vloc_ros.engine_build.device_graph import input_shapes, make_device_graph
from vloc_ros.inference.tensorrt_engine import drop_padding

_CPU = ["CPUExecutionProvider"]


def test_it_finds_the_same_keypoints() -> None:
    """All rows of a fixed number, of which the padding is dropped on the host."""
    graph, inputs = network_graph(), network_inputs()
    # between two responses, so that there is padding
    inputs["min_score"] = np.full(1, 3.0, np.float32)
    ours = onnxruntime.InferenceSession(graph, providers=_CPU)
    expected = dict(zip([o.name for o in ours.get_outputs()], ours.run(None, inputs), strict=True))
    limit = inputs.pop("max_keypoints")
    theirs = onnxruntime.InferenceSession(make_device_graph(graph, keypoints=100), providers=_CPU)
    outputs = dict(zip([o.name for o in theirs.get_outputs()], theirs.run(None, inputs), strict=True))
    assert {len(array) for array in outputs.values()} == {100}
    found = drop_padding(outputs, int(limit[0]))
    assert 0 < len(expected["scores"]) < 100
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6)


def test_values_decide_no_size_and_bytes_are_cast_first() -> None:
    graph = make_device_graph(network_graph(), shapes={"image": (64, 96)}, keypoints=50)
    model = onnx.load_from_string(graph)
    assert input_shapes(graph) == {"image": [64, 96], "min_score": [1]}
    assert not {"NonZero"} & {node.op_type for node in model.graph.node}
    users = [node.op_type for node in model.graph.node if "image" in node.input]
    assert set(users) == {"Cast", "Shape"}


def test_the_number_of_keypoints_is_what_tensorrt_sorts() -> None:
    with pytest.raises(ModelError, match="expected 1 to 3840"):
        make_device_graph(network_graph(), keypoints=4000)


def test_a_selection_before_sorting_cannot_be_built() -> None:
    with pytest.raises(ModelError, match=r"NonZero .* use inference.engine onnx"):
        make_device_graph(keypoint_graph(), keypoints=100)


def test_a_shape_has_to_fit() -> None:
    with pytest.raises(ModelError, match=r"the shape of image is .* expected one that fits"):
        make_device_graph(network_graph(), shapes={"image": (64, 96, 3)}, keypoints=50)
    with pytest.raises(ModelError, match="expected one of the graph's inputs"):
        make_device_graph(network_graph(), shapes={"picture": (64, 96)}, keypoints=50)
