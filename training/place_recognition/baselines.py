"""What the student is compared with: a convolutional backbone pooled by GeM or by NetVLAD."""

from __future__ import annotations

import math

import faiss
import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.config import ConvolutionConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_STRIDE = 16
_ITERATIONS = 25
# of a local feature's soft assignment, what its second nearest centre gets of what the nearest gets
_SECOND = 0.01


class PooledEncoder(nn.Module):
    """A backbone up to stride 16, pooled to one descriptor.

    Attributes:
        size: height and width of the images that it is trained on, and exported for.
        dimension: of a descriptor.
    """

    def __init__(self, config: ConvolutionConfig, pooling: str) -> None:
        """With `gem` or `netvlad`."""
        super().__init__()
        self.size, self.pretrained_name = (config.size, config.size), config.backbone
        self.backbone = _features(config.backbone)
        channels = self.backbone.feature_info.channels()[-1]
        self.pool = Gem(config.power) if pooling == "gem" else NetVlad(config.clusters, channels)
        self.dimension = channels if pooling == "gem" else config.clusters * channels

    def local(self, images: Tensor) -> Tensor:
        """(B, C, h, w) local features of (B, 3, H, W) images."""
        return self.backbone(images)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return F.normalize(self.pool(self.local(images)).float(), dim=-1)


def _features(name: str) -> nn.Module:
    """A backbone of timm, up to the last stage of stride 16."""
    try:
        stages = timm.create_model(name, features_only=True).feature_info.reduction()
    except RuntimeError as error:
        raise InputError(f"timm has no backbone {name} with stages ({error}); see timm.list_models()") from error
    if _STRIDE not in stages:
        raise InputError(f"the backbone {name} has stages of stride {stages}, expected one of {_STRIDE}")
    return timm.create_model(name, features_only=True, out_indices=(stages.index(_STRIDE),))


class Gem(nn.Module):
    """Generalised mean over places (Radenović et al. 2019); its power is learned."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) of (B, C, h, w)."""
        return features.float().clamp(min=1e-6).pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)


class NetVlad(nn.Module):
    """Residuals to cluster centres, summed by soft assignment (Arandjelović et al. 2016)."""

    def __init__(self, clusters: int, channels: int) -> None:
        super().__init__()
        self.assigned = nn.Conv2d(channels, clusters, 1, bias=False)
        self.centres = nn.Parameter(F.normalize(torch.randn(clusters, channels), dim=1))

    def forward(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        """(B, K * C) of (B, C, h, w): normalised cluster by cluster.

        Args:
            features: local ones.
            counts: (B, 1, h, w) how much each counts; all alike where None.
        """
        features = F.normalize(features.to(self.centres.dtype), dim=1)
        shares = self.assigned(features).flatten(2).softmax(dim=1)
        if counts is not None:
            shares = shares * counts.flatten(2)
        sums = shares @ features.flatten(2).transpose(1, 2)
        residuals = sums - shares.sum(dim=2, keepdim=True) * self.centres
        return F.normalize(residuals, dim=2).flatten(1)

    @torch.no_grad()
    def start_from(self, features: Array, *, seed: int) -> None:
        """Set centres by k-means, and how sharply features are assigned to them, from (N, C) local features."""
        count, channels = self.centres.shape
        if len(features) < count:
            raise InputError(f"{len(features)} local features are too few for {count} clusters; use more images")
        looks = np.ascontiguousarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))
        looks = looks.astype(np.float32)
        kmeans = faiss.Kmeans(channels, count, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1, verbose=False)
        kmeans.train(looks)
        self.centres.copy_(torch.from_numpy(np.asarray(kmeans.centroids)))
        directions = F.normalize(self.centres, dim=1)
        likeness = np.sort(looks @ directions.cpu().numpy().T, axis=1)
        gap = max(float((likeness[:, -1] - likeness[:, -2]).mean()), 1e-6)
        self.assigned.weight.copy_((-math.log(_SECOND) / gap * directions)[:, :, None, None])
