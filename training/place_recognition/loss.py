"""What training makes small: distances that contradict the labels, and a student that contradicts its teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.place_recognition.config import MiningConfig

_LEAST = 1e-12


def distances(descriptors: Tensor) -> Tensor:
    """(B, B) distances between (B, D) descriptors of length 1; their gradient is finite at 0 too."""
    return (2 - 2 * _likeness(descriptors)).clamp(min=_LEAST).sqrt()


def contrastive(descriptors: Tensor, share: Tensor, counted: Tensor, *, margin: float) -> Tensor:
    """Contrastive loss weighted by what images share: ½ s d² + ½ (1 - s) max(0, m - d)², the mean over pairs.

    It is least where d = (1 - s) m: images that share less are to lie farther apart.

    Args:
        descriptors: (B, D) of length 1.
        share: (B, B) s, 0 to 1.
        counted: (B, B) bool, the pairs to count.
        margin: m.
    """
    apart = distances(descriptors.float())
    pairs = 0.5 * share * apart**2 + 0.5 * (1 - share) * (margin - apart).clamp(min=0) ** 2
    return (pairs * counted).sum() / counted.sum().clamp(min=1)


def counted_pairs(
    descriptors: Tensor, shared: Tensor, apart: Tensor, config: MiningConfig, generator: torch.Generator
) -> Tensor:
    """(B, B) bool: every positive pair, and some negatives of every image: the nearest ones, or any.

    Pairs that share a few points only are neither.

    Args:
        descriptors: (B, D) of length 1.
        shared: (B, B) points that both see.
        apart: (B, B) bool, may be negatives.
        config: how many, and which.
        generator: where any will do, draws them; on the CPU.
    """
    itself = torch.eye(len(shared), dtype=torch.bool, device=shared.device)
    positive, negative = (shared >= config.min_shared) & ~itself, apart & ~itself
    order = distances(descriptors.detach().float())
    if config.negatives_are == "random":
        order = torch.rand(order.shape, generator=generator).to(order.device)
    order = order.masked_fill(~negative, float("inf"))
    nearest = order.argsort(dim=1, stable=True)[:, : config.hardest]
    chosen = torch.zeros_like(negative).scatter(1, nearest, value=True)
    return positive | (chosen & negative)


def listed(descriptors: Tensor, share: Tensor, *, sigma: float) -> Tensor:
    """How otherwise descriptors say who is near whom than who shares much with whom: KL(shares ‖ descriptors).

    As `transfer`, with an image's shares of the others, made one together, in the teacher's place; the mean over
    images, of which those that share nothing add 0. It ranks where `contrastive` sets distances, and learns sooner.

    Args:
        descriptors: (B, D) of length 1.
        share: (B, B) what images share, 0 to 1.
        sigma: width of the kernel.
    """
    others = _others(share)
    wanted = others / others.sum(dim=1, keepdim=True).clamp(min=_LEAST)
    found = _likelihoods(descriptors.float(), sigma)
    return (torch.xlogy(wanted, wanted) - wanted * found).sum() / len(descriptors)


def distillation_loss(student: Tensor, teacher: Tensor, *, sigma: float) -> Tensor:
    """How otherwise the student sees who is near whom: KL(teacher ‖ student), the mean over images.

    Each image has a distribution over the others of its batch, p(j | i) ∝ exp(-‖e_i - e_j‖² / 2 sigma²); Passalis and
    Tefas (2018) transfer such probabilities.

    Args:
        student: (B, D) descriptors of length 1.
        teacher: (B, E) the teacher's.
        sigma: width of the kernel.
    """
    ours, theirs = (_likelihoods(descriptors.float(), sigma) for descriptors in (student, teacher))
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) / len(student)


def patch_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How otherwise the student weights patches: KL(teacher ‖ student) of their shares, the mean over images.

    Zagoruyko and Komodakis (2017) transfer where a teacher looks, too; ours knows where there is structure to be found
    again. How much all patches of an image count says nothing: residuals are normalised.

    Args:
        student: (B, P) logits of every patch.
        teacher: (B, P) logits.
    """
    ours, theirs = (F.logsigmoid(logits.float()).log_softmax(dim=1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _likelihoods(descriptors: Tensor, sigma: float) -> Tensor:
    """(B, B - 1) log p(j | i)."""
    return _others((2 * _likeness(descriptors) - 2) / (2 * sigma**2)).log_softmax(dim=1)


def _likeness(descriptors: Tensor) -> Tensor:
    """(B, B) products, as precise as they are given whatever the precision of the training: neighbours lie close."""
    with torch.autocast(descriptors.device.type, enabled=False):
        return descriptors @ descriptors.T


def _others(pairs: Tensor) -> Tensor:
    """(B, B - 1) of (B, B): without the diagonal."""
    count = len(pairs)
    return pairs[~torch.eye(count, dtype=torch.bool, device=pairs.device)].view(count, count - 1)
