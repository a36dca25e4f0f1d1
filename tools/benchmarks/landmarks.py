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

"""Landmarks on photographs: a trained recogniser, other light, and an updated map."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.command import evaluate, refusal, training, vloc
from benchmarks.real import MissingError, build_once, scene

from vloc_ros.core.errors import ModelError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.inference.models import MANIFEST, read_model
from vloc_ros.simulation.lighting import DUSK, NIGHT, Lighting, relight
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import map_bytes, map_hash, read_map
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum

NAME = "redkitchen"
BY_LANDMARKS = ("--set", "candidates.landmarks_min_points=0")
# method of search: options of `vloc evaluate`
METHODS: dict[str, tuple[str, ...]] = {
    "by default": (),
    "whole map": ("--set", "candidates.landmarks=none"),
    "voted": (*BY_LANDMARKS, "--set", "candidates.landmarks=voted"),
    "recognized": (*BY_LANDMARKS, "--set", "candidates.landmarks=recognized"),
    "retrieval": ("--set", "candidates.whole_map_max_points=0", "--set", "candidates.landmarks=none"),
}
LIGHTS: dict[str, Lighting] = {"dusk": DUSK, "night": NIGHT}


def recognizer(out: Path) -> dict[str, Any]:
    """The small preset on the map of redkitchen: recognition scores, and localization with it and without."""
    folder = build_once(out, NAME)
    model, train_s = train_once(out, folder, scene(NAME) / "map/images")
    path = out / f"{model.name}.scores.json"
    training("landmark_recognizer.evaluate", "--model", model, "--map", folder, *_queries(NAME), "--json", path)
    return {
        "train_s": train_s,
        "scores": json.loads(path.read_text()),
        "model_bytes": sum(file.stat().st_size for file in model.iterdir()),
        "map_bytes": map_bytes(folder),
        **_size(read_map(folder)),
        "methods": {method: _localize(out, method, folder, model) for method in ("whole map", "voted", "recognized")},
    }


def night(out: Path) -> dict[str, Any]:
    """The queries of redkitchen relit as at dusk and at night, in a map made by day."""
    folder = build_once(out, NAME)
    model, _ = train_once(out, folder, scene(NAME) / "map/images")
    figures: dict[str, Any] = {}
    for title, lighting in LIGHTS.items():
        images = relight_folder(scene(NAME) / "query/images", out / "relit" / f"{NAME}-{title}", lighting)
        figures[title] = {method: _localize(out, method, folder, model, images=images) for method in METHODS}
    return figures


def updated(out: Path) -> dict[str, Any]:
    """A map of the first half of redkitchen, updated with the second; a recogniser of the first half serves both."""
    first_half, second_half = split_in_halves(scene(NAME) / "map", out / "halves")
    first, both, at_once = out / "maps" / f"{NAME}-first-half", out / "maps" / f"{NAME}-updated", build_once(out, NAME)
    for folder in (first, both):
        shutil.rmtree(folder, ignore_errors=True)
    build_s = vloc("map", "build", *_posed(first_half), "--camera", scene(NAME) / "camera_info.yaml", "--out", first)
    update_s = vloc("map", "update", first, *_posed(second_half), "--out", both)
    model, train_s = train_once(out, first, first_half / "images")
    maps = {"first half": first, "first half, updated": both, "all at once": at_once}
    words = ("--map", at_once, "--recognizer", model, *_queries(NAME), *METHODS["recognized"])
    return {
        "build_s": build_s,
        "update_s": update_s,
        "train_s": train_s,
        **count_kept(read_map(first), read_map(both)),
        "maps": {
            title: _size(read_map(folder)) | {"whole map": _localize(out, "whole map", folder)}
            for title, folder in maps.items()
        },
        "recognized": {
            title: _localize(out, "recognized", maps[title], model) for title in ("first half", "first half, updated")
        },
        "refused_on_another_map": refusal("evaluate", *words),
    }


def train_once(out: Path, map_folder: Path, images: Path) -> tuple[Path, float | None]:
    """The folder of a map's recogniser and the seconds of its training, None where they are not known.

    A recogniser in `maps/MAP-recognizer` that was trained on this very map is used again.

    Raises:
        MissingError: there is no torch, and no recogniser either.
    """
    model = out / "maps" / f"{map_folder.name}-recognizer"
    seconds_file = model.with_name(f"{model.name}.seconds")
    if _is_trained_on(model, map_folder):
        return model, float(seconds_file.read_text()) if seconds_file.is_file() else None
    if not all(importlib.util.find_spec(name) for name in ("torch", "lightning")):
        raise MissingError("torch or lightning is missing: `make training` installs them")
    for left in (model, model.with_name(f"{model.name}.run")):
        shutil.rmtree(left, ignore_errors=True)
    seconds = training("landmark_recognizer.train", "--map", map_folder, "--images", images, "--out", model)
    seconds_file.write_text(f"{seconds:.1f}\n")
    return model, seconds


def _is_trained_on(model: Path, map_folder: Path) -> bool:
    if not (model / MANIFEST).is_file():
        return False
    try:
        return bool(read_model(model, kind="recognizer").entry("training", "map") == map_hash(map_folder))
    except ModelError:
        return False


def relight_folder(images: Path, folder: Path, lighting: Lighting) -> Path:
    """Write images under another light, with the same names but for the ending; returns the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for seed, path in enumerate(list_images(images)):
        cv2.imwrite(str(folder / f"{path.stem}.png"), relight(read_image(path), lighting, seed))
    return folder


def split_in_halves(data: Path, out: Path) -> tuple[Path, Path]:
    """Write the images and poses of the first and the second half of a trajectory to two folders."""
    paths, poses = list_images(data / "images"), read_tum(data / "poses_tum.txt")
    middle = len(paths) // 2
    first, second = out / "first", out / "second"
    for folder, part in ((first, slice(0, middle)), (second, slice(middle, None))):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "images").mkdir(parents=True)
        for path in paths[part]:
            shutil.copy(path, folder / "images")
        write_tum(folder / "poses_tum.txt", Trajectory(poses.stamps_ns[part], poses.poses[part]))
    return first, second


def count_kept(old: LandmarkMap, new: LandmarkMap) -> dict[str, int]:
    """Count what of a map is unchanged in the map that extends it."""
    return {
        "old_landmarks": len(old.landmarks),
        "kept_keys": _count_equal(old.landmarks.keys, new.landmarks.keys),
        "kept_parents": _count_equal(old.landmarks.parents, new.landmarks.parents),
        "old_points": len(old.points),
        "kept_points": _count_equal(old.points, new.points),
        "kept_ids": _count_equal(old.landmark_ids, new.landmark_ids),
    }


def _count_equal(old: Any, new: Any) -> int:
    """How many rows of the old array the new one has in the same position."""
    same = old == new[: len(old)]
    return int(np.sum(same.all(axis=1) if same.ndim == 2 else same))


def _size(landmark_map: LandmarkMap) -> dict[str, int]:
    table = landmark_map.landmarks
    return {"points": len(landmark_map.points), "landmarks": len(table), "coarse": table.coarse_count}


def _localize(
    out: Path, method: str, folder: Path, model: Path | None = None, *, images: Path | None = None
) -> dict[str, Any]:
    """Scores of redkitchen's queries, or other images at their poses, by one method."""
    of_model = ("--recognizer", model) if model and method == "recognized" else ()
    title = f"{folder.name}-{images.name if images else 'query'}-{method.replace(' ', '-')}"
    given = _queries(NAME, images=images)
    return evaluate(out / f"{title}.evaluation.json", "--map", folder, *of_model, *given, *METHODS[method])


def _queries(name: str, *, images: Path | None = None) -> Sequence[str | Path]:
    data = scene(name)
    given = ("--images", images or data / "query/images", "--poses", data / "query/poses_tum.txt")
    return (*given, "--camera", data / "camera_info.yaml")


def _posed(folder: Path) -> Sequence[str | Path]:
    return ("--images", folder / "images", "--poses", folder / "poses_tum.txt")
