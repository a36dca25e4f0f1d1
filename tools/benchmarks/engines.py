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

"""Engines: what a precision loses, how long ONNX Runtime takes, and what TensorRT-RTX builds without a GPU."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.command import vloc
from benchmarks.real import MissingError, build_once, queries, scene

from vloc_ros.core.config import PRECISIONS
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.pose import Array
from vloc_ros.engine_build.build import EngineRequest, build_engine, convert_precision
from vloc_ros.engine_build.samples import Sample, read_samples
from vloc_ros.inference.engine_cache import PLAN
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.keypoints import keypoint_model_config
from vloc_ros.inference.models import Model, read_any_model, verify_model, write_model
from vloc_ros.inference.tensorrt_api import TENSORRT_RTX, load_tensorrt
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map, write_map

MODELS = ("xfeat", "aliked-t16", "aliked-n16", "gem-efficientnet-lite0")
TARGETS = ("sm86", "sm89", "sm120")
THREADS, TURNS = 2, 10
_CORRIDOR_LAP = 40
# prints the seconds from the start of the process to the first keypoints
_FIRST_ANSWER = """
import sys, time
from pathlib import Path
import numpy as np
from vloc_ros.inference.keypoints import keypoint_model_config, load_keypoints, read_keypoint_model
model = read_keypoint_model(Path(sys.argv[1]))
extractor = load_keypoints(keypoint_model_config(model), model)
extractor.extract(np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8))
born = float(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / 100
print(time.clock_gettime(time.CLOCK_BOOTTIME) - born)
"""


def engines(out: Path) -> dict[str, Any]:
    """Every exported model in every precision."""
    try:
        version = load_tensorrt(TENSORRT_RTX, builder=True).__version__
    except ModelError as error:
        raise MissingError(str(error)) from error
    images = list_images(scene("redkitchen") / "map/images")
    figures: dict[str, Any] = {"version": version, "targets": ", ".join(TARGETS), "threads": THREADS, "models": {}}
    for name in MODELS:
        folder = out / "models" / name
        if not folder.exists():
            vloc("model", "export", name, "--out", folder)
        figures["models"][name] = _measure_model(out, read_any_model(folder), images)
    figures["start_s"] = _seconds_to_first_answer(out / "models" / "xfeat")
    return figures


def _measure_model(out: Path, model: Model, images: Sequence[Path]) -> dict[str, Any]:
    typed, rows = {}, {}
    for precision in PRECISIONS:
        graph, loss = convert_precision(model, precision, images)
        request = EngineRequest(TENSORRT_RTX, precision, TARGETS)
        built = build_engine(model, graph, loss, request, out / "engines")
        rows[precision] = {
            "build_s": built.notes["seconds"],
            "plan_bytes": (built.folder / PLAN).stat().st_size,
            "graph_bytes": len(graph),
            "loss": {} if loss is None else dict(loss.figures),
            "recommended": loss is None or not loss.reasons,
        }
        typed[precision] = _write_typed(out, model, graph, precision)
        print("  ", model.manifest["name"], precision, rows[precision], flush=True)
    sample = next(iter(read_samples(model, images[:1])))
    for precision, times in _cpu_times(typed, sample).items():
        rows[precision] |= times
    for precision, folder in typed.items():
        if model.manifest["name"] == "xfeat":
            rows[precision]["redkitchen"] = _localize(out, folder, precision)
        if model.entry("kind") == "global descriptor":
            rows[precision]["corridor_r1"] = _recall(read_any_model(folder))
    return rows


def _write_typed(out: Path, model: Model, graph: bytes, precision: str) -> Path:
    folder = out / "typed" / f"{model.manifest['name']}-{precision}"
    kept = {name: value for name, value in model.manifest.items() if name not in ("hash", "references")}
    write_model(folder, graph, kept)
    return folder


def _cpu_times(typed: dict[str, Path], sample: Sample) -> dict[str, dict[str, float]]:
    """Medians of wall and processor time of one image, in turns so that a busy minute affects all."""
    running = {name: OnnxRuntime(read_any_model(folder), threads=THREADS) for name, folder in typed.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for turn in range(TURNS + 1):
        for name, engine in running.items():
            start = time.perf_counter(), time.process_time()
            engine.run(sample)
            if turn:
                taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    medians = {name: np.median(times, axis=0) * 1e3 for name, times in taken.items()}
    return {name: {"wall_ms": float(wall), "cpu_ms": float(cpu)} for name, (wall, cpu) in medians.items()}


def _localize(out: Path, folder: Path, precision: str) -> dict[str, Any]:
    """Queries by keypoints in a precision, against the map in float32."""
    reference = build_once(out, "redkitchen", "--extractor", str(out / "models" / "xfeat"), title="redkitchen-xfeat")
    landmark_map, read = read_map(reference), read_any_model(folder)
    model = KeypointModel(read.manifest, np.frombuffer(read.graph, np.uint8))
    verify_model(folder, model.manifest, read.graph, kind="keypoints")
    extractor = replace(landmark_map.extractor, model_hash=keypoint_model_config(model).model_hash)
    target = out / "maps" / f"redkitchen-xfeat-{precision}"
    write_map(replace(landmark_map, extractor=extractor, keypoint_model=model), target)
    scores = queries(out, "redkitchen", target)
    return {name: scores[name] for name in ("queries", "accepted", "median_translation_m", "recall")}


def _recall(model: Model) -> float:
    """R@1 of the corridor's second lap against its first, one thread."""
    data = scene("corridor")
    paths = list_images(data / "images")
    engine = OnnxRuntime(model, threads=THREADS)
    found: Array = np.concatenate([engine.run(sample)["descriptors"] for sample in read_samples(model, paths)])
    first_lap = {path.name: index for index, path in enumerate(paths[:_CORRIDOR_LAP])}
    right: dict[str, set[str]] = {}
    with open(data / "same_place.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["map_image"] in first_lap:
                right.setdefault(row["query_image"], set()).add(row["map_image"])
    names, hits = [path.name for path in paths], []
    for index, name in enumerate(names):
        if index >= _CORRIDOR_LAP and name in right:
            nearest = int(np.argmax(found[:_CORRIDOR_LAP] @ found[index]))
            hits.append(names[nearest] in right[name])
    return float(np.mean(hits))


def _seconds_to_first_answer(folder: Path) -> list[float]:
    """Seconds from the start of a process to the keypoints of its first image, of three processes in a row."""
    command = [sys.executable, "-c", _FIRST_ANSWER, str(folder)]
    done = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3))
    return [float(one.stdout) for one in done]
