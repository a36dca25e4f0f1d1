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

"""Cost of global descriptor models: parameters and multiply-accumulates (MAC), counted on the modules.

  python -m training.place_recognition.cost [--json F]

First the published comparison: NetVLAD over VGG-16 at 480x640 with whitening against a CrossViT-Ti at 240x240. Then
all models at equal sizes, with and without whitening. Matrix products and convolutions are counted, those of attention
included; normalisations and activations are not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from training.framework import cost
from training.framework.command import make_parser, run_command
from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.config import (
    FINE_PATCH_PX,
    PRESETS,
    ConvolutionConfig,
    CrossVitConfig,
    PlaceRecognitionConfig,
)
from training.place_recognition.encoders import build_encoder
from training.place_recognition.structure import TOKEN_LENGTH
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_files import json_at

_NAME = "place_recognition.cost"
_PUBLISHED = (480, 640)
_SIZES = ((240, 240), (480, 480))
_WHITENED = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one image.

    Attributes:
        model: name of the model.
        height: of the image, pixels.
        width: of the image, pixels.
        dimension: length of the descriptor.
        parameters: millions.
        gmac: 10⁹ multiply-accumulates.
    """

    model: str
    height: int
    width: int
    dimension: int
    parameters: float
    gmac: float


class WhitenedEncoder(nn.Module):
    """An encoder whose descriptor is projected to 4096 dimensions, as by NetVLAD's authors."""

    def __init__(self, encoder: PooledEncoder) -> None:
        super().__init__()
        self.encoder, self.whitening = encoder, nn.Linear(encoder.dimension, _WHITENED)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 4096) from (B, 3, H, W)."""
        return self.whitening(self.encoder(images))


def count_cost(name: str, build: Callable[[], nn.Module], size: tuple[int, int]) -> Cost:
    """The cost of a model for an image of (height, width), from shapes alone."""
    with torch.device("meta"):
        model, images = build().eval(), torch.zeros(1, 3, *size)
        structure = torch.zeros(1, (size[0] // FINE_PATCH_PX) * (size[1] // FINE_PATCH_PX), TOKEN_LENGTH)
        found = cost.count_cost(model, (images, structure) if isinstance(model, TeacherEncoder) else (images,))
    return Cost(name, *size, found.shapes[0][1], found.parameters / 1e6, found.mac / 1e9)


def count_published_models() -> list[Cost]:
    """The published comparison: at different sizes, NetVLAD with whitening, CrossViT with ImageNet's classes."""
    return [
        count_cost("NetVLAD-VGG16, whitened", lambda: WhitenedEncoder(_build_netvlad("vgg16")), _PUBLISHED),
        count_cost("CrossViT-Ti, 1000 classes", lambda: timm.create_model("crossvit_tiny_240"), (240, 240)),
    ]


def count_at_size(size: tuple[int, int]) -> list[Cost]:
    """All models at one size, with and without whitening; the student with its own head and its resizing."""
    config, small = _resize_config(PRESETS["base"], size), PRESETS["small"]
    rows = [
        count_cost("NetVLAD-VGG16, whitened", lambda: WhitenedEncoder(_build_netvlad("vgg16")), size),
        count_cost("NetVLAD-VGG16", lambda: _build_netvlad("vgg16"), size),
        count_cost("ResNet-18 NetVLAD, whitened", lambda: WhitenedEncoder(_build_netvlad("resnet18")), size),
        count_cost("ResNet-18 NetVLAD", lambda: _build_netvlad("resnet18"), size),
        count_cost("ResNet-18 GeM", lambda: _build_encoder(config, "resnet18-gem"), size),
        count_cost("teacher", lambda: _build_encoder(config, "teacher"), size),
        count_cost("student", lambda: _build_encoder(config, "student"), size),
    ]
    if size[0] == config.network.size == PRESETS["base"].network.size:
        own = (small.network.size,) * 2
        rows.append(count_cost("small teacher, at its own size", lambda: _build_encoder(small, "teacher"), own))
        rows.append(count_cost("small student, at its own size", lambda: _build_encoder(small, "student"), own))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--json", type=Path, metavar="F", help="write the same as JSON")
    return run_command(_NAME, _run, parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> None:
    out = json_at(args.json, key="count_published_models") if args.json else None
    as_published, equal = count_published_models(), {f"{h}x{w}": count_at_size((h, w)) for h, w in _SIZES}
    _print_table("as published", as_published)
    for size, rows in equal.items():
        _print_table(f"at {size}", rows)
    if out:
        tables = {"count_published_models": as_published, **equal}
        text = json.dumps({name: [asdict(row) for row in rows] for name, rows in tables.items()}, indent=1)
        write_bytes_atomically(out.path, (text + "\n").encode())
        print(out)


def _print_table(title: str, rows: Sequence[Cost]) -> None:
    """A table, with the ratio of each cost to the student's."""
    student = next(row for row in rows if row.model.startswith(("student", "CrossViT-Ti")))
    print(f"\n{title}\n{'model':32}{'image':>9}{'numbers':>9}{'M parameters':>14}{'GMAC':>9}   of the student")
    for row in rows:
        times = f"{row.parameters / student.parameters:5.1f}x {row.gmac / student.gmac:6.1f}x"
        size = f"{row.height}x{row.width}"
        print(f"{row.model:32}{size:>9}{row.dimension:>9}{row.parameters:14.2f}{row.gmac:9.3f}   {times}")


def _build_netvlad(backbone: str) -> PooledEncoder:
    return PooledEncoder(ConvolutionConfig(backbone=backbone), "netvlad")


def _build_encoder(config: PlaceRecognitionConfig, model: str) -> nn.Module:
    return build_encoder(replace(config, model=model), extent_m=10.0)


def _resize_config(config: PlaceRecognitionConfig, size: tuple[int, int]) -> PlaceRecognitionConfig:
    """The configuration for square images of another size; the second branch is scaled with it."""
    coarse = round(config.network.coarse_size * size[0] / config.network.size / 16) * 16
    network: CrossVitConfig = replace(config.network, size=size[0], coarse_size=coarse)
    return replace(config, network=network)


if __name__ == "__main__":
    sys.exit(main())
