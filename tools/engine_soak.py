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

"""Memory of a localizer with an engine over time, under two executors of rclpy, without a GPU.

    python tools/engine_soak.py --minutes 60 --model models/xfeat
    python tools/engine_soak.py --minutes 3 --rate 2

A simulated robot drives in circles. Two localizers in processes of their own take its images: one under the executor
of this package, one under rclpy's MultiThreadedExecutor. Their keypoints are XFeat's, by `TensorRtEngine`. CUDA and
TensorRT are a stand-in: calls are recorded, memory, graphs and threads are those that the engine asks for, and ONNX
Runtime gives the outputs.

Read every ten seconds are the anonymous memory of each process, what of it is in use, what is allocated on the device,
recorded graphs, and how many threads called CUDA. A leak is in use; what is resident also grows by what the allocators
keep of the largest backlog so far, a mebibyte (an arena of Python) at a time. Queues are filled by a burst of images
first, since what they took for images that waited stays taken. So the exit code is 1 where, from the third minute to
the last, what malloc has handed out grew by 2 MB or more (150 bytes an image in an hour at 5 Hz) or the blocks of
Python's allocator by 1 % or more; where resident memory grew by 5 MB or more over the second half; where what is
allocated on the device changed, calls came from a second thread, less than half of what was not dropped was OK, or a
node ended. Runs of at least forty minutes are kept in docs/benchmark/engine_soak.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.provenance import ROOT, Watch, keep_figures
from soak import MOST_GROWTH_MB, SETTLED_S, SoakRobot, measure_growth_mb, read_anonymous_mb
from tqdm import tqdm

from vloc_ros.core.sources import PosedImage
from vloc_ros.engine_build.device_graph import make_device_graph
from vloc_ros.evaluation.live_processes import free_domain
from vloc_ros.footprint import ONE_HEAP, limit_blas_threads
from vloc_ros.inference.engine_cache import Profile, list_engines
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.simulation.scenario import Lap, make_lap, make_scenario
from vloc_ros.storage.maps import write_map

if TYPE_CHECKING:
    from vloc_ros.nodes.localizer.node import LocalizerNode

sys.path.append(str(ROOT / "test" / "inference"))
EXECUTORS = {"own": "localizer_own", "multi": "localizer_multi"}
MAP_FRAMES, LAP_FRAMES, SEED = 40, 60, 141
SAMPLE_S, START_S, LEAST_KEPT_MINUTES = 10.0, 120.0, 40.0
LEAST_OK = 0.5
MOST_HEAP_GROWTH_MB, MOST_BLOCK_GROWTH = 2.0, 0.01
# images at once before the run, more than any queue holds: what queues keep, they keep from then on
BURST = 40
Nodes = dict[str, subprocess.Popen[bytes]]
_PROFILE: Profile = {
    "image": ((96, 96), (480, 640), (480, 640)),
    "min_score": ((1,), (1,), (1,)),
}


def main() -> int:
    """Run, and print a line a minute; 0 where nothing grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5.0, help="images per second")
    parser.add_argument("--model", type=Path, help="model folder of xfeat; exported if not given")
    parser.add_argument("--node", choices=EXECUTORS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.node:
        return _run_node(args.node, args.folder)
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="vloc_engine_soak_") as scratch, free_domain() as environment:
        lap = _prepare(Path(scratch), args.model)
        os.environ.update({**environment, **ONE_HEAP})  # as the nodes have it
        command = [sys.executable, __file__, "--folder", scratch, "--node"]
        nodes = {name: subprocess.Popen([*command, name]) for name in EXECUTORS}
        try:
            figures = _drive(lap, args, nodes, Path(scratch))
        finally:
            for process in nodes.values():
                process.terminate()
                process.wait()
    if args.minutes >= LEAST_KEPT_MINUTES:
        keep_figures("engine_soak", figures, watch.stop())
    print(json.dumps({name: value for name, value in figures.items() if name != "samples"}, indent=1))
    return 0 if figures["passed"] else 1


def _prepare(folder: Path, model: Path | None) -> Lap:
    """A map by XFeat, its engine, and a lap to drive."""
    from software_gpu import write_software_engine

    if model is None:
        model = folder / "xfeat"
        words = ["model", "export", "xfeat", "--out", str(model)]
        subprocess.run([sys.executable, "-m", "vloc_ros.cli.main", *words], check=True, cwd=ROOT)
    scenario = make_scenario("room", SEED, map_frames=MAP_FRAMES, query_frames=2)
    lap = scenario.map_lap
    images = [
        PosedImage(lap.name(i), lambda i=i: lap.image(i), lap.camera, pose, int(lap.stamps_ns[i]))  # type: ignore[misc]
        for i, pose in enumerate(lap.map_from_camera)
    ]
    keypoint_model = read_keypoint_model(model)
    config = MappingConfig(extractor=keypoint_model_config(keypoint_model))
    write_map(build_map(images, name="room", config=config, keypoint_model=keypoint_model), folder / "map")
    keypoints = config.extractor.max_keypoints
    graph = make_device_graph(keypoint_model.graph.tobytes(), keypoints=keypoints)
    cache = folder / "cache" / "vloc_ros" / "engines"
    write_software_engine(cache, keypoint_model.hash, graph, _PROFILE, keypoints=keypoints)
    return make_lap(lap.world, LAP_FRAMES, SEED)


def _run_node(executor_name: str, folder: Path) -> int:
    """One localizer with its engine, until it is terminated."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    import gc

    import rclpy
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.parameter import Parameter
    from rclpy.task import Future
    from recorded_cuda import RecordedCuda
    from software_gpu import use_software_gpu

    from vloc_ros.nodes.localizer.node import LocalizerNode
    from vloc_ros.nodes.rclpy_support.image_transfer import receive_over_udp
    from vloc_ros.nodes.rclpy_support.process import NodeExecutor, spin

    (built,) = list_engines(folder / "cache" / "vloc_ros" / "engines")
    cuda = RecordedCuda(counts_only=True)
    values = {"map": str(folder / "map"), "image_reliability": "reliable", "inference.engine": "tensorrt",
              "inference.precision": "fp16"}  # fmt: skip
    with use_software_gpu(cuda, built.key.profile, keypoints=built.key.keypoints):
        receive_over_udp()  # this and what follows as in the process of a localizer
        limit_blas_threads()
        gc.freeze()
        rclpy.init(args=["--ros-args", "-r", f"__node:={EXECUTORS[executor_name]}"])
        node = LocalizerNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
        executor = NodeExecutor() if executor_name == "own" else MultiThreadedExecutor(4)
        executor.add_node(node)
        counts = _Counts(cuda, node, folder / f"{executor_name}.json")
        node.create_timer(SAMPLE_S / 2, counts.write)
        spin(executor, Future())
    return 0


class _Counts:
    """What the stand-in holds, and how many threads called it since the node is active."""

    def __init__(self, cuda: Any, node: LocalizerNode, path: Path) -> None:
        self._cuda, self._node, self._path, self._active = cuda, node, path, False

    def write(self) -> None:
        """Write both, once the node is active."""
        from vloc_ros.nodes.rclpy_support.managed import ACTIVE

        cuda = self._cuda
        if not self._active:
            if self._node.state == ACTIVE:
                self._active = True
                cuda.threads.clear()  # configuring the node reads the device, from another thread
            return
        held = {"blocks": len(cuda.allocated), "graphs": len(cuda.graphs), "threads": len(cuda.threads)}
        calls = {"launches": cuda.calls["cudaGraphLaunch"], "calls": cuda.calls.total()}
        in_use = {"heap_mb": read_heap_mb(), "python_blocks": sys.getallocatedblocks()}
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({**held, **calls, **in_use}))
        part.replace(self._path)


def _drive(
    lap: Lap, args: argparse.Namespace, nodes: dict[str, subprocess.Popen[bytes]], folder: Path
) -> dict[str, Any]:
    """Publish images until the time is over, and sample both processes."""
    images = [lap.image(i) for i in tqdm(range(len(lap)), desc="rendering")]
    robot = SoakRobot(lap, images, localizers=tuple(EXECUTORS.values()))
    samples: list[dict[str, Any]] = []
    try:
        robot.wait_for_localizer(START_S)
        for number in range(BURST):
            robot.publish(number)
        start = next_sample = time.monotonic()
        for number in range(round(args.minutes * 60 * args.rate)):
            robot.publish(number)
            if any(process.poll() is not None for process in nodes.values()):
                raise SystemExit(f"engine_soak: a node ended after {(time.monotonic() - start) / 60:.1f} minutes")
            if time.monotonic() >= next_sample:
                samples.append({"s": time.monotonic() - start, **_sample(nodes, folder)})
                next_sample += SAMPLE_S
                if len(samples) % 6 == 1:
                    print(f"  {samples[-1]['s'] / 60:5.1f} min  {samples[-1]}  {dict(robot.statuses)}", flush=True)
            robot.spin_until(start + (number + 1) / args.rate)
    finally:
        robot.close()
    return _summarize(samples, robot.statuses, args)


def _sample(nodes: Nodes, folder: Path) -> dict[str, Any]:
    found = {}
    for name, process in nodes.items():
        path = folder / f"{name}.json"
        counts = json.loads(path.read_text()) if path.is_file() else {}
        found[name] = {"mb": read_anonymous_mb(process.pid), **counts}
    return found


_MALLINFO2 = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # of glibc


class _MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2.split()]


def read_heap_mb() -> float:
    """Return what malloc of this process has handed out and not got back: without Python's objects up to 512 bytes."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _MallocInfo
    info = mallinfo()
    return float(info.uordblks + info.hblkhd) / 2**20


def measure_in_use_growth(samples: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Return how much more was in use in the last sixth of the run than in the first; the least: images come and go."""
    part = max(1, len(samples) // 6)
    first, last = (
        {what: min(sample[name].get(what, float("nan")) for sample in of) for what in ("heap_mb", "python_blocks")}
        for of in (samples[:part], samples[-part:])
    )
    return {
        "heap_mb": last["heap_mb"] - first["heap_mb"],
        "python_blocks": last["python_blocks"] / first["python_blocks"] - 1.0,
    }


def _summarize(samples: list[dict[str, Any]], statuses: Counter[str], args: argparse.Namespace) -> dict[str, Any]:
    settled = [sample for sample in samples if sample["s"] >= min(SETTLED_S, args.minutes * 30)]
    growth = {name: measure_growth_mb([sample[name]["mb"] for sample in settled]) for name in EXECUTORS}
    half = samples[len(samples) // 2 :]
    late = {name: measure_growth_mb([sample[name]["mb"] for sample in half]) for name in EXECUTORS}
    in_use = {name: measure_in_use_growth(settled, name) for name in EXECUTORS}
    held = {
        name: {what: sorted({sample[name].get(what, -1) for sample in settled}) for what in ("blocks", "threads")}
        for name in EXECUTORS
    }
    steady = all(len(of["blocks"]) == 1 and of["threads"] == [1] for of in held.values())
    last = {name: settled[-1][name] for name in EXECUTORS}
    return {
        "minutes": round(samples[-1]["s"] / 60, 1),
        "rate_hz": args.rate,
        "statuses": dict(statuses),
        "growth_mb": growth,
        "growth_of_second_half_mb": late,
        "growth_in_use": in_use,
        "held": held,
        "last": last,
        "samples": [
            {"s": sample["s"], **{name: sample[name]["mb"] for name in EXECUTORS}}
            | {f"{name}_heap": sample[name].get("heap_mb") for name in EXECUTORS}
            for sample in samples
        ],
        "passed": bool(
            steady
            and statuses["OK"]
            and statuses["OK"] >= LEAST_OK * (statuses.total() - statuses["DROPPED"])
            and all(mb < MOST_GROWTH_MB for mb in late.values())
            and all(of["heap_mb"] < MOST_HEAP_GROWTH_MB for of in in_use.values())
            and all(of["python_blocks"] < MOST_BLOCK_GROWTH for of in in_use.values())
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
