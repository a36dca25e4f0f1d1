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

"""`vloc model build`: precision, check on the CPU, engine, cache."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.engine_build.bfloat16 import emulate_bfloat16
from vloc_ros.engine_build.device_graph import COUNT_INPUT, input_shapes, make_device_graph
from vloc_ros.engine_build.loss import Loss, measure_loss
from vloc_ros.engine_build.matcher_samples import MatcherSamples, measure_matcher_loss, sample_pairs
from vloc_ros.engine_build.plan_builder import build_plan
from vloc_ros.engine_build.precision import to_bfloat16, to_float16
from vloc_ros.engine_build.profiles import Shape, default_sizes, make_profile
from vloc_ros.engine_build.quantization import find_quantizable, to_int8
from vloc_ros.engine_build.samples import Samples, sample_images, sample_keyframes, sample_scans
from vloc_ros.inference.cuda import Device, load_cuda, read_device
from vloc_ros.inference.engine_cache import (
    BuiltEngine,
    EngineKey,
    Profile,
    lock_engine,
    read_engine,
    renew_engine,
    write_engine,
)
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.keypoints import TRIAL_PX
from vloc_ros.inference.models import MAIN, Model, read_parts
from vloc_ros.inference.references import read_references
from vloc_ros.inference.tensorrt_api import TENSORRT_RTX, load_tensorrt

# every fifth image is kept from calibration, to measure the loss
_TIMING_CACHE = "timing.cache"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What `vloc model build` is asked for.

    Attributes:
        flavour: `tensorrt` or `tensorrt_rtx`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        targets: compute capabilities such as `sm86`; empty for the GPU of this machine, which TensorRT alone takes.
        sizes: of the dynamic dimensions by input; those of the kind where empty.
        keypoints: of a keypoint model, 0 for the number in its manifest.
        time_limit_s: for the builder.
    """

    flavour: str
    precision: str = "fp32"
    targets: tuple[str, ...] = ()
    sizes: dict[str, list[Shape]] = field(default_factory=dict)
    keypoints: int = 0
    time_limit_s: float = 3600.0


def gather_samples(
    model: Model, images: Sequence[Path], landmark_map: LandmarkMap | None, *, calibrate: bool = True
) -> Samples | MatcherSamples | None:
    """What a model is calibrated and tried on; None where nothing was named.

    Args:
        model: the model.
        images: the map's own, in their order.
        landmark_map: that a recogniser was trained on, whose keypoint model a matcher is for, or whose LiDAR places an
            encoder of scans describes.
        calibrate: whether int8 is calibrated on them; without, a matcher records nothing.

    Raises:
        InputError: images or a map are given to a model that takes none, or a matcher is given images without a map.
        MapError: the map carries no keypoint model.
        ModelError: the map's keypoints are others than the matcher's.
    """
    kind = model.entry("kind")
    if landmark_map is not None and kind not in ("recognizer", "matcher", "range descriptor"):
        raise InputError(f"{model.folder}: --map is for recognisers, matchers and encoders of scans, found {kind!r}; "
                         "leave it out")  # fmt: skip
    if kind == "recognizer" and landmark_map is not None:
        return sample_keyframes(model, landmark_map)
    if kind == "range descriptor" and landmark_map is not None:
        return sample_scans(model, landmark_map)
    if kind != "matcher":
        return sample_images(model, images) if images else None
    if not images and landmark_map is None:
        return None
    if landmark_map is None or landmark_map.keypoint_model is None:
        raise InputError("a matcher is tried on keypoints, found no map that carries their model; name one with --map")
    return sample_pairs(model, landmark_map.keypoint_model, images, calibrate=calibrate)


def convert_model(
    model: Model, precision: str, samples: Samples | MatcherSamples | None
) -> tuple[dict[str, bytes], Loss | None]:
    """The typed graphs of a model by name, and what they lose together; see `convert_precision`."""
    if model.entry("kind") == "matcher":
        assert not isinstance(samples, Samples)
        return convert_matcher(model, precision, samples)
    assert not isinstance(samples, MatcherSamples)
    graph, loss = convert_precision(model, precision, samples or Samples())
    return {MAIN: graph}, loss


def convert_precision(model: Model, precision: str, samples: Samples) -> tuple[bytes, Loss | None]:
    """The typed graph, and what it loses; None for fp32, and where nothing was at hand to compare.

    Args:
        model: in float32; not a matcher.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        samples: of the map's own images; of others than int8 only those that are held out are used.

    Raises:
        InputError: int8 has too few samples, or the graph has nothing to quantise.
        ModelError: the graph has branches or loops.
    """
    if precision == "fp32":
        return model.graph, None
    graph = _convert_graph(model.graph, precision, samples)
    held_out: Sequence[Mapping[str, Array]] = samples.held_out
    if not held_out and (references := read_references(model)) is not None:
        held_out = [references.inputs]
    if not held_out:
        return graph, None
    tried = Model(model.folder, model.manifest, make_runnable(graph, precision))
    return graph, measure_loss(
        str(model.manifest.get("kind")), OnnxRuntime(model, threads=1), OnnxRuntime(tried, threads=1), held_out
    )


def convert_matcher(
    model: Model, precision: str, samples: MatcherSamples | None
) -> tuple[dict[str, bytes], Loss | None]:
    """The typed graphs of a matcher's stages by name, and how many matches they lose; see `convert_precision`.

    A stage that has nothing to quantise stays in float32.

    Raises:
        InputError: int8 has too few pairs of images.
        ModelError: a stage is missing or altered, or has branches or loops.
    """
    parts = read_parts(model)
    if precision == "fp32":
        return {name: part.graph for name, part in parts.items()}, None
    if precision == "int8" and samples is None:
        raise InputError("int8 of a matcher is calibrated on pairs of images, found none; name the map's own with "
                         "--images, and the map that carries the model of their keypoints with --map")  # fmt: skip
    graphs = {}
    for name, part in parts.items():
        if precision == "int8" and not find_quantizable(part.graph):
            graphs[name] = part.graph
        else:
            of_stage = Samples() if samples is None else samples.stages.get(name, Samples())
            graphs[name] = _convert_graph(part.graph, precision, of_stage)
    if samples is None or not samples.held_out:
        return graphs, None
    runnable = {name: make_runnable(graph, precision) for name, graph in graphs.items()}
    return graphs, measure_matcher_loss(model, runnable, samples.held_out)


def _convert_graph(graph: bytes, precision: str, samples: Samples) -> bytes:
    if precision == "int8":
        return to_int8(graph, samples.calibration, count=samples.count)
    return to_float16(graph) if precision == "fp16" else to_bfloat16(graph)


def make_runnable(graph: bytes, precision: str) -> bytes:
    """What ONNX Runtime's CPU runs in place of a typed graph: of bfloat16 it has no arithmetic."""
    return emulate_bfloat16(graph) if precision == "bf16" else graph


def build_engine(
    model: Model,
    graph: bytes,
    loss: Loss | None,
    request: EngineRequest,
    cache: Path,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> BuiltEngine:
    """The engine of a typed graph, from the cache or built.

    Raises:
        InputError: shapes or targets do not fit.
        ModelError: TensorRT is missing, or cannot build the engine.
        StorageError: the cache cannot be written.
    """
    device_graph, key = plan_engine(model, graph, request)
    folder = cache / key.digest
    with lock_engine(cache, key, timeout_s=request.time_limit_s, report=report):
        with contextlib.suppress(ModelError):
            found = read_engine(folder)
            found.read_plan()
            report(f"found in the cache: {folder}")
            return renew_engine(found, date=_now())
        report(f"{key.flavour} {key.version} builds {key.precision} for {', '.join(key.targets)}")
        start = time.perf_counter()
        plan = build_plan(
            device_graph, key, timeout_s=request.time_limit_s, timing_cache=_timing_cache(cache, key), report=report
        )
        notes = {
            "seconds": round(time.perf_counter() - start, 2),
            "date": _now(),
            "model": str(model.manifest.get("name", model.folder)),
            "loss": None if loss is None else str(loss),
        }
        return write_engine(folder, key, plan, notes)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def plan_engine(model: Model, graph: bytes, request: EngineRequest) -> tuple[bytes, EngineKey]:
    """The graph that is built, and everything that the engine depends on.

    Raises:
        InputError: shapes or targets do not fit.
        ModelError: TensorRT, or the GPU that it builds for, is missing, or the graph cannot be built.
    """
    api = load_tensorrt(request.flavour, builder=True)
    _check_targets(request)
    device = Device("", "") if request.flavour == TENSORRT_RTX else read_device(load_cuda())
    keypoints = 0
    if COUNT_INPUT in model.entry("inputs"):
        keypoints = request.keypoints or int(model.entry("keypoints", "default_max_keypoints"))
    device_graph = make_device_graph(graph, keypoints=keypoints)
    sizes = {**({} if request.sizes else default_sizes(model)), **request.sizes}
    profile = make_profile(model, input_shapes(device_graph), sizes)
    _check_keypoint_profile(model, profile, keypoints)
    key = EngineKey(
        model_hash=str(model.entry("hash")),
        graph_sha256=hashlib.sha256(device_graph).hexdigest(),
        flavour=request.flavour,
        version=str(api.__version__),
        targets=tuple(sorted(request.targets)) or (device.capability,),
        precision=request.precision,
        profile=profile,
        keypoints=keypoints,
        device=device.name,
    )
    return device_graph, key


def _check_targets(request: EngineRequest) -> None:
    given = ", ".join(request.targets) or "none"
    if request.flavour == TENSORRT_RTX and not request.targets:
        raise InputError("tensorrt_rtx builds for GPUs that are named, found none, expected --target such as sm86,sm89")
    if request.flavour != TENSORRT_RTX and request.targets:
        raise InputError(
            f"{request.flavour} builds for the GPU of this machine, found the targets {given}, expected none"
        )


def _check_keypoint_profile(model: Model, profile: Profile, keypoints: int) -> None:
    if not keypoints:
        return
    height, width = profile["image"][0][:2]
    if max(height, width) > TRIAL_PX:
        raise InputError(f"the smallest image is {width}x{height}, expected at most {TRIAL_PX}x{TRIAL_PX}, on which "
                         "keypoints are tried when they are loaded")  # fmt: skip
    if height * width < keypoints:
        raise InputError(f"the smallest image is {width}x{height}, expected one with at least {keypoints} pixels, as "
                         "many as keypoints; name a larger one with --shapes")  # fmt: skip
    stride = int(model.entry("image", "stride"))
    if any(size % stride for shape in profile["image"] for size in shape[:2]):
        raise InputError(f"--shapes image is {profile['image']}, expected multiples of {stride}, the model's stride")


def _timing_cache(cache: Path, key: EngineKey) -> Path | None:
    """TensorRT measures tactics on the GPU; TensorRT-RTX does not."""
    return None if key.flavour == TENSORRT_RTX else cache / f"{key.version}-{_TIMING_CACHE}"
