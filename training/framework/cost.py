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

"""What a network costs: parameters and multiply-accumulates (MAC), counted on its modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """The cost of one call.

    Attributes:
        parameters: number of parameters.
        mac: multiply-accumulates of matrix products and convolutions, those of attention included.
        shapes: of the outputs.
    """

    parameters: int
    mac: float
    shapes: tuple[tuple[int, ...], ...]


@torch.no_grad()
def count_cost(network: nn.Module, inputs: tuple[Tensor, ...]) -> NetworkCost:
    """The cost of a network in evaluation mode for these arguments, which may be on the device `meta`."""
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as flops:
        outputs: Any = network(*inputs)
    network.train(training)
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    return NetworkCost(count_parameters(network), flops.get_total_flops() / 2, shapes)


def count_parameters(network: nn.Module) -> int:
    """The number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
