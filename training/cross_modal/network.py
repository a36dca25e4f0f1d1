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

"""Two networks with one descriptor space: of a camera's image, and of a view of a cloud."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.cross_modal.config import CrossModalConfig, RangeNetworkConfig
from training.place_recognition.aggregation import MixVpr
from training.place_recognition.geolocalization.network import PlaceNetwork
from vloc_ros.core.clouds.range_view import CHANNELS

_STAGES, _MIXERS, _PROJECTED, _ROWS = 3, 2, 96, 4


class RangeBlock(nn.Module):
    """Two 3x3 convolutions added to their input (He et al. 2016), which may halve the size."""

    def __init__(self, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        same = stride == 1 and channels == out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, h / stride, w / stride) of (B, channels, h, w)."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class RangeNetwork(nn.Module):
    """A residual network over a view, up to stride 8, and MixVPR, which keeps where in the view something is.

    Attributes:
        size: height and width of a view.
        dimension: length of a descriptor.
    """

    def __init__(self, config: RangeNetworkConfig, dimension: int) -> None:
        super().__init__()
        self.size, self.dimension = (config.height, config.width), dimension
        width = config.channels
        layers: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for stage in range(_STAGES):
            out = config.channels << stage
            layers.append(RangeBlock(width, out, stride=2))
            layers += [RangeBlock(out, out, stride=1) for _ in range(config.blocks - 1)]
            width = out
        self.backbone = nn.Sequential(*layers)
        positions = (config.height >> _STAGES) * (config.width >> _STAGES)
        self.pool = MixVpr(width, positions, layers=_MIXERS, projected=_PROJECTED, rows=_ROWS)
        self.projection = nn.Linear(_PROJECTED * _ROWS, dimension)

    def forward(self, views: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) views."""
        pooled = F.normalize(self.pool(self.backbone(views)).float(), dim=-1)
        return F.normalize(self.projection(pooled).float(), dim=-1)


class CrossModalNetwork(nn.Module):
    """Both encoders.

    Attributes:
        image: of images.
        range: of views.
    """

    def __init__(self, config: CrossModalConfig, *, pretrained: bool = False) -> None:
        """With random weights; `pretrained` says whether the image's backbone will get others, see `PlaceNetwork`."""
        super().__init__()
        self.image = PlaceNetwork(config.image, pretrained=pretrained)
        self.range = RangeNetwork(config.range, config.image.dimension)

    def forward(self, images: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images, and of (B, 3, h, w) views."""
        return self.image(images), self.range(views)
