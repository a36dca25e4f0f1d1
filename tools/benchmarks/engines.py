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

"""Engines: what a precision loses, how long ONNX Runtime takes, and what TensorRT-RTX builds without a GPU.

Rows are kept one by one, a model in a precision each: an interrupted run goes on with the next. With ENGINE_MINUTES=N
in the environment a run begins no new row after so many minutes, and its figures are of all rows so far.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine_models import MODELS, BenchmarkModel, gather
from benchmarks.provenance import ROOT, Rows
from benchmarks.real import MissingError, build_once, scene

from vloc_ros.core.config import PRECISIONS, InferenceConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.engine_build.build import EngineRequest, build_engine, convert_model, make_runnable
from vloc_ros.engine_build.matcher_samples import KEYPOINTS, MatcherSamples, write_typed_model
from vloc_ros.engine_build.samples import Samples
from vloc_ros.inference.engine_cache import PLAN
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.inference.models import Model, read_any_model, read_parts
from vloc_ros.inference.tensorrt_api import TENSORRT_RTX, load_tensorrt
from vloc_ros.storage.images import list_images

TARGETS = ("sm86", "sm89", "sm120")
# of ONNX Runtime; bf16 has no arithmetic there, and its time would be that of casts
TIMED = ("fp32", "fp16", "int8")
THREADS, TURNS, STARTS = 2, 10, 3
_LIMIT = "ENGINE_MINUTES"
_FIRST_POSE = ROOT / "tools" / "first_pose.py"


def engines(out: Path) -> dict[str, Any]:
    """Every exported model in every precision; rows that were not measured yet are named."""
    try:
        version = load_tensorrt(TENSORRT_RTX, builder=True).__version__
    except ModelError as error:
        raise MissingError(str(error)) from error
    rows, missing = Rows.of("engines"), list[str]()
    of = json.dumps([version, TARGETS, THREADS, TURNS])
    end_s = time.monotonic() + 60 * float(os.environ.get(_LIMIT, "inf"))
    models: dict[str, Any] = {one.name: {precision: {} for precision in PRECISIONS} for one in MODELS}
    figures: dict[str, Any] = {"models": models}
    for name, measure, put in _list_rows(out, figures):
        if rows.kept.get(name, {}).get("of") != of and time.monotonic() > end_s:
            missing.append(name)
        else:
            put(rows.once(name, of=of, measure=measure))
    return {
        "version": version,
        "targets": ", ".join(TARGETS),
        "threads": THREADS,
        **figures,
        "not_run": missing,
        "row_revisions": rows.revisions,
    }


def _list_rows(
    out: Path, figures: dict[str, Any]
) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]], Callable[[Mapping[str, Any]], None]]]:
    """Name and measurement of each row, and what takes its figures; builds of all models come first."""
    for title, measure in (("built", _measure_build), ("loss", _measure_loss)):
        for one in MODELS:
            for precision in PRECISIONS:
                name, take = f"{one.name}, {precision}, {title}", figures["models"][one.name][precision].update
                yield name, partial(measure, out, one, precision), take
    for one in MODELS:
        of_model = figures["models"][one.name]

        def put(found: Mapping[str, Any], of_model: dict[str, Any] = of_model) -> None:
            for precision, times in found.items():
                of_model[precision].update(times)

        yield f"{one.name}, times", partial(_measure_times, out, one), put
    yield "first pose", partial(_measure_first_pose, out), lambda found: figures.update(first_pose=found)


def _typed(out: Path, one: BenchmarkModel, precision: str) -> tuple[Model, dict[str, bytes], dict[str, Any]]:
    """The model, its graphs in a precision, and what the tool says of them; converted once.

    What ONNX Runtime runs of it is written to `typed/NAME-PRECISION`.
    """
    model = read_any_model(one.make(out))
    folder = out / "typed" / f"{one.name}-{precision}"
    kept = folder.with_suffix(".graphs")
    if not (kept / "loss.json").is_file():
        kept.mkdir(parents=True, exist_ok=True)
        samples = None if precision == "fp32" else _gather_once(out, one, model)
        graphs, loss = convert_model(model, precision, samples)
        write_typed_model(folder, model, {name: make_runnable(graph, precision) for name, graph in graphs.items()})
        for name, graph in graphs.items():
            (kept / f"{name}.onnx").write_bytes(graph)
        verdict = {"figures": {} if loss is None else dict(loss.figures), "recommended": not (loss and loss.reasons)}
        (kept / "loss.json").write_text(json.dumps(verdict))
        print("  ", one.name, precision, loss or "as it is", flush=True)
    graphs = {path.stem: path.read_bytes() for path in kept.glob("*.onnx")}
    return model, graphs, json.loads((kept / "loss.json").read_text())


_GATHERED: dict[str, MatcherSamples | None] = {}


def _gather_once(out: Path, one: BenchmarkModel, model: Model) -> Samples | MatcherSamples | None:
    """Samples; recording those of a matcher takes a minute, and they can be read more than once."""
    if one.kind != "matcher":
        return gather(out, one, model)
    if one.name not in _GATHERED:
        _GATHERED.clear()
        found = gather(out, one, model)
        assert not isinstance(found, Samples)
        _GATHERED[one.name] = found
    return _GATHERED[one.name]


def _measure_build(out: Path, one: BenchmarkModel, precision: str) -> dict[str, Any]:
    """Seconds and bytes for each target, and for all in one plan; of a matcher the sums over its stages."""
    model, graphs, _ = _typed(out, one, precision)
    built: dict[str, dict[str, float]] = {}
    for targets in (*((target,) for target in TARGETS), TARGETS):
        found = [
            build_engine(part, graphs[name], None, EngineRequest(TENSORRT_RTX, precision, targets), out / "engines")
            for name, part in read_parts(model).items()
        ]
        title = "all" if targets == TARGETS else targets[0]
        built[title] = {
            "s": round(sum(float(engine.notes["seconds"]) for engine in found), 2),
            "bytes": sum((engine.folder / PLAN).stat().st_size for engine in found),
        }
    print("  ", one.name, precision, built, flush=True)
    return {"built": built, "graph_bytes": sum(map(len, graphs.values())), "plans": len(graphs)}


def _measure_loss(out: Path, one: BenchmarkModel, precision: str) -> dict[str, Any]:
    """What the tool says, and what the task that the model is for says."""
    *_, verdict = _typed(out, one, precision)
    found = {"loss": verdict["figures"], "recommended": verdict["recommended"]}
    found["task"] = one.score(out, out / "typed" / f"{one.name}-{precision}")
    print("  ", one.name, precision, found, flush=True)
    return found


def _measure_times(out: Path, one: BenchmarkModel) -> dict[str, dict[str, float]]:
    """Medians of wall and processor time of one input, in turns so that a busy minute affects all."""
    for precision in TIMED:
        _typed(out, one, precision)
    model = read_any_model(one.make(out))
    folders = {precision: out / "typed" / f"{one.name}-{precision}" for precision in TIMED}
    running = _start_all(out, one, model, folders)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for turn in range(TURNS + 1):
        for name, run in running.items():
            start = time.perf_counter(), time.process_time()
            run()
            if turn:
                taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    medians = {name: np.median(times, axis=0) * 1e3 for name, times in taken.items()}
    return {name: {"wall_ms": float(wall), "cpu_ms": float(cpu)} for name, (wall, cpu) in medians.items()}


def _start_all(
    out: Path, one: BenchmarkModel, model: Model, folders: Mapping[str, Path]
) -> dict[str, Callable[[], object]]:
    """What runs a model once, by precision: on an image, or a matcher on a pair of them."""
    samples = _gather_once(out, one, model)
    assert samples is not None
    if isinstance(samples, MatcherSamples):
        inference = InferenceConfig(threads=THREADS)
        matchers = {
            name: IterativeMatcher(read_matching_network(folder, inference), max_keypoints=KEYPOINTS)
            for name, folder in folders.items()
        }
        return {name: partial(matcher.match, *samples.held_out[0]) for name, matcher in matchers.items()}
    running = {name: OnnxRuntime(read_any_model(folder), threads=THREADS) for name, folder in folders.items()}
    return {name: partial(engine.run, samples.held_out[0]) for name, engine in running.items()}


def _measure_first_pose(out: Path) -> dict[str, Any]:
    """Seconds from the start of a process to the pose of its first image, by XFeat on ONNX Runtime.

    What it reads is in memory: an untimed process read it before.
    """
    words = ("--extractor", str(MODELS[0].make(out)))
    folder = build_once(out, "redkitchen", *words, title="redkitchen-xfeat")
    image = list_images(scene("redkitchen") / "query/images")[0]
    given = [str(folder), str(image), str(scene("redkitchen") / "camera_info.yaml")]
    _, *runs = [_start_process(given) for _ in range(1 + STARTS)]
    return {"files in memory": runs}


def _start_process(words: Sequence[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, str(_FIRST_POSE), *words], check=True, capture_output=True, text=True)
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds
