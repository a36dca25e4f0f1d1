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

"""EfficientNet-Lite0 and, over its features, generalised mean pooling: a global descriptor that needs no training.

Tan and Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite is its variant
without squeeze-and-excitation, with ReLU6. GeM: Radenović, Tolias, Chum: "Fine-tuning CNN Image Retrieval with No Human
Annotation", 2019. Parameters have the names of the published weights, which were trained on ImageNet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

# expansion, kernel, stride, channels, blocks of each stage
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _STEM_STRIDE, _EPSILON = 32, 2, 1e-3
STRIDE = 32
POWER = 3.0


class MobileBlock(nn.Module):
    """An inverted residual (Sandler et al. 2018): expansion, depthwise convolution, projection."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden, self.expands, self.adds = inputs * expansion, expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        found: Tensor = self._bn2(self._project_conv(hidden))
        return found + x if self.adds else found


class SameConv(nn.Conv2d):
    """A convolution that is padded as TensorFlow does it: of an odd number of zeros, one more at the right and below.

    For sizes that are multiples of the stride, as all here are.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self._around = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return super().forward(F.pad(x, self._around))


class EfficientNetLite0(nn.Module):
    """The features of EfficientNet-Lite0 at a stride of 32, or of its stages up to a smaller stride.

    Attributes:
        channels: of the features.
    """

    def __init__(self, stride: int = STRIDE) -> None:
        """Of random weights; the stride is a power of 2, from 2 to 32."""
        super().__init__()
        self._conv_stem = SameConv(3, _STEM, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        blocks, inputs = list[nn.Module](), _STEM
        for expansion, kernel, outputs, steps in _stages_up_to(stride):
            for step in steps:
                blocks.append(MobileBlock(inputs, outputs, expansion=expansion, kernel=kernel, stride=step))
                inputs = outputs
        self._blocks, self.channels = nn.ModuleList(blocks), inputs

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the published weights, without those of the classification and of later stages."""
        own = self.state_dict()
        self.load_state_dict({name: value for name, value in weights.items() if name in own})

    def forward(self, images: Tensor) -> Tensor:
        """(B, 320, H / 32, W / 32) features of (B, 3, H, W) images, H and W multiples of 32."""
        features: Tensor = F.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            features = block(features)
        return features


def _stages_up_to(stride: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """Expansion, kernel, channels, and the stride of each block, of the stages up to a stride of the features."""
    reached = _STEM_STRIDE
    for expansion, kernel, step, outputs, count in _STAGES:
        reached *= step
        if reached > stride:
            return
        yield expansion, kernel, outputs, [step, *[1] * (count - 1)]


class GemEncoder(nn.Module):
    """Features pooled by the generalised mean, L2-normalised."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = EfficientNetLite0()
        self.network.load(weights)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) descriptors of (B, 3, H, W) images."""
        features = self.network(images).clamp(min=1e-6)
        return F.normalize(features.pow(POWER).mean(dim=(2, 3)).pow(1 / POWER), dim=1)
