"""Every parameter of a landmark recogniser and its training, with presets; saved with every run and every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.presets import override_parameters
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfig(Checked):
    """The transformer."""

    width: int = parameter(128, "length of a token", low=8, high=2048)
    layers: int = parameter(3, "self-attention layers", low=1, high=48)
    heads: int = parameter(4, "attention heads of each layer", low=1, high=32)
    candidates: int = parameter(16, "coarse landmarks of an image whose fine landmarks are classified", low=1, high=256)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.width % (2 * self.heads):
            raise ConfigError(f"parameter width is {self.width}, expected a multiple of twice the {self.heads} heads")


@dataclass(frozen=True, slots=True)
class ImageAugmentationConfig(Checked):
    """How images are augmented before their keypoints are extracted, once, before training."""

    versions: int = parameter(8, "versions of each image, the first of them unchanged", low=1, high=100)
    sideways: float = parameter(0.25, "largest sideways step, relative to the scene's distance", low=0.0, high=1.0)
    forward: float = parameter(0.3, "largest step forward or back, relative to the distance", low=0.0, high=0.8)
    tilt_deg: float = parameter(40.0, "largest tilt of the plane that approximates the scene", low=0.0, high=75.0)
    roll_deg: float = parameter(15.0, "largest rotation about the optical axis", low=0.0, high=180.0)
    light: float = parameter(1.0, "strength of changes of gamma, contrast and shading; 0 for none", low=0.0, high=2.0)
    night: float = parameter(0.1, "share of versions that are dark and noisy", low=0.0, high=1.0)
    blur_px: float = parameter(1.5, "largest sigma of a blur", unit="px", low=0.0, high=20.0)


@dataclass(frozen=True, slots=True)
class KeypointAugmentationConfig(Checked):
    """How keypoints are augmented at every step of training."""

    drop: float = parameter(0.3, "largest share of keypoints that are dropped", low=0.0, high=0.95)
    distractors: float = parameter(0.1, "largest share of keypoints taken from other images", low=0.0, high=1.0)
    noise: float = parameter(0.2, "largest length of noise that is added to descriptors of length 1", low=0.0, high=2.0)
    stretch: float = parameter(0.1, "largest stretch and shear of rays", low=0.0, high=0.9)
    roll_deg: float = parameter(10.0, "largest rotation of rays about the optical axis", low=0.0, high=180.0)


@dataclass(frozen=True, slots=True)
class RecognizerFitConfig(Checked):
    """How the network is fitted."""

    epochs: int = parameter(
        16, "epochs, in each of which every version of every image is seen once", low=1, high=100_000
    )
    batch: int = parameter(8, "images per step", low=1, high=4096)
    keypoints: int = parameter(512, "strongest keypoints of a query, in use and for scores", low=8, high=8192)
    drawn_keypoints: int = parameter(256, "random keypoints of an image at a training step", low=8, high=8192)
    kept_keypoints: int = parameter(
        1024, "strongest keypoints of an image from which those are drawn", low=8, high=20000
    )
    learning_rate: float = parameter(1e-3, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.01, "of AdamW", low=0.0, high=1.0)
    warm_up: float = parameter(0.05, "share of the steps in which the learning rate rises", low=0.0, high=0.9)
    gradient_clip: float = parameter(1.0, "largest norm of the gradient", low=1e-3, high=1e6)
    background_weight: float = parameter(0.2, "weight of background keypoints in the loss", low=0.0, high=10.0)
    held_out: float = parameter(0.1, "share of keyframes held out to select the best epoch", low=0.0, high=0.5)
    held_out_segments: int = parameter(5, "fewest segments of the trajectory that they form", low=1, high=1000)
    held_out_length: int = parameter(6, "most keyframes in one segment", low=1, high=1000)
    precision: str = parameter("32", "of the arithmetic", choices=("32", "bf16-mixed"))
    workers: int = parameter(0, "processes that load batches; 0 for the training process itself", low=0, high=64)
    seed: int = parameter(0, "random seed", low=0, high=2**31)


@dataclass(frozen=True, slots=True)
class RecognizerConfig(Checked):
    """A landmark recogniser and its training."""

    model: ModelConfig = field(default_factory=ModelConfig)
    images: ImageAugmentationConfig = field(default_factory=ImageAugmentationConfig)
    keypoints: KeypointAugmentationConfig = field(default_factory=KeypointAugmentationConfig)
    fit: RecognizerFitConfig = field(default_factory=RecognizerFitConfig)


PRESETS: dict[str, RecognizerConfig] = {
    "small": RecognizerConfig(),
    "base": RecognizerConfig(
        model=ModelConfig(width=256, layers=9, heads=4),
        fit=RecognizerFitConfig(
            epochs=60, batch=32, drawn_keypoints=512, learning_rate=5e-4, precision="bf16-mixed", workers=8
        ),
    ),
}


def build_config(preset: str, assignments: Sequence[str] = ()) -> RecognizerConfig:
    """A preset with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
