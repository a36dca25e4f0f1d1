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

"""Figures on real photographs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.command import evaluate, vloc

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.odometry import Drift, simulate_wheel_odometry
from vloc_ros.storage.manifests import read_manifest
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum

DATA = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data"
NEGATIVES = ("castle/map", "castle/query", "corridor", "kitti/drive_04", "kitti/drive_0009")
CASTLE_KEYPOINTS = ("--max-keypoints", "4000")
# of simulated odometry: errors of scale, of each metre and of turning
DRIFT = (0.01, 0.05)


class MissingError(Exception):
    """This machine lacks something that a section needs, such as the real data."""


def scene(name: str) -> Path:
    """A folder of the real data."""
    if not (DATA / name).is_dir():
        raise MissingError(f"../shared/data/{name} is missing")
    return DATA / name


def build(
    out: Path, name: str, *options: str, title: str | None = None, poses: Path | None = None
) -> tuple[Path, float]:
    """Build a map of a scene's images and their poses, or others.

    Returns:
        its folder, named by its options or a title, and the seconds it took.
    """
    data, folder = scene(name), out / "maps" / (title or _map_name(name, options))
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    given = ("--images", data / "map/images", "--poses", poses or data / "map/poses_tum.txt")
    seconds = vloc("map", "build", *given, "--camera", data / "camera_info.yaml", *options, "--out", folder)
    return folder, seconds


def build_once(out: Path, name: str, *options: str, title: str | None = None) -> Path:
    """The folder of a scene's map. It is built unless there is one in the present format."""
    folder = out / "maps" / (title or _map_name(name, options))
    try:
        read_manifest(folder)
    except MapError:
        return build(out, name, *options, title=title)[0]
    return folder


def _map_name(name: str, options: tuple[str, ...]) -> str:
    return "-".join([name, *(o.strip("-") for o in options)])


def queries(out: Path, name: str, folder: Path, *more: str) -> dict[str, Any]:
    """Evaluate a scene's query images against a map."""
    data = scene(name)
    given = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt")
    options = ("--camera", data / "camera_info.yaml", "--report", out / f"{folder.name}.html", *more)
    return evaluate(out / f"{folder.name}.evaluation.json", "--map", folder, *given, *options)


def redkitchen(out: Path) -> dict[str, Any]:
    """Indoor, hand-held, 640x480: 100 posed map images, 80 queries."""
    folder, seconds = build(out, "redkitchen")
    return {"build_s": seconds, **queries(out, "redkitchen", folder)}


def castle(out: Path) -> dict[str, Any]:
    """Outdoor courtyard, 1536x1024: 30 posed map images, 9 queries."""
    folder, seconds = build(out, "castle", *CASTLE_KEYPOINTS)
    return {"build_s": seconds, **queries(out, "castle", folder)}


def measured_poses(out: Path) -> dict[str, Any]:
    """The same two maps with the poses as measurements: the true ones, and those of odometry with drift.

    A map from odometry is aligned with the true poses afterwards, rigidly: its error of scale stays.
    """
    figures = {}
    for name, options in (("redkitchen", ()), ("castle", CASTLE_KEYPOINTS)):
        folder, seconds = build(out, name, *options, "--structure", "sfm")
        figures[name] = {"true poses": {"build_s": seconds, **queries(out, name, folder)}}
        for part in DRIFT:
            true, odometry = scene(name) / "map/poses_tum.txt", out / f"{name}-odometry-{part:g}.txt"
            trajectory = read_tum(true)
            drifted = simulate_odometry(trajectory.poses, part, seed=1)
            write_tum(odometry, Trajectory(trajectory.stamps_ns, tuple(drifted)))
            title = f"{name}-odometry-{part:g}"
            folder, seconds = build(out, name, *options, "--poses-drift", title=title, poses=odometry)
            aligned = folder.with_name(f"{title}-aligned")
            shutil.rmtree(aligned, ignore_errors=True)
            vloc("map", "align", folder, "--trajectory", true, "--out", aligned)
            figures[name][f"odometry, {part:.0%}"] = {"build_s": seconds, **queries(out, name, aligned)}
    return figures


def images_alone(out: Path) -> dict[str, Any]:
    """Maps from images without poses, in a frame and scale of their own that the true ones are aligned with."""
    rows = {
        "castle": ("castle", ()),
        "castle, --max-keypoints 4000": ("castle", CASTLE_KEYPOINTS),
        "castle, --distance": ("castle", _known_distance("castle")),
        "redkitchen": ("redkitchen", ()),
    }
    maps = []
    for title, (name, options) in rows.items():
        data, folder = scene(name), out / "maps" / f"alone-{len(maps)}"
        shutil.rmtree(folder, ignore_errors=True)
        given = ("--images", data / "map/images", "--camera", data / "camera_info.yaml", "--structure", "sfm")
        seconds = vloc("map", "build", *given, *options, "--out", folder)
        scale = () if "--distance" in options else ("--correct-scale",)
        maps.append({"name": title, "build_s": seconds, **queries(out, name, folder, "--align", *scale)})
    return {"maps": maps}


def _known_distance(name: str) -> tuple[str, ...]:
    """How far apart the cameras of the first and the last image are."""
    images = sorted(path.name for path in (scene(name) / "map/images").iterdir())
    true = read_tum(scene(name) / "map/poses_tum.txt").poses
    return "--distance", images[0], images[-1], f"{true[0].distance_to(true[-1])[0]:.4f}"


def simulate_odometry(true: Sequence[Pose], part: float, *, seed: int) -> list[Pose]:
    """What wheel odometry of a base at the camera would measure, from the true first pose on.

    All its errors are of this part.
    """
    first, drift = true[0], Drift(part, part, part, part)
    base_from_camera = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    bases = [pose @ base_from_camera.inverse() for pose in true]
    odometry = simulate_wheel_odometry(bases, seed, drift=drift)
    return [first @ base_from_camera.inverse() @ pose @ base_from_camera for pose in odometry]


def merged(out: Path) -> dict[str, Any]:
    """Both scenes in one map, where a pose in the wrong one is a false accept; and negatives."""
    folders = [build_once(out, "redkitchen"), build_once(out, "castle", *CASTLE_KEYPOINTS)]
    folder = out / "maps" / "redkitchen-and-castle"
    shutil.rmtree(folder, ignore_errors=True)
    merge_s = vloc("map", "merge", *folders, "--frames", "redkitchen", "castle", "--out", folder)
    figures = {}
    for name in ("redkitchen", "castle"):
        figures[name] = {"build_s": merge_s, **queries(out, name, folder, "--scene", name)}
    for name in ("corridor", "kitti/drive_04", "kitti/drive_0009"):
        words = ("--map", folder, "--absent", "--images", scene(name) / "images")
        figures[name] = evaluate(out / f"merged-{name.replace('/', '-')}.json", *words)
    return figures


def negatives(out: Path) -> dict[str, Any]:
    """Photographs of other places, localized in the redkitchen map: every acceptance is a false one."""
    folder = build_once(out, "redkitchen")
    figures = {}
    for name in NEGATIVES:
        images = scene(name) / "images"
        words = ("--map", folder, "--absent", "--images", images)
        figures[name] = evaluate(out / f"negatives-{name.replace('/', '-')}.json", *words)
    return figures
