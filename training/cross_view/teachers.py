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

"""Teachers of cross-view retrieval whose weights are given by path: CLIP's image tower and DINOv2, of timm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from training.place_recognition.encoders import interpolate_positions
from training.place_recognition.geolocalization.images import ImageStore
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing

_AT_ONCE, _POSITIONS = 16, "pos_embed"


@dataclass(frozen=True, slots=True)
class Teacher:
    """A network whose descriptors are learned from.

    Attributes:
        architecture: of timm.
        outputs: of its head; 0 for none.
        dimension: length of its descriptors.
        side: of its images, in pixels.
    """

    architecture: str
    outputs: int
    dimension: int
    side: int


# the heads of CLIP are its projection to text
TEACHERS = {
    "clip": Teacher("vit_base_patch32_clip_224", 512, 512, 224),
    "dinov2": Teacher("vit_small_patch14_dinov2", 0, 384, 224),
}


def read_teacher(name: str, path: Path) -> nn.Module:
    """A teacher in evaluation mode.

    Position embeddings for another size of images are interpolated, such as those of DINOv2 for 518 px.

    Raises:
        InputError: the file cannot be read, or its weights are of another network.
    """
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # file system and either format have no other common base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as weights ({reason}), expected safetensors or PyTorch") from error
    teacher = TEACHERS[name]
    with torch.device("meta"):  # random weights would be replaced at once
        network = timm.create_model(teacher.architecture, num_classes=teacher.outputs, img_size=teacher.side)
    wanted = network.state_dict()
    if _POSITIONS in found:  # published ones may be for another size of images
        found[_POSITIONS] = interpolate_positions(found[_POSITIONS], wanted[_POSITIONS])
    wrong = [n for n in wanted if n not in found or found[n].shape != wanted[n].shape]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of {len(wanted)} weights are missing or of another shape, such as {wrong[0]}; give "
            f"those of timm's {teacher.architecture} with {teacher.dimension} outputs"
        )
    # copies, because tensors in a file are not aligned, and their products differ in the last bit
    network.load_state_dict({n: found[n].to(one.dtype, copy=True) for n, one in wanted.items()}, assign=True)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def describe_by_teacher(name: str, path: Path, store: ImageStore) -> Array:
    """(N, E) float32 descriptors of all images, as they are read; on a GPU where there is one.

    Raises:
        InputError: as `read_teacher`.
    """
    network = read_teacher(name, path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    side, published = TEACHERS[name].side, timm.get_pretrained_cfg(TEACHERS[name].architecture)
    assert published is not None
    preprocessing = Preprocessing((side, side), own=False, mean=tuple(published.mean), std=tuple(published.std))
    found = []
    for first in range(0, len(store.paths), _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, len(store.paths)))
        some = np.stack([preprocessing.apply(store.read(i)[0]) for i in numbers])
        found.append(network(torch.from_numpy(some).to(device)).float().cpu().numpy())
    return np.concatenate(found)
