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

"""Build, localize and evaluate in a simulated world with exact truth.

Renders two laps through a simulated room, and one through another room that looks like it. Builds a map of the first
lap and localizes the second in it. The images of the third are negatives, which must be refused. Where ROS 2 and
vloc_msgs are installed, the second lap is also played to the nodes as a bag, and what they publish is scored. Where a
network can be exported (`make training`), the same is mapped and localized by learned keypoints. Each step is a command
that is shown first, with what it is for, so that it can be repeated on images of one's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.simulation.scenario import Lap

_WORLD = "room"
_SEED = 1
_NETWORK = "xfeat"
_MARK = ".vloc_demo"
_FOLDERS = ("images", "map", "results", "bag", "xfeat", "xfeat-map")
_FILES = ("map.html", "report.html", "scores.json", "negatives.json", "live.json", "xfeat.json")
_MAP_FRAMES, _QUERY_FRAMES, _NEGATIVE_FRAMES = 80, 40, 40


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="folder to write: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Render, then run the commands one after the other."""
    clear(args.out)
    code = 1
    try:
        code = _make(args.out)
    except KeyboardInterrupt:
        code = 130
    finally:
        if code:
            print(f"vloc: {args.out} is incomplete; run the demo again", file=sys.stderr)
    return code


def _make(out: Path) -> int:
    """Images and all steps; the exit code of the first one that fails."""
    make_images(out)
    live, learned = has_ros(), can_export()
    steps = [*offline_steps(out), *(live_steps(out) if live else []), *(learned_steps(out) if learned else [])]
    for purpose, words in steps:
        if code := _shown(purpose, words):
            return code
    if not live:
        print("\nROS 2 or vloc_msgs is not installed here: the live evaluation was left out; `vloc doctor` says more")
    if not learned:
        why = "PyTorch or the weights are missing; `vloc doctor` says more"
        print(f"\nOptional: learned keypoints were not shown, since {why}")
    print(f"\nopen {out}/report.html (how well), {out}/map.html (the map); poses are in {out}/results")
    return 0


def clear(out: Path) -> None:
    """Remove what an earlier demo left in `out`, so that pages of one are never beside the map of another.

    Raises:
        InputError: the folder holds something else, which stays as it is.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.atomic import write_bytes_atomically

    if out.exists() and not (out / _MARK).exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds files that are no earlier demo's; name another folder with --out")
    for folder in _FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in _FILES:
        (out / file).unlink(missing_ok=True)
    write_bytes_atomically(out / _MARK, b"written by `vloc demo`, which replaces what is here\n")


def make_images(out: Path) -> None:
    """The three laps as folders that hold what a user's own recording would: images, poses, a calibration."""
    from vloc_ros.simulation.scenario import make_aliased_lap, make_scenario
    from vloc_ros.storage.cameras import write_camera

    scenario = make_scenario(_WORLD, _SEED, map_frames=_MAP_FRAMES, query_frames=_QUERY_FRAMES)
    negatives = make_aliased_lap(scenario.map_lap.world, _NEGATIVE_FRAMES, _SEED)
    write_camera(out / "images" / "camera.yaml", scenario.map_lap.camera, name="demo")
    for name, lap in (("map", scenario.map_lap), ("query", scenario.query_lap), ("negatives", negatives)):
        _render(lap, out / "images" / name)


def _render(lap: Lap, folder: Path) -> None:
    """Write a lap's images and true poses."""
    import cv2

    from vloc_ros.progress import bar
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.trajectories import Trajectory, write_tum

    for index in bar(range(len(lap)), description=f"rendering {lap.world.name}"):
        done, data = cv2.imencode(".png", lap.image(index))
        assert done
        write_bytes_atomically(folder / "images" / lap.name(index), bytes(data))
    write_tum(folder / "poses.txt", Trajectory(lap.stamps_ns, lap.map_from_camera))


Step = tuple[str, list[str]]


def offline_steps(out: Path) -> list[Step]:
    """The commands from images to pages, each with what it is for."""
    images, folder = out / "images", out / "map"
    camera = ["--camera", f"{images}/camera.yaml"]
    mapped = ["--images", f"{images}/map/images", "--poses", f"{images}/map/poses.txt", *camera]
    queries = ["--map", f"{folder}", "--images", f"{images}/query/images", *camera]
    negatives = ["--map", f"{folder}", "--images", f"{images}/negatives/images", "--absent", *camera]
    truth = ["--poses", f"{images}/query/poses.txt"]
    shown = f"{images}/map/images"
    report = ["--map-images", shown, "--report", f"{out}/report.html"]
    return [
        ("build a map of the first lap, whose poses are known", ["map", "build", *mapped, "--out", f"{folder}"]),
        ("localize the second lap in it", ["localize", *queries, "--out", f"{out}/results"]),
        (
            "write a page with the map and the poses that were found",
            ["map", "view", f"{folder}", "--images", shown, "--results", f"{out}/results", "--out", f"{out}/map.html"],
        ),
        (
            "negatives: images of another room that looks like it, accepted 0 is right",
            ["evaluate", *negatives, "--json", f"{out}/negatives.json"],
        ),
        (
            "compare the poses of the second lap with the true ones, and write a report",
            ["evaluate", *queries, *truth, "--json", f"{out}/scores.json", *report],
        ),
    ]


def live_steps(out: Path) -> list[Step]:
    """The commands that play the second lap to the ROS 2 nodes."""
    query, bag = out / "images" / "query", out / "bag"
    made = ["--images", f"{query}/images", "--poses", f"{query}/poses.txt", "--camera", f"{out}/images/camera.yaml"]
    live = ["--map", f"{out}/map", "--bag", f"{bag}", "--truth-topic", "/truth", "--live"]
    return [
        ("make a bag of the second lap, as a robot records it", ["bag", "make", *made, "--out", f"{bag}"]),
        ("play it to the ROS 2 nodes, and score what they publish", ["evaluate", *live, "--json", f"{out}/live.json"]),
    ]


def learned_steps(out: Path) -> list[Step]:
    """The commands that map and localize the same by learned keypoints."""
    images, model, folder = out / "images", out / "xfeat", out / "xfeat-map"
    camera = ["--camera", f"{images}/camera.yaml"]
    mapped = ["--images", f"{images}/map/images", "--poses", f"{images}/map/poses.txt", *camera]
    queries = ["--images", f"{images}/query/images", "--poses", f"{images}/query/poses.txt", *camera]
    return [
        ("export a network that finds keypoints", ["model", "export", _NETWORK, "--out", f"{model}"]),
        (
            "build the map of the first lap by its keypoints",
            ["map", "build", *mapped, "--extractor", f"{model}", "--out", f"{folder}"],
        ),
        (
            "compare the poses of the second lap in that map with the true ones",
            ["evaluate", "--map", f"{folder}", *queries, "--json", f"{out}/xfeat.json"],
        ),
    ]


def can_export() -> bool:
    """Whether PyTorch and the published weights are installed."""
    if not all(importlib.util.find_spec(package) is not None for package in ("torch", "onnx", "onnxscript")):
        return False
    from vloc_ros.core.errors import VlocError
    from vloc_ros.model_export.export import network_named

    try:
        network_named(_NETWORK).weights.read_license()
    except VlocError:
        return False
    return True


def has_ros() -> bool:
    """Whether the nodes can run here."""
    return all(importlib.util.find_spec(package) is not None for package in ("rclpy", "vloc_msgs"))


def _shown(purpose: str, words: Sequence[str]) -> int:
    """Run a command as if it had been typed."""
    from vloc_ros.cli.main import main

    print(f"\n# {purpose}\n$ vloc {shlex.join(words)}", flush=True)
    return main(words)
