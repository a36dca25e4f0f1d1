"""Every parameter of a recogniser and its training, with presets; saved with every run and every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.presets import adjusted
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfig(Checked):
    """The transformer."""

    width: int = parameter(128, "length of a token", low=8, high=2048)
    layers: int = parameter(3, "self-attention layers", low=1, high=48)
    heads: int = parameter(4, "heads of each, at least four numbers per head", low=1, high=32)
    candidates: int = parameter(16, "coarse landmarks of an image whose children are told apart", low=1, high=256)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.width % (2 * self.heads):
            raise ConfigError(f"parameter width is {self.width}, expected a multiple of twice the {self.heads} heads")


@dataclass(frozen=True, slots=True)
class LabelConfig(Checked):
    """Which keypoint of an image shows which point of the map."""

    radius_px: float = parameter(3.0, "farthest that a point may appear from its keypoint", unit="px", low=0.1, high=50)
    max_distance: float = parameter(
        0.65, "largest distance of their descriptors in the map's space; of unrelated RootSIFT 0.8", low=0.01, high=2.0
    )


@dataclass(frozen=True, slots=True)
class ImageChangeConfig(Checked):
    """How images are changed before their keypoints are looked for, once, before training."""

    versions: int = parameter(8, "of each image, the first of them unchanged", low=1, high=100)
    sideways: float = parameter(0.25, "largest step sideways, in distances of the scene", low=0.0, high=1.0)
    forward: float = parameter(0.3, "largest step forward or back, in distances of the scene", low=0.0, high=0.8)
    tilt_deg: float = parameter(40.0, "largest slant of the plane that stands for the scene", low=0.0, high=75.0)
    roll_deg: float = parameter(15.0, "largest turn about the optical axis", low=0.0, high=180.0)
    light: float = parameter(1.0, "strength of changed gamma, contrast and gradients; 0 for none", low=0.0, high=2.0)
    night: float = parameter(0.1, "share of versions that are dark and noisy", low=0.0, high=1.0)
    blur_px: float = parameter(1.5, "largest sigma of a blur", unit="px", low=0.0, high=20.0)


@dataclass(frozen=True, slots=True)
class KeypointChangeConfig(Checked):
    """How keypoints are changed at every step of training."""

    drop: float = parameter(0.3, "largest share of keypoints left out", low=0.0, high=0.95)
    distractors: float = parameter(0.1, "largest share of keypoints taken from other images", low=0.0, high=1.0)
    noise: float = parameter(0.2, "largest length of what is added to descriptors of length 1", low=0.0, high=2.0)
    stretch: float = parameter(0.1, "largest stretch and shear of rays", low=0.0, high=0.9)
    roll_deg: float = parameter(10.0, "largest turn of rays about the optical axis", low=0.0, high=180.0)


@dataclass(frozen=True, slots=True)
class RecognizerFitConfig(Checked):
    """How the network is fitted."""

    epochs: int = parameter(16, "times that every version of every image is seen", low=1, high=100_000)
    batch: int = parameter(8, "images per step", low=1, high=4096)
    keypoints: int = parameter(512, "of an image that a robot asks about, strongest first", low=8, high=8192)
    drawn_keypoints: int = parameter(256, "of an image at a step of training, drawn by lot", low=8, high=8192)
    kept_keypoints: int = parameter(1024, "strongest of an image from which those are drawn", low=8, high=20000)
    learning_rate: float = parameter(1e-3, "largest", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.01, "of AdamW", low=0.0, high=1.0)
    warm_up: float = parameter(0.05, "share of the steps in which the learning rate rises", low=0.0, high=0.9)
    gradient_clip: float = parameter(1.0, "largest norm of the gradient", low=1e-3, high=1e6)
    background_weight: float = parameter(0.2, "of background keypoints in the loss", low=0.0, high=10.0)
    held_out: float = parameter(0.1, "share of keyframes kept back to choose the best epoch", low=0.0, high=0.5)
    held_out_segments: int = parameter(5, "stretches of the trajectory they lie in, at least", low=1, high=1000)
    held_out_length: int = parameter(6, "keyframes in one stretch, at most", low=1, high=1000)
    precision: str = parameter("32", "of the arithmetic", choices=("32", "bf16-mixed"))
    workers: int = parameter(0, "processes that put batches together; 0 for the training process", low=0, high=64)
    seed: int = parameter(0, "of everything that is drawn by lot", low=0, high=2**31)


@dataclass(frozen=True, slots=True)
class RecognizerConfig(Checked):
    """A recogniser and how it comes about."""

    model: ModelConfig = field(default_factory=ModelConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    images: ImageChangeConfig = field(default_factory=ImageChangeConfig)
    keypoints: KeypointChangeConfig = field(default_factory=KeypointChangeConfig)
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


def chosen_config(preset: str, assignments: Sequence[str] = ()) -> RecognizerConfig:
    """A preset with some parameters given as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has no such form, or names what is no parameter or no value of it.
    """
    return adjusted(PRESETS[preset], assignments)
