"""The table of place encoders, and weights that somebody else trained."""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.config import PlacesConfig
from training.place_recognition.crossvit import StudentEncoder
from training.place_recognition.residuals import Embedded
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import InputError

_NO_TEACHERS = "nobody publishes weights of the teacher; start it without --pretrained and --weights"

Encoder = StudentEncoder | TeacherEncoder | PooledEncoder


def build_encoder(config: PlacesConfig, *, extent_m: float) -> Encoder:
    """An encoder with weights drawn by lot, for maps of this extent."""
    match config.model:
        case "teacher":
            return TeacherEncoder(config.network, config.spatial, extent_m=extent_m)
        case "student":
            return StudentEncoder(config.network)
        case "resnet18-gem":
            return PooledEncoder(config.convolution, "gem")
        case _:
            return PooledEncoder(config.convolution, "netvlad")


def embedded(encoder: nn.Module, images: Tensor, structure: Tensor) -> Embedded:
    """Descriptors by whichever encoder, and how much each patch counts."""
    match encoder:
        case TeacherEncoder():
            return encoder.embed(images, structure)
        case StudentEncoder():
            return encoder.embed(images)
        case _:
            return Embedded(encoder(images))


def start_from_pretrained(encoder: Encoder, path: Path | None = None) -> int:
    """Take over every weight of the backbone that fits by name and shape; returns how many.

    Args:
        encoder: the student, or a baseline.
        path: safetensors or PyTorch file of the backbone's weights; timm's own (ImageNet) from the network otherwise.

    Raises:
        InputError: they cannot be had, or hardly any fits.
    """
    if isinstance(encoder, TeacherEncoder):
        raise InputError(_NO_TEACHERS)
    found, wanted = _weights(encoder.pretrained_name, path), encoder.backbone.state_dict()
    # timm numbers the layers of a network that gives features with underscores
    found = {name if name in wanted else name.replace(".", "_", 1): value for name, value in found.items()}
    fitting = {name: value for name, value in found.items() if name in wanted and value.shape == wanted[name].shape}
    if len(fitting) < len(wanted) / 2:
        raise InputError(
            f"{path or encoder.pretrained_name}: only {len(fitting)} of the backbone's {len(wanted)} weights fit; "
            "use the preset base, or weights of this backbone"
        )
    encoder.backbone.load_state_dict(fitting, strict=False)
    return len(fitting)


def pretrained_hash(encoder: Encoder, path: Path | None = None) -> str:
    """SHA-256 of the weights that `start_from_pretrained` looks among, by their names and values.

    Raises:
        InputError: they cannot be had.
    """
    if isinstance(encoder, TeacherEncoder):
        raise InputError(_NO_TEACHERS)
    digest = hashlib.sha256()
    for name, value in sorted(_weights(encoder.pretrained_name, path).items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _weights(name: str, path: Path | None) -> dict[str, Tensor]:
    try:
        if path is None:
            return dict(timm.create_model(name, pretrained=True).state_dict())
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of the network, the file system and either format: no common base but this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"weights of {path or name} cannot be had ({reason}); give their file to --weights") from error
