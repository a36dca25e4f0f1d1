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

"""Build maps of a published benchmark's training images, localize its test images, and score them as published.

  vloc benchmark 7scenes --root DIR --out DIR       DIR/chess/seq-01, TrainSplit.txt; within 5 cm and 5 degrees
  vloc benchmark 12scenes --root DIR --out DIR      DIR/apt1/kitchen/data, info.txt, split.txt; within 5 cm, 5 degrees
  vloc benchmark cambridge --root DIR --out DIR     DIR/KingsCollege/dataset_train.txt; median error
  vloc benchmark aachen --root DIR --out DIR        DIR/images_upright, 3D-models, queries; v1 or v1.1

Data are not downloaded: a scene that is missing is named with where it comes from. With --sfm-poses DIR, a folder such
as pgt/sfm/7scenes of https://github.com/tsattler/visloc_pseudo_gt_limitations, every scene is run twice: by its own
poses, and by those of joint structure from motion. The true poses of Aachen's queries are on a server alone, which
gives the shares within 0.25 m and 2 degrees, 0.5 m and 5, 5 m and 10: upload OUT/aachen/submission.txt to
https://www.visuallocalization.net.

OUT holds table.txt, results.json, and for every scene its map, its results and result.json. A scene with a result by
the same settings, of the same images, poses and calibrations, is not run again, so that an interrupted benchmark goes
on. Where a scene fails the others go on, and
the exit code is 1. submission.txt of a scene has rows `IMAGE qw qx qy qz tx ty tz` of camera_from_world.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.benchmark_scenes import SceneSettings, read_result, run_scene
from vloc_ros.progress import bar, format_time_left

if TYPE_CHECKING:
    from vloc_ros.datasets.benchmarks.scene import BenchmarkScene

# name -> module in vloc_ros.datasets.benchmarks, limits of its published measure
_BENCHMARKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "7scenes": ("seven_scenes", ("5cm_5deg",)),
    "12scenes": ("twelve_scenes", ("5cm_5deg",)),
    "cambridge": ("cambridge", ("25cm_2deg",)),
    "aachen": ("aachen", ()),
}
_OWN, _SFM = "published", "sfm"


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A scene by one kind of poses; without a scene there is an error in its place."""

    name: str
    poses: str
    folder: Path
    scene: BenchmarkScene | None
    settings: SceneSettings | None
    error: str = ""

    @property
    def images(self) -> int:
        """How many images there are to go through."""
        return 0 if self.scene is None else len(self.scene.map_files) + len(self.scene.queries)


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("benchmark", choices=tuple(_BENCHMARKS), help="which")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data as they are published")
    parser.add_argument("--scene", action="append", metavar="S", help="such as chess; repeatable; all by default")
    parser.add_argument("--sfm-poses", type=Path, metavar="DIR", help="files such as chess_train.txt, chess_test.txt")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, or to go on with")
    parser.add_argument("--extractor", default="rootsift", metavar="rootsift|MODEL", help="as for `vloc map build`")
    parser.add_argument("--max-keypoints", type=int, metavar="N", help="per image of the map and per query")
    parser.add_argument("--map-every", type=int, default=1, metavar="N", help="only every N-th image of the map")
    parser.add_argument("--query-every", type=int, default=1, metavar="N", help="only every N-th query")
    parser.add_argument("--map-set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of mapping")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of localizing")


def run(args: argparse.Namespace) -> int:
    """Run all scenes that have no result yet, and write the table."""
    _check(args)
    settings = _settings(args)
    _check_out(args)
    tasks, others = _read_tasks(args, settings), _read_other_results(args, settings)
    results: list[dict[str, Any]] = []
    seconds, images = 0.0, 0
    for number, task in enumerate(tasks):
        kept = task.settings and read_result(task.folder, task.settings)
        started = time.monotonic()
        results.append(kept or _run(task, f"{number + 1} of {len(tasks)}"))
        if not kept and results[-1]["status"] == "done":
            seconds, images = seconds + time.monotonic() - started, images + task.images
        _write(args, [*others, *results])
        _report_time_left(tasks[number + 1 :], seconds, images)
    print(_table(args, [*others, *results]))
    print(f"written: {args.out}/table.txt, {args.out}/results.json")
    return 0 if all(result["status"] == "done" and not result["unusable"] for result in results) else 1


def _check(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    for name in ("map_every", "query_every"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected 1 or more")
    known = _module(args).SCENES
    for scene in args.scene or ():
        if scene not in known:
            raise InputError(f"--scene {scene}: {args.benchmark} has no such scene, expected one of {', '.join(known)}")


def _module(args: argparse.Namespace) -> Any:
    return importlib.import_module(f"vloc_ros.datasets.benchmarks.{_BENCHMARKS[args.benchmark][0]}")


def _check_out(args: argparse.Namespace) -> None:
    """Raise unless the folder is new, empty, or of this benchmark."""
    from vloc_ros.storage.output_files import json_at
    from vloc_ros.storage.output_folders import check_free

    if json_at(args.out / "results.json", key=args.benchmark).replaces:
        return
    check_free(args.out, kind=f"results of {args.benchmark}")
    _write(args, [])


def _read_tasks(args: argparse.Namespace, settings: SceneSettings) -> list[_Task]:
    names = dict.fromkeys(args.scene or _module(args).SCENES)
    shown = bar(list(names), description="reading the scenes")
    return [_read_task(args, name, poses, settings) for name in shown for poses in _kinds(args)]


def _kinds(args: argparse.Namespace) -> tuple[str, ...]:
    return (_OWN, _SFM) if args.sfm_poses else (_OWN,)


def _read_other_results(args: argparse.Namespace, settings: SceneSettings) -> list[dict[str, Any]]:
    """Of scenes and kinds of poses that are not to be run now, what was run by the same settings."""
    now = [(name, poses) for name in args.scene or _module(args).SCENES for poses in _kinds(args)]
    others = [(name, poses) for name in _module(args).SCENES for poses in (_OWN, _SFM) if (name, poses) not in now]
    found = (read_result(_folder(args, *other), settings) for other in others)
    return [result for result in found if result is not None]


def _folder(args: argparse.Namespace, name: str, poses: str) -> Path:
    return args.out / (name.replace("/", "_") + ("-sfm" if poses == _SFM else ""))


def _read_task(args: argparse.Namespace, name: str, poses: str, settings: SceneSettings) -> _Task:
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.benchmarks.scene import MissingDataError

    folder = _folder(args, name, poses)
    try:
        scene = _module(args).read_scene(args.root, name, sfm_poses=args.sfm_poses if poses == _SFM else None)
        scene = scene.thinned(map_every=args.map_every, query_every=args.query_every)
    except MissingDataError as error:
        return _Task(name, poses, folder, None, None, f"not run: {error}")
    except InputError as error:
        return _Task(name, poses, folder, None, None, f"failed: {error}")
    return _Task(name, poses, folder, scene, replace(settings, digests=scene.digests()))


def _settings(args: argparse.Namespace) -> SceneSettings:
    from vloc_ros.cli.localizer_options import assign_all
    from vloc_ros.cli.map_build import read_extractor
    from vloc_ros.core.config import LocalizerConfig, config_from_mapping
    from vloc_ros.evaluation.run_description import version
    from vloc_ros.mapping.config import mapping_config_from

    keypoint_model, extractor = read_extractor(args.extractor)
    mapping: dict[str, Any] = {"extractor": {"max_keypoints": args.max_keypoints}} if args.max_keypoints else {}
    localizing: dict[str, Any] = {}
    assign_all(mapping, args.map_set)
    assign_all(localizing, args.set)
    every = {"map_every": args.map_every, "query_every": args.query_every}
    source = {"root": args.root.resolve(), **every, "version": version()}
    return SceneSettings(
        mapping_config_from(mapping, extractor=extractor),
        config_from_mapping(LocalizerConfig, localizing),
        keypoint_model,
        source,
    )


def _run(task: _Task, number: str) -> dict[str, Any]:
    """The result of a scene, or why there is none."""
    from vloc_ros.core.errors import VlocError

    status = task.error
    if task.scene is not None and task.settings is not None:
        counts = f"{len(task.scene.map_files)} images for the map, {len(task.scene.queries)} queries"
        print(f"{number}: {task.name}, {task.poses} poses: {counts}", flush=True)
        try:
            return run_scene(task.scene, task.folder, task.settings, task.poses)
        except (VlocError, OSError) as error:
            status = f"failed: {error}"
    print(f"vloc: {task.name}, {task.poses} poses: {status}", file=sys.stderr)
    return {"status": status, "scene": task.name, "poses": task.poses}


def _report_time_left(tasks: Sequence[_Task], seconds: float, images: int) -> None:
    """How long the scenes to come may take, by the time of the images so far."""
    ahead = sum(task.images for task in tasks if not (task.settings and read_result(task.folder, task.settings)))
    if images and ahead:
        print(f"{len(tasks)} to go, {format_time_left(seconds, images, images + ahead)}", flush=True)


def _table(args: argparse.Namespace, results: Sequence[dict[str, Any]]) -> str:
    from vloc_ros.evaluation.benchmark_results import format_results

    return format_results(results, limits=_BENCHMARKS[args.benchmark][1])


def _write(args: argparse.Namespace, results: Sequence[dict[str, Any]]) -> None:
    from vloc_ros.storage.atomic import write_bytes_atomically

    values = json.dumps({args.benchmark: results}, indent=2, allow_nan=False)
    write_bytes_atomically(args.out / "results.json", f"{values}\n".encode())
    write_bytes_atomically(args.out / "table.txt", f"{_table(args, results)}\n".encode())
