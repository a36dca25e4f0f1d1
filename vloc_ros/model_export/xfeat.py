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

"""XFeat: the network and, around it, the graph from an image to keypoints with descriptors.

Potje, Cadar, Araujo, Martins, Nascimento: "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024.
Parameters have the names of the published weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vloc_ros.model_export.detection import fit_peaks, gather_patches, max_pool, select_strongest
from vloc_ros.model_export.sampling import normalize, sample_bicubic, upsample

CELL = 8
DIMENSION = 64
NMS_RADIUS = 2
# of the published weights; refines the matches of another mode, which is not exported
_UNUSED = "fine_matcher."
_FIRST_OF_CELLS = "keypoint_head.0.layer.0.weight"
# of a 3x3 kernel at every other pixel, the 2x2 block that its first, second and third row lie in, and where in that
_BLOCKS_OF_KERNEL = ((0, 1), (1, 0), (1, 1))


class ConvUnit(nn.Module):
    """Convolution, batch normalisation without parameters, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if kernel % 2 else 0
        convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.layer = nn.Sequential(convolution, nn.BatchNorm2d(outputs, affine=False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        features: Tensor = self.layer(x)
        return features


class XFeatNetwork(nn.Module):
    """The convolutions of XFeat: a pyramid to 1/32 of the image, fused at 1/8, and a head that sees single cells."""

    def __init__(self) -> None:
        super().__init__()
        self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(ConvUnit(1, 4), ConvUnit(4, 8, stride=2), ConvUnit(8, 8), ConvUnit(8, 24, stride=2))
        self.block2 = nn.Sequential(ConvUnit(24, 24), ConvUnit(24, 24))
        self.block3 = nn.Sequential(ConvUnit(24, 64, stride=2), ConvUnit(64, 64), ConvUnit(64, 64, kernel=1))
        self.block4 = nn.Sequential(ConvUnit(64, 64, stride=2), ConvUnit(64, 64), ConvUnit(64, 64))
        self.block5 = nn.Sequential(
            ConvUnit(64, 128, stride=2), ConvUnit(128, 128), ConvUnit(128, 128), ConvUnit(128, 64, kernel=1)
        )
        self.block_fusion = nn.Sequential(ConvUnit(64, 64), ConvUnit(64, 64), nn.Conv2d(64, DIMENSION, 1))
        self.heatmap_head = nn.Sequential(
            ConvUnit(64, 64, kernel=1), ConvUnit(64, 64, kernel=1), nn.Conv2d(64, 1, 1), nn.Sigmoid()
        )
        self.keypoint_head = nn.Sequential(
            ConvUnit(1, 64, kernel=CELL, stride=CELL),
            ConvUnit(64, 64, kernel=1),
            ConvUnit(64, 64, kernel=1),
            nn.Conv2d(64, CELL * CELL + 1, 1),
        )

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the published weights.

        The published network moves the pixels of a cell into channels before it looks at them. A convolution with the
        stride of a cell does the same without copying the image. For the first two convolutions see `_into_blocks`.
        """
        kept = {name: value for name, value in weights.items() if not name.startswith(_UNUSED)}
        kept[_FIRST_OF_CELLS] = kept[_FIRST_OF_CELLS].reshape(64, 1, CELL, CELL)
        self.load_state_dict(kept)
        first, second, *others = self.block1
        self.block1 = nn.Sequential(_into_blocks(first.layer), _from_blocks(second.layer), *others)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The dense outputs for one image.

        Args:
            image: (1, 1, H, W) grey in [0, 1], H and W multiples of 32.

        Returns:
            (1, 64, H/8, W/8) descriptors, not normalised; (1, 65, H/8, W/8) logits: of a keypoint at each pixel of the
            cell, row by row, and of no keypoint; (1, 1, H/8, W/8) reliability in [0, 1].
        """
        image = F.instance_norm(image)
        x4 = self.block2(self.block1(image) + self.skip1(image))
        x8 = self.block3(x4)
        x16 = self.block4(x8)
        x32 = self.block5(x16)
        up16, up32 = (F.interpolate(x, scale_factor=s, mode="bilinear") for x, s in ((x16, 2.0), (x32, 4.0)))
        descriptors = self.block_fusion(x8 + up16 + up32)
        return descriptors, self.keypoint_head(image), self.heatmap_head(descriptors)


def _into_blocks(layer: nn.Sequential) -> nn.Sequential:
    """A 3x3 `ConvUnit` layer of stride 1 whose outputs at the four pixels of a 2x2 block become channels of one.

    ONNX Runtime computes channels by 8 or 16, however few there are. By blocks the first convolution of the network
    has 16 in place of 4, at a quarter of the pixels.

    Args:
        layer: of C channels; the result has 4 C, those of the upper left, upper right, lower left, lower right pixel.
    """
    convolution, normalization, activation = layer
    outputs, inputs = convolution.weight.shape[:2]
    weight = torch.zeros(2, 2, outputs, inputs, 4, 4)
    for row in range(2):
        for column in range(2):
            weight[row, column, :, :, row : row + 3, column : column + 3] = convolution.weight.detach()
    by_block = nn.Conv2d(inputs, 4 * outputs, 4, stride=2, padding=1, bias=False)
    by_block.weight = nn.Parameter(weight.reshape(4 * outputs, inputs, 4, 4))
    repeated = nn.BatchNorm2d(4 * outputs, affine=False)
    repeated.running_mean, repeated.running_var = (
        value.repeat(4) for value in (normalization.running_mean, normalization.running_var)
    )
    return nn.Sequential(by_block, repeated, activation)


def _from_blocks(layer: nn.Sequential) -> nn.Sequential:
    """A 3x3 `ConvUnit` layer of stride 2 whose input comes from `_into_blocks`.

    An output sees the block at its own place and the lower right parts of those before it.
    """
    convolution, normalization, activation = layer
    outputs, inputs = convolution.weight.shape[:2]
    weight = torch.zeros(outputs, 2, 2, inputs, 2, 2)
    for row, (block_row, inner_row) in enumerate(_BLOCKS_OF_KERNEL):
        for column, (block_column, inner_column) in enumerate(_BLOCKS_OF_KERNEL):
            weight[:, inner_row, inner_column, :, block_row, block_column] = convolution.weight.detach()[
                :, :, row, column
            ]
    by_block = nn.Conv2d(4 * inputs, outputs, 2, bias=False)
    by_block.weight = nn.Parameter(weight.reshape(outputs, 4 * inputs, 2, 2))
    return nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), by_block, normalization, activation)


class XFeatKeypoints(nn.Module):
    """From a grey image to the strongest keypoints: the published detection, with the geometry of pixel centres.

    The published code samples descriptors and reliability on a grid that stretches the image by W / (W - 1), and is up
    to half a pixel off at the borders. Here a cell k has its centre at 8 k + 4 pixels in COLMAP's convention.
    Descriptors are sampled at the sub-pixel position.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = XFeatNetwork()
        self.network.load(weights)
        self.eval()

    def forward(self, image: Tensor, max_keypoints: Tensor, min_score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints (N, 2) in COLMAP's convention, scores (N,) in descending order, descriptors (N, 64).

        Args:
            image: (H, W) uint8, H and W multiples of 32.
            max_keypoints: (1,) int64.
            min_score: (1,) float32.
        """
        dense, logits, reliability = self.network(image[None, None].float() / 255)
        heatmap = heatmap_from_logits(logits)
        score_map = heatmap * upsample(reliability.squeeze((0, 1)), CELL)
        is_candidate = (heatmap == max_pool(heatmap, NMS_RADIUS)) & (score_map >= min_score)
        scores, pixels = select_strongest(score_map, is_candidate, count=max_keypoints)
        keypoints = pixels + 0.5 + fit_peaks(gather_patches(heatmap, pixels, radius=1))
        # a cell k has its centre at 8 k + 4
        descriptors = sample_bicubic(normalize(dense.squeeze(0).permute(1, 2, 0)), keypoints / CELL - 0.5)
        return keypoints, scores, normalize(descriptors)


def heatmap_from_logits(logits: Tensor) -> Tensor:
    """Probability (H, W) of a keypoint at each pixel, from logits (1, 65, H/8, W/8)."""
    # step by step: ONNX Runtime's softmax over any but the last axis takes ten times as long
    weights = torch.exp(logits - logits.amax(dim=1, keepdim=True))
    probabilities = weights[:, : CELL * CELL] / weights.sum(dim=1, keepdim=True)
    return F.pixel_shuffle(probabilities, CELL).squeeze((0, 1))
