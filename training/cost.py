"""What do place encoders cost? Parameters and multiply-accumulates (MAC), counted on the modules themselves.

  python -m training.cost [--json F]

First the comparison as it was published: NetVLAD over VGG-16 at 480x640 with whitening against a CrossViT-Ti at
240x240. Then the same at equal sizes, with and without whitening. Products of matrices and convolutions are counted,
attention's own included; normalisations and activations are not.
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
from torch.utils.flop_counter import FlopCounterMode

from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.config import FINE_PATCH_PX, PRESETS, ConvolutionConfig, CrossVitConfig, PlacesConfig
from training.place_recognition.encoders import build_encoder, embedded
from training.place_recognition.structure import NUMBERS
from vloc_ros.core.errors import VlocError
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_files import json_at

_PUBLISHED = (480, 640)
_SIZES = ((240, 240), (480, 480))
_WHITENED = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one image.

    Attributes:
        model: what was counted.
        height, width: of the image, pixels.
        dimension: of the descriptor.
        parameters: millions.
        gmac: 10⁹ multiply-accumulates.
    """

    model: str
    height: int
    width: int
    dimension: int
    parameters: float
    gmac: float


class Whitened(nn.Module):
    """An encoder whose descriptor is projected to 4096 numbers, as NetVLAD's authors do."""

    def __init__(self, encoder: PooledEncoder) -> None:
        super().__init__()
        self.encoder, self.whitening = encoder, nn.Linear(encoder.dimension, _WHITENED)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 4096) of (B, 3, H, W)."""
        return self.whitening(self.encoder(images))


def counted(name: str, build: Callable[[], nn.Module], size: tuple[int, int]) -> Cost:
    """The cost of a model for an image of (height, width): nothing is computed, shapes are enough."""
    with torch.device("meta"):
        model, images = build().eval(), torch.zeros(1, 3, *size)
        structure = torch.zeros(1, (size[0] // FINE_PATCH_PX) * (size[1] // FINE_PATCH_PX), NUMBERS)
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            answer = embedded(model, images, structure).descriptors
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(name, *size, answer.shape[1], parameters / 1e6, flops.get_total_flops() / 2e9)


def published() -> list[Cost]:
    """As others compare them: at different sizes, NetVLAD with its whitening, CrossViT with ImageNet's classes."""
    return [
        counted("NetVLAD-VGG16, whitened", lambda: Whitened(_netvlad("vgg16")), _PUBLISHED),
        counted("CrossViT-Ti, 1000 classes", lambda: timm.create_model("crossvit_tiny_240"), (240, 240)),
    ]


def honest(size: tuple[int, int]) -> list[Cost]:
    """All at one size, with and without whitening, the student with its own head and its resizing."""
    config, small = _at(PRESETS["base"], size), PRESETS["small"]
    rows = [
        counted("NetVLAD-VGG16, whitened", lambda: Whitened(_netvlad("vgg16")), size),
        counted("NetVLAD-VGG16", lambda: _netvlad("vgg16"), size),
        counted("ResNet-18 NetVLAD, whitened", lambda: Whitened(_netvlad("resnet18")), size),
        counted("ResNet-18 NetVLAD", lambda: _netvlad("resnet18"), size),
        counted("ResNet-18 GeM", lambda: _encoder(config, "resnet18-gem"), size),
        counted("teacher", lambda: _encoder(config, "teacher"), size),
        counted("student", lambda: _encoder(config, "student"), size),
    ]
    if size[0] == config.network.size == PRESETS["base"].network.size:
        own = (small.network.size,) * 2
        rows.append(counted("small teacher, at its own size", lambda: _encoder(small, "teacher"), own))
        rows.append(counted("small student, at its own size", lambda: _encoder(small, "student"), own))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print; 0 when it worked, 1 for an expected failure."""
    parser = argparse.ArgumentParser(
        prog="python -m training.cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the same as JSON")
    args = parser.parse_args(arguments)
    try:
        out = json_at(args.json, key="published") if args.json else None
        as_published, equal = published(), {f"{h}x{w}": honest((h, w)) for h, w in _SIZES}
        _print("as published", as_published)
        for size, rows in equal.items():
            _print(f"at {size}", rows)
        if out:
            tables = {"published": as_published, **equal}
            text = json.dumps({name: [asdict(row) for row in rows] for name, rows in tables.items()}, indent=1)
            write_bytes_atomically(out.path, (text + "\n").encode())
            print(out)
        return 0
    except VlocError as error:
        print(f"cost: {error}", file=sys.stderr)
        return 1


def _print(title: str, rows: Sequence[Cost]) -> None:
    """A table, with how many times the student's cost each is."""
    student = next(row for row in rows if row.model.startswith(("student", "CrossViT-Ti")))
    print(f"\n{title}\n{'model':32}{'image':>9}{'numbers':>9}{'M parameters':>14}{'GMAC':>9}   of the student")
    for row in rows:
        times = f"{row.parameters / student.parameters:5.1f}x {row.gmac / student.gmac:6.1f}x"
        size = f"{row.height}x{row.width}"
        print(f"{row.model:32}{size:>9}{row.dimension:>9}{row.parameters:14.2f}{row.gmac:9.3f}   {times}")


def _netvlad(backbone: str) -> PooledEncoder:
    return PooledEncoder(ConvolutionConfig(backbone=backbone), "netvlad")


def _encoder(config: PlacesConfig, model: str) -> nn.Module:
    return build_encoder(replace(config, model=model), extent_m=10.0)


def _at(config: PlacesConfig, size: tuple[int, int]) -> PlacesConfig:
    """The CrossViTs for square images of another size; the second branch keeps its share of it."""
    coarse = round(config.network.coarse_size * size[0] / config.network.size / 16) * 16
    network: CrossVitConfig = replace(config.network, size=size[0], coarse_size=coarse)
    return replace(config, network=network)


if __name__ == "__main__":
    sys.exit(main())
