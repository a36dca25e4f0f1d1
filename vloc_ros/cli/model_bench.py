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

"""Measure how long a model takes on this machine, on each engine, and how much memory.

  vloc model bench models/xfeat --size 640x480

Time to load and of the first run, then the median and the 95th percentile of the others, and the growth of the largest
resident memory, each engine in a process of its own. What cannot run is named with the reason.
Of a matcher the embedding alone is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.inference.models import Model


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder, or a map that carries its model")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="of the image of a keypoint model")
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="runs that are timed")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of ONNX Runtime; 0 for one per core")


def run(args: argparse.Namespace) -> int:
    """Time every engine, in a process of its own: the peak of memory of one would hide that of the next."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    from vloc_ros.cli.models import note_parts, read_model_of, start_all_engines
    from vloc_ros.core.errors import InputError, VlocError

    if args.runs < 1:
        raise InputError(f"--runs is {args.runs}, expected 1 or more")
    model = read_model_of(args.model)
    _make_inputs(model, args.size)  # what does not fit is refused once
    if note := note_parts(model):
        print(f"  {note}")
    print(f"  {'engine':40} {'load':>8} {'first':>8} {'median':>8} {'95 %':>8} {'memory':>8}")
    for name in start_all_engines(model):
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                times = process.submit(_time_engine, args.model, name, args.size, args.runs, args.threads).result()
            print(f"  {name:40} {times}", flush=True)
        except VlocError as error:
            print(f"  {name:40} cannot run: {error}")
        except BrokenProcessPool:
            print(f"  {name:40} cannot run: its process died; memory may have been full")
    return 0


def _make_inputs(model: Model, size: str) -> Mapping[str, Any]:
    """The references of a model, or noise of the size that its keypoints are found in.

    Raises:
        InputError: the size has another form, or the model takes no images and has no references.
    """
    import numpy as np

    from vloc_ros.core.errors import InputError
    from vloc_ros.engine_build.samples import make_sampler
    from vloc_ros.inference.references import read_references

    if model.entry("kind") != "keypoints" and (references := read_references(model)) is not None:
        return references.inputs
    try:
        width, height = map(int, size.split("x"))
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    except ValueError:
        raise InputError(f"--size is {size!r}, expected WIDTHxHEIGHT such as 640x480") from None
    return make_sampler(model)(image)


def _time_engine(folder: Path, name: str, size: str, runs: int, threads: int) -> str:
    """Times of one engine, for people."""
    import numpy as np

    from vloc_ros.cli.models import read_model_of, start_all_engines

    model = read_model_of(folder)
    inputs, start = _make_inputs(model, size), start_all_engines(model, threads=threads)[name]
    before = _largest_resident_mb()
    stamps = [time.perf_counter()]
    engine = start()
    stamps.append(time.perf_counter())
    for _ in range(runs + 1):
        engine.run(inputs)
        stamps.append(time.perf_counter())
    load, first, *rest = np.diff(stamps) * 1e3
    median, high = np.percentile(rest, (50, 95))
    grown = _largest_resident_mb() - before
    return f"{load:5.0f} ms {first:5.1f} ms {median:5.1f} ms {high:5.1f} ms {grown:5.0f} MB"


def _largest_resident_mb() -> float:
    """Of this process; ru_maxrss would count the one that started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3
