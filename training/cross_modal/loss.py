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

"""The symmetric contrastive loss of two modalities, where several records of a batch show one place."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(
    queries: Tensor, keys: Tensor, positive: Tensor, negative: Tensor, *, temperature: float
) -> Tensor:
    """Mean cross-entropy of the positives of each query, both ways (Radford et al. 2021; Khosla et al. 2020).

    Pairs that are neither positive nor negative are left out, as are queries without a positive.

    Args:
        queries: (B, D) of length 1.
        keys: (B, D) of length 1.
        positive: (B, B) bool, symmetric.
        negative: (B, B) bool, symmetric.
        temperature: of the softmax.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries.float() @ keys.float().T / temperature
    logits = logits.masked_fill(~(positive | negative), -torch.inf)
    return 0.5 * (_one_way(logits, positive) + _one_way(logits.T, positive))


def _one_way(logits: Tensor, positive: Tensor) -> Tensor:
    has = positive.any(dim=1)
    if not bool(has.any()):
        return logits.new_zeros(())
    likelihood = logits[has].log_softmax(dim=1).masked_fill(~positive[has], 0.0)
    return -(likelihood.sum(dim=1) / positive[has].sum(dim=1)).mean()
