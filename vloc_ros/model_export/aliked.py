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

"""ALIKED: the network and, around it, the graph from an image to keypoints with descriptors.

Zhao, Wu, Chen, Chen, Xu, Li: "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE Transactions on Instrumentation and Measurement 72, 2023. Parameters have the names of the
published weights, in which batch normalisation is folded into the convolutions before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vloc_ros.model_export.deformable import DeformableConv2d
from vloc_ros.model_export.detection import clamp_indices, gather_patches, max_pool, select_strongest
from vloc_ros.model_export.sampling import normalize, sample_bilinear

NMS_RADIUS = 2
# of the pixels of each stage, relative to the image
_SCALES = (1, 2, 8, 32)
_TEMPERATURE = 0.1


class PlainBlock(nn.Module):
    """Two convolutions, SELU after each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, H, W) to (1, outputs, H, W)."""
        return F.selu(self.conv2(F.selu(self.conv1(x))))


class ResidualBlock(nn.Module):
    """Two convolutions beside one of single pixels; the two are deformable in the coarse stages."""

    def __init__(self, inputs: int, outputs: int, *, deformable: bool) -> None:
        super().__init__()
        if deformable:
            self.conv1: nn.Module = DeformableConv2d(inputs, outputs)
            self.conv2: nn.Module = DeformableConv2d(outputs, outputs)
        else:
            self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.downsample = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, H, W) to (1, outputs, H, W)."""
        return F.selu(self.conv2(F.selu(self.conv1(x))) + self.downsample(x))


class DescriptorHead(nn.Module):
    """Sparse deformable descriptor head: features at predicted positions around a keypoint, in a weighted sum."""

    def __init__(self, dimension: int, positions: int) -> None:
        super().__init__()
        count = 2 * positions
        self.offset_conv = nn.Sequential(nn.Conv2d(dimension, count, 3), nn.SELU(), nn.Conv2d(count, count, 1))
        self.sf_conv = nn.Conv2d(dimension, dimension, 1, bias=False)
        self.agg_weights = nn.Parameter(torch.zeros(positions, dimension, dimension))

    def offsets(self, patches: Tensor) -> Tensor:
        """Offsets (N, positions, 2), x y, in pixels from features (N, 3, 3, C) around the keypoints."""
        first, second = self.offset_conv[0], self.offset_conv[2]
        weight = first.weight.permute(0, 2, 3, 1).flatten(1)
        hidden = F.selu(F.linear(patches.flatten(1), weight, first.bias))
        return F.linear(hidden, second.weight.flatten(1), second.bias).unflatten(1, (2, -1)).transpose(1, 2)

    def aggregate(self, features: Tensor) -> Tensor:
        """Descriptors (N, C), not normalised, of features (N, positions, C)."""
        features = F.selu(F.linear(features, self.sf_conv.weight.flatten(1)))
        return features.flatten(1) @ self.agg_weights.flatten(0, 1)


class AlikedNetwork(nn.Module):
    """The convolutions of ALIKED: four stages at 1, 1/2, 1/8 and 1/32 of the image, and the head of the score map.

    Args:
        widths: channels of the stages.
        dimension: of a descriptor.
        positions: that a descriptor is made of.
    """

    def __init__(self, widths: tuple[int, int, int, int], *, dimension: int, positions: int) -> None:
        super().__init__()
        self.block1 = PlainBlock(3, widths[0])
        self.block2 = ResidualBlock(widths[0], widths[1], deformable=False)
        self.block3 = ResidualBlock(widths[1], widths[2], deformable=True)
        self.block4 = ResidualBlock(widths[2], widths[3], deformable=True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(width, dimension // 4, 1, bias=False) for width in widths
        )
        layers: list[nn.Module] = [nn.Conv2d(dimension, 8, 1, bias=False)]
        for inputs, outputs in ((8, 4), (4, 4), (4, 1)):
            layers += [nn.SELU(), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        self.score_head = nn.Sequential(*layers)
        self.desc_head = DescriptorHead(dimension, positions)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The score map and the features of the stages.

        The published network brings all stages to the size of the image, which takes most of its time and memory. The
        first convolution of the score head is of single pixels and commutes with linear interpolation, so that its
        few channels are interpolated instead; features are interpolated where a keypoint needs them.

        Args:
            image: (1, 3, H, W) RGB in [0, 1], H and W multiples of 32.

        Returns:
            score map (H, W) in [0, 1]; features (1, C/4, H/s, W/s) at the scales s = 1, 2, 8 and 32.
        """
        x1 = self.block1(image)
        x2 = self.block2(F.avg_pool2d(x1, 2))
        x3 = self.block3(F.avg_pool2d(x2, 4))
        x4 = self.block4(F.avg_pool2d(x3, 4))
        convolutions = (self.conv1, self.conv2, self.conv3, self.conv4)
        stages = [F.selu(conv(x)) for conv, x in zip(convolutions, (x1, x2, x3, x4), strict=True)]
        weights = self.score_head[0].weight.chunk(4, dim=1)
        parts = [F.conv2d(stage, weight) for stage, weight in zip(stages, weights, strict=True)]
        mixed = parts[0] + _enlarge(parts[1], 2) + _enlarge(parts[2], 8) + _enlarge(parts[3], 32)
        return torch.sigmoid(self.score_head[1:](mixed)).squeeze((0, 1)), stages


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)


class AlikedKeypoints(nn.Module):
    """From an RGB image to the strongest keypoints.

    Three things differ from the published code. Features are interpolated, each stage at its own size, and then
    normalised; there they are normalised at each pixel of the image and then interpolated. Non-maximum suppression is
    one pass of three. The score of a keypoint is that of its pixel, so that the order by score is exact.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], *, widths: tuple[int, int, int, int], dimension: int, positions: int = 16
    ) -> None:
        super().__init__()
        self.network = AlikedNetwork(widths, dimension=dimension, positions=positions)
        self.network.load_state_dict(fold_batch_norm(weights))
        self.eval()

    def forward(self, image: Tensor, max_keypoints: Tensor, min_score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints (N, 2) in COLMAP's convention, scores (N,) in descending order, descriptors (N, C).

        Args:
            image: (H, W, 3) uint8, H and W multiples of 32.
            max_keypoints: (1,) int64.
            min_score: (1,) float32.
        """
        score_map, stages = self.network(image.permute(2, 0, 1)[None].float() / 255)
        is_candidate = (score_map == max_pool(score_map, NMS_RADIUS)) & (score_map >= min_score)
        is_candidate = is_candidate & is_inside(score_map, NMS_RADIUS)
        scores, pixels = select_strongest(score_map, is_candidate, count=max_keypoints)
        positions = pixels + locate_peaks(gather_patches(score_map, pixels, radius=NMS_RADIUS))
        return positions + 0.5, scores, self._describe(stages, positions, score_map.shape)

    def _describe(self, stages: list[Tensor], positions: Tensor, size: tuple[int, int]) -> Tensor:
        """Descriptors (N, C) at positions (N, 2) in pixels, where integers are the centres of pixels."""
        steps = torch.arange(-1, 2)
        columns, rows = (positions.long()[:, :, None] + steps).unbind(1)
        rows, columns = clamp_indices(rows, size[0]), clamp_indices(columns, size[1])
        grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=3).float()
        patches = self._sample(stages, grid.reshape(-1, 2), size).reshape(-1, 3, 3, self._dimension)
        head = self.network.desc_head
        around = positions[:, None, :] + head.offsets(patches)
        features = self._sample(stages, around.reshape(-1, 2), size)
        return normalize(head.aggregate(features.reshape(-1, around.shape[1], self._dimension)))

    @property
    def _dimension(self) -> int:
        return self.network.desc_head.agg_weights.shape[2]

    def _sample(self, stages: list[Tensor], positions: Tensor, size: tuple[int, int]) -> Tensor:
        """Normalised features (M, C) at positions (M, 2) in pixels of the image."""
        sampled = []
        for stage in stages:
            features = stage.squeeze(0).permute(1, 2, 0)
            # the corner pixels of all stages lie on those of the image
            scales = [
                (of_stage - 1) / (of_image - 1) for of_stage, of_image in zip(features.shape[:2], size, strict=True)
            ]
            x, y = positions.unbind(1)
            sampled.append(sample_bilinear(features, torch.stack((x * scales[1], y * scales[0]), dim=1)))
        return normalize(torch.cat(sampled, dim=1))


def is_inside(score_map: Tensor, margin: int) -> Tensor:
    """Whether a pixel is at least so far from the border, (H, W) bool."""
    height, width = score_map.shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    inside = (rows >= margin) & (rows < height - margin)
    return inside & (columns >= margin) & (columns < width - margin)


def locate_peaks(patches: Tensor) -> Tensor:
    """Sub-pixel offsets (N, 2), x y: the soft argmax over patches (N, K, K) of the score map."""
    radius = patches.shape[1] // 2
    weights = torch.exp((patches - patches.amax(dim=(1, 2), keepdim=True)) / _TEMPERATURE)
    steps = torch.arange(-radius, radius + 1).float()
    sums = torch.stack((weights.sum(dim=1) @ steps, weights.sum(dim=2) @ steps), dim=1)
    return sums / weights.sum(dim=(1, 2))[:, None]


def fold_batch_norm(weights: Mapping[str, Tensor], *, epsilon: float = 1e-5) -> dict[str, Tensor]:
    """The weights without batch normalisation, which becomes scale and bias of the convolution before it."""
    folded = {name: value for name, value in weights.items() if ".bn" not in name}
    for name in [name for name in weights if name.endswith(".running_var")]:
        norm = name.removesuffix(".running_var")
        scale = weights[f"{norm}.weight"] / torch.sqrt(weights[name] + epsilon)
        conv = norm.replace(".bn", ".conv")
        if f"{conv}.weight" not in weights:
            conv += ".regular_conv"
        folded[f"{conv}.weight"] = weights[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{conv}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return folded
