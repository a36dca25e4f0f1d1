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

"""Losses of pairs of views, by how much of the ground they share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.place_recognition.geolocalization.losses import triplet_loss


def overlap_contrastive_loss(
    queries: Tensor,
    gallery: Tensor,
    overlap: Tensor,
    *,
    scale: Tensor,
    min_overlap: float,
    max_negative: float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018) with several positives, weighted by their overlap.

    The targets of a query are its overlaps, normalised to sum 1, as in listwise ranking; likewise those of a view of
    the gallery. Pairs that overlap less than positives do, and more than negatives, are neither.

    Args:
        queries: (Q, D) of length 1.
        gallery: (G, D) of length 1.
        overlap: (Q, G) 0 to 1.
        scale: inverse temperature.
        min_overlap: of positives.
        max_negative: largest overlap of negatives.
        smoothing: share of the targets that is spread over all that is compared.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = scale.float() * queries.float() @ gallery.float().T
    positive = overlap >= max(min_overlap, 1e-6)
    logits = logits.masked_fill((overlap > max_negative) & ~positive, -torch.inf)
    wanted = overlap * positive
    return (_cross_entropy(logits, wanted, smoothing) + _cross_entropy(logits.T, wanted.T, smoothing)) / 2


def _cross_entropy(logits: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
    """The mean over the rows that have a positive; 0 of none."""
    total = wanted.sum(dim=1, keepdim=True)
    compared = torch.isfinite(logits)
    spread = compared / compared.sum(dim=1, keepdim=True).clamp(min=1)
    targets = (1 - smoothing) * wanted / total.clamp(min=1e-6) + smoothing * spread
    # of what is left out the target is 0 and the logarithm infinite
    log_shares = logits.log_softmax(dim=1).masked_fill(~compared, 0.0)
    losses = -(targets * log_shares).sum(dim=1)
    has = total[:, 0] > 0
    return (losses * has).sum() / has.sum().clamp(min=1)


def hardest_triplet_loss(queries: Tensor, gallery: Tensor, overlap: Tensor, *, margin: float) -> Tensor:
    """Triplet margin loss of each pair and its hardest negative of the batch, both ways; 0 without negatives.

    Args:
        queries: (P, D) of length 1.
        gallery: (P, D) of length 1, of which row i shows what query i shows.
        overlap: (P, P) 0 to 1; only views that share nothing are negatives.
        margin: of the distances.
    """
    losses = []
    for ours, theirs, shared in ((queries, gallery, overlap), (gallery, queries, overlap.T)):
        negative = shared == 0
        some = negative.any(dim=1)
        if some.any():
            similarity = (ours.detach().float() @ theirs.detach().float().T).masked_fill(~negative, -torch.inf)
            hardest = similarity.argmax(dim=1)
            tuples = torch.stack([ours, theirs, theirs[hardest]], dim=1)[some]
            losses.append(triplet_loss(tuples.flatten(0, 1), len(tuples), margin=margin))
    return torch.stack(losses).mean() if losses else queries.sum() * 0.0


def cosine_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of projected descriptors and the teacher's, the mean over images.

    Args:
        student: (B, E) of any length.
        teacher: (B, E) of any length.
    """
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean()
