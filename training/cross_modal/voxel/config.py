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

"""Every parameter of the voxel model and of its three stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.cross_modal.config import CameraAugmentationConfig, CloudAugmentationConfig, PairConfig
from training.framework.configuration import BEST, LAST, FitConfig, override_parameters
from training.place_recognition.geolocalization.config import GEM, STRIDE_PX, NetworkConfig
from vloc_ros.core.config import Checked, parameter

IMAGES, LOCAL, GLOBAL = "images", "local", "global"
STAGES = (IMAGES, LOCAL, GLOBAL)


@dataclass(frozen=True, slots=True)
class VoxelImageConfig(NetworkConfig):
    """The network of the images: local features, GeM and a projection, as VXP has them on a vision transformer."""

    aggregation: str = parameter(GEM, "of the local features", choices=(GEM,))
    height: int = parameter(224, f"height of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    width: int = parameter(224, f"width of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    dimension: int = parameter(256, "length of both networks' descriptors", low=8, high=65536)


@dataclass(frozen=True, slots=True)
class VoxelConfig(Checked):
    """Voxels ahead of the camera, x along its axis, y to the left, z up; and the network over them."""

    ahead_m: float = parameter(44.0, "extent ahead", unit="m", low=1.0, high=500.0)
    aside_m: float = parameter(22.0, "extent to either side", unit="m", low=1.0, high=500.0)
    lowest_m: float = parameter(-4.0, "lower edge, from the camera", unit="m", low=-100.0, high=0.0)
    highest_m: float = parameter(18.0, "upper edge, from the camera", unit="m", low=0.1, high=500.0)
    side_m: float = parameter(0.4, "width and depth of a voxel", unit="m", low=0.01, high=10.0)
    height_m: float = parameter(0.2, "height of a voxel", unit="m", low=0.01, high=10.0)
    points: int = parameter(35, "most points of a voxel that are used", low=1, high=1000)
    most: int = parameter(10_000, "most voxels of a cloud; the nearest are kept", low=10, high=1_000_000)
    channels: int = parameter(16, "channels before the first reduction", low=2, high=256)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        sizes = (self.ahead_m / self.side_m, 2 * self.aside_m / self.side_m,
                 (self.highest_m - self.lowest_m) / self.height_m)  # fmt: skip
        x, y, z = (max(1, round(size)) for size in sizes)
        return x, y, z


@dataclass(frozen=True, slots=True)
class StageConfig(Checked):
    """The losses of the stages."""

    margin: float = parameter(0.3, "margin of the triplets of images", low=0.001, high=2.0)
    visible_m: float = parameter(
        2.0, "depth behind the nearest voxel of a local feature that still counts as seen", unit="m", low=0.0, high=50.0
    )


@dataclass(frozen=True, slots=True)
class VoxelFitConfig(FitConfig):
    """How a stage is fitted; VXP has 30 epochs of the second and 50 of the third."""

    epochs: int = parameter(30, "epochs of each stage", low=1, high=100_000)
    optimizer: str = parameter("adam", "optimizer", choices=("adamw", "adam", "asgd", "sgd"))
    learning_rate: float = parameter(1e-4, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.0, "weight decay", low=0.0, high=1.0)
    places: int = parameter(8, "places of a batch, with two records each", low=2, high=4096)
    batches: int = parameter(0, "batches of an epoch; 0 for every record once", low=0, high=1_000_000)
    monitored: str = parameter("R@1", "score of val that kept=best and patience go by")
    kept: str = parameter(LAST, "epoch whose weights become the model", choices=(BEST, LAST))


@dataclass(frozen=True, slots=True)
class VoxelModelConfig(Checked):
    """An image network, a voxel network, and the stages of their training."""

    image: VoxelImageConfig = field(default_factory=VoxelImageConfig)
    voxels: VoxelConfig = field(default_factory=VoxelConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    stages: StageConfig = field(default_factory=StageConfig)
    augmentation: CameraAugmentationConfig = field(default_factory=CameraAugmentationConfig)
    clouds: CloudAugmentationConfig = field(default_factory=CloudAugmentationConfig)
    fit: VoxelFitConfig = field(default_factory=VoxelFitConfig)


PRESETS = {
    "small": VoxelModelConfig(
        image=VoxelImageConfig(height=128, width=128),
        voxels=VoxelConfig(side_m=0.8, height_m=0.4, channels=8, most=4000),
    ),
    "base": VoxelModelConfig(image=VoxelImageConfig(stride=8), fit=VoxelFitConfig(places=40, workers=12)),
}


def build_config(preset: str, assignments: Sequence[str] = ()) -> VoxelModelConfig:
    """A preset with some parameters overridden.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
