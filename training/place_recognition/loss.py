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

"""Losses of global descriptors: contrastive and listwise ones on the labels, and distillation from a teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.place_recognition.config import MiningConfig

_LEAST = 1e-12


def pairwise_distances(descriptors: Tensor) -> Tensor:
    """(B, B) distances between (B, D) descriptors of length 1; their gradient is finite at 0 too."""
    return (2 - 2 * _similarities(descriptors)).clamp(min=_LEAST).sqrt()


def contrastive_loss(descriptors: Tensor, share: Tensor, pairs: Tensor, *, margin: float) -> Tensor:
    """Contrastive loss weighted by overlap: ½ s d² + ½ (1 - s) max(0, m - d)², the mean over pairs.

    Its minimum is at d = (1 - s) m: the less two images overlap, the farther apart are their descriptors.

    Args:
        descriptors: (B, D) of length 1.
        share: (B, B) overlap s, 0 to 1.
        pairs: (B, B) bool, the pairs to average over.
        margin: m.
    """
    distances = pairwise_distances(descriptors.float())
    losses = 0.5 * share * distances**2 + 0.5 * (1 - share) * (margin - distances).clamp(min=0) ** 2
    return (losses * pairs).sum() / pairs.sum().clamp(min=1)


def select_pairs(
    descriptors: Tensor, positive: Tensor, apart: Tensor, config: MiningConfig, generator: torch.Generator
) -> Tensor:
    """(B, B) bool: every positive pair, and some negatives of every image, the nearest or random ones.

    Pairs that overlap a little are neither.

    Args:
        descriptors: (B, D) of length 1.
        positive: (B, B) bool, whether both show one place.
        apart: (B, B) bool, candidates for negatives.
        config: how many negatives, and how they are selected.
        generator: draws random negatives; on the CPU.
    """
    itself = torch.eye(len(positive), dtype=torch.bool, device=positive.device)
    positive, negative = positive & ~itself, apart & ~itself
    order = pairwise_distances(descriptors.detach().float())
    if config.negative_selection == "random":
        order = torch.rand(order.shape, generator=generator).to(order.device)
    order = order.masked_fill(~negative, float("inf"))
    nearest = order.argsort(dim=1, stable=True)[:, : config.hardest]
    chosen = torch.zeros_like(negative).scatter(1, nearest, value=True)
    return positive | (chosen & negative)


def listwise_loss(descriptors: Tensor, share: Tensor, *, sigma: float) -> Tensor:
    """Listwise ranking loss: KL(overlaps ‖ descriptors), the mean over images.

    As `distillation_loss`, with an image's overlaps, normalised to sum 1, in the teacher's place. An image without
    overlaps adds 0. It sets the ranking where `contrastive_loss` sets distances, and converges faster.

    Args:
        descriptors: (B, D) of length 1.
        share: (B, B) overlaps, 0 to 1.
        sigma: width of the kernel.
    """
    others = _drop_diagonal(share)
    wanted = others / others.sum(dim=1, keepdim=True).clamp(min=_LEAST)
    found = _likelihoods(descriptors.float(), sigma)
    return (torch.xlogy(wanted, wanted) - wanted * found).sum() / len(descriptors)


def distillation_loss(student: Tensor, teacher: Tensor, *, sigma: float) -> Tensor:
    """Distillation of neighbourhoods: KL(teacher ‖ student), the mean over images.

    Each image has a distribution over the others of its batch, p(j | i) ∝ exp(-‖e_i - e_j‖² / 2 sigma²); probabilistic
    knowledge transfer (Passalis and Tefas 2018).

    Args:
        student: (B, D) descriptors of length 1.
        teacher: (B, E) descriptors of length 1.
        sigma: width of the kernel.
    """
    ours, theirs = (_likelihoods(descriptors.float(), sigma) for descriptors in (student, teacher))
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) / len(student)


def patch_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Distillation of patch weights: KL(teacher ‖ student) of weights normalised per image, the mean over images.

    A form of attention transfer (Zagoruyko and Komodakis 2017): the teacher sees where there is stable structure. The
    sum of an image's weights is irrelevant, since residuals are normalised.

    Args:
        student: (B, P) logits of the patches.
        teacher: (B, P) logits of the patches.
    """
    ours, theirs = (F.logsigmoid(logits.float()).log_softmax(dim=1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _likelihoods(descriptors: Tensor, sigma: float) -> Tensor:
    """(B, B - 1) log p(j | i)."""
    return _drop_diagonal((2 * _similarities(descriptors) - 2) / (2 * sigma**2)).log_softmax(dim=1)


def _similarities(descriptors: Tensor) -> Tensor:
    """(B, B) products without autocast: half precision is too coarse for near neighbours."""
    with torch.autocast(descriptors.device.type, enabled=False):
        return descriptors @ descriptors.T


def _drop_diagonal(pairs: Tensor) -> Tensor:
    """(B, B - 1) from (B, B): without the diagonal."""
    count = len(pairs)
    return pairs[~torch.eye(count, dtype=torch.bool, device=pairs.device)].view(count, count - 1)
