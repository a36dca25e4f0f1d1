"""What place encoders cost: counted on their networks, and timed in torch and in ONNX Runtime, turn by turn."""

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
# threads of the one before still wait for work for a while, on the cores that the next one needs
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
    """Of every network, and VLAD's milliseconds beside them."""
    return {"threads": THREADS, "models": {name: _of(*which) for name, which in MODELS.items()}, "vlad": _vlad(out)}


def _of(preset: str, model: str) -> dict[str, Any]:
    """Weights drawn by lot: times do not depend on them."""
    import torch

    from training.cost import counted
    from training.place_recognition.config import PRESETS
    from training.place_recognition.encoders import build_encoder

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = replace(PRESETS[preset], model=model)
    encoder = build_encoder(config, extent_m=10.0).eval()
    figures = asdict(counted(model, lambda: build_encoder(config, extent_m=10.0), encoder.size))
    # a map stores one byte for each number
    figures |= {"bytes": figures["dimension"], **_timed_network(encoder, teacher=model == "teacher")}
    print("  ", figures, flush=True)
    return figures


def _timed_network(encoder: Any, *, teacher: bool) -> dict[str, float]:
    import torch

    from training.onnx_files import described
    from training.place_recognition.export import INPUT, OUTPUT, onnx_of
    from training.place_recognition.structure import NUMBERS

    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, *encoder.size)).astype(np.float32))
    structure = torch.zeros(1, (encoder.size[0] // 12) * (encoder.size[1] // 12), NUMBERS)

    @torch.no_grad()
    def in_torch() -> Array:
        return np.asarray(encoder(image, structure) if teacher else encoder(image))

    if teacher:  # it is not exported: a robot has no structure to give it
        return {"torch_ms": _medians(in_torch)[0]}
    graph = onnx_of(encoder)
    engine = OnnxRuntime(Model(Path("by lot"), described(graph), graph), threads=THREADS)

    def in_onnx() -> Array:
        return engine.run({INPUT: image.numpy()})[OUTPUT]

    apart = float(np.abs(in_torch() - in_onnx()).max())
    if apart > PARITY:
        raise RuntimeError(f"the exported network differs by {apart:.2g} from torch, expected at most {PARITY:g}")
    torch_ms, onnx_ms = _medians(in_torch, in_onnx)
    return {"torch_ms": torch_ms, "onnx_ms": onnx_ms, "onnx_per_torch": onnx_ms / torch_ms, "apart": apart}


def _medians(*ways: Callable[[], object]) -> list[float]:
    """Milliseconds of each, asked turn by turn so that a busy minute hits all of them."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(TURNS):
        for way, of_way in zip(ways, times, strict=True):
            for asked in range(_SETTLING + PER_TURN):
                start = time.perf_counter()
                way()
                if asked >= _SETTLING:
                    of_way.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(of_way)) for of_way in times]


def _vlad(out: Path) -> dict[str, Any]:
    """VLAD of an image of redkitchen: beside the features, which are wanted anyway, and with them."""
    from vloc_ros.assembly import build_extractor
    from vloc_ros.core.retrieval.vlad import Vocabulary

    place = kitchen(out)
    landmark_map = read_map(place.map)
    index, extractor = landmark_map.places["vlad"], build_extractor(landmark_map.extractor)
    words, image = Vocabulary.from_arrays(index.encoder_arrays), read_image(list_images(place.queries)[0])
    found = extractor.extract(image).descriptors

    def described(descriptors: Array) -> Array:
        return words.encode(landmark_map.codec.project(descriptors))

    with_features, alone = _medians(lambda: described(extractor.extract(image).descriptors), lambda: described(found))
    return {"dimension": index.descriptors.shape[1], "with_features_ms": with_features, "ms": alone}
