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

"""Cost of global descriptors: operations of the networks, and times in torch and in ONNX Runtime, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.descriptor_scenes import kitchen

from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import Model
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map

THREADS, TURNS, PER_TURN = 2, 12, 15
# runs that are not timed: threads of the previous one still spin on the cores that the next one needs
_SETTLING = 5
PARITY = 1e-3
MODELS = {
    "small teacher": ("small", "teacher"),
    "small student": ("small", "student"),
    "ResNet-18 GeM, of small": ("small", "resnet18-gem"),
    "ResNet-18 NetVLAD, of small": ("small", "resnet18-netvlad"),
    "base teacher": ("base", "teacher"),
    "base student": ("base", "student"),
    "ResNet-18 GeM, of base": ("base", "resnet18-gem"),
    "ResNet-18 NetVLAD, of base": ("base", "resnet18-netvlad"),
}


def costs(out: Path) -> dict[str, Any]:
    """Cost of every network, and the milliseconds of VLAD."""
    return {
        "threads": THREADS,
        "models": {name: _cost_of(*which) for name, which in MODELS.items()},
        "vlad": _vlad(out),
    }


def _cost_of(preset: str, model: str) -> dict[str, Any]:
    """Cost of one network with random weights: times do not depend on them."""
    import torch

    from training.place_recognition.config import PRESETS
    from training.place_recognition.cost import count_cost
    from training.place_recognition.encoders import build_encoder

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = replace(PRESETS[preset], model=model)
    encoder = build_encoder(config, extent_m=10.0).eval()
    figures = asdict(count_cost(model, lambda: build_encoder(config, extent_m=10.0), encoder.size))
    # a map stores one byte for each dimension
    figures |= {"bytes": figures["dimension"], **_timed_network(encoder, teacher=model == "teacher")}
    print("  ", figures, flush=True)
    return figures


def _timed_network(encoder: Any, *, teacher: bool) -> dict[str, float]:
    import torch

    from training.framework.export import convert_to_onnx
    from training.place_recognition.export import INPUT, OUTPUT, describe_signature
    from training.place_recognition.structure import TOKEN_LENGTH
    from vloc_ros.model_export.onnx_files import describe_io

    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, *encoder.size)).astype(np.float32))
    structure = torch.zeros(1, (encoder.size[0] // 12) * (encoder.size[1] // 12), TOKEN_LENGTH)

    @torch.no_grad()
    def in_torch() -> Array:
        return np.asarray(encoder(image, structure) if teacher else encoder(image))

    if teacher:  # it is not exported: a robot has no structure to give it
        return {"torch_ms": _medians(in_torch)[0]}
    graph = convert_to_onnx(encoder, describe_signature(encoder))
    engine = OnnxRuntime(Model(Path("random weights"), describe_io(graph), graph), threads=THREADS)

    def in_onnx() -> Array:
        return engine.run({INPUT: image.numpy()})[OUTPUT]

    difference = float(np.abs(in_torch() - in_onnx()).max())
    if difference > PARITY:
        raise RuntimeError(f"the exported network differs by {difference:.2g} from torch, expected at most {PARITY:g}")
    torch_ms, onnx_ms = _medians(in_torch, in_onnx)
    return {
        "torch_ms": torch_ms,
        "onnx_ms": onnx_ms,
        "onnx_per_torch": onnx_ms / torch_ms,
        "max_difference": difference,
    }


def _medians(*functions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each function, run in turns so that a busy minute affects all of them."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(TURNS):
        for function, samples in zip(functions, times, strict=True):
            for number in range(_SETTLING + PER_TURN):
                start = time.perf_counter()
                function()
                if number >= _SETTLING:
                    samples.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(samples)) for samples in times]


def _vlad(out: Path) -> dict[str, Any]:
    """VLAD of an image of redkitchen, without the features (extracted anyway) and with them."""
    from vloc_ros.assembly import build_map_extractor
    from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary

    place = kitchen(out)
    landmark_map = read_map(place.map)
    index, extractor = landmark_map.retrieval[VLAD], build_map_extractor(landmark_map)
    words, image = Vocabulary.from_arrays(index.encoder_arrays), read_image(list_images(place.queries)[0])
    found = extractor.extract(image).descriptors

    def describe_io(descriptors: Array) -> Array:
        return words.encode(landmark_map.codec.project(descriptors))

    with_features, alone = _medians(
        lambda: describe_io(extractor.extract(image).descriptors), lambda: describe_io(found)
    )
    return {"dimension": index.descriptors.shape[1], "with_features_ms": with_features, "ms": alone}
