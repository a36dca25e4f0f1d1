"""What training makes small: cross-entropy of coarse landmarks, and of fine ones among the true coarse one's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.recognition.batches import KeypointBatch
from training.recognition.model import RecognitionNetwork


class RecognitionLoss(nn.Module):
    """Cross-entropy in two steps, with background counting less (PRAM gives it 0.1)."""

    def __init__(self, parents: Tensor, *, background_weight: float) -> None:
        """For landmarks with these (L,) int64 parents."""
        super().__init__()
        coarse_count = int(parents.max()) + 1
        weights = torch.ones(coarse_count + 1)
        weights[-1] = background_weight
        self.register_buffer("weights", weights, persistent=False)
        # background, -1, wraps round to the last entry
        self.register_buffer("coarse_of", torch.cat([parents, torch.tensor([coarse_count])]), persistent=False)
        self.register_buffer("place_of", _place_among_children(parents), persistent=False)

    def forward(self, model: RecognitionNetwork, batch: KeypointBatch) -> tuple[Tensor, Tensor]:
        """The coarse and the fine part, means over keypoints."""
        tokens = model.encode(batch.rays, batch.descriptors, batch.mask)[batch.mask]
        landmarks = batch.landmarks[batch.mask]
        coarse = F.cross_entropy(model.coarse(tokens).float(), self.coarse_of[landmarks], weight=self.weights)
        shown = landmarks >= 0
        if not shown.any():
            return coarse, coarse * 0
        logits = model.fine_logits(tokens[shown], self.coarse_of[landmarks[shown]])
        return coarse, F.cross_entropy(logits, self.place_of[landmarks[shown]])


def _place_among_children(parents: Tensor) -> Tensor:
    """(L,) position of every fine landmark among the children of its parent, in their order."""
    order = torch.argsort(parents, stable=True)
    counts = torch.bincount(parents)
    firsts = torch.cumsum(counts, 0) - counts
    places = torch.empty_like(parents)
    places[order] = torch.arange(len(parents)) - firsts[parents[order]]
    return places
