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

"""The models that the section on engines measures: how each is made, what it is tried on, and what it is for."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import two_view
from benchmarks.acceptance import keypoint_model
from benchmarks.command import evaluate, training
from benchmarks.last_pass import MATCHERS
from benchmarks.place_recognition import export_model, export_worlds
from benchmarks.real import build_once, queries, scene

from vloc_ros.assembly import build_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.pose import Array
from vloc_ros.engine_build.build import gather_samples
from vloc_ros.engine_build.matcher_samples import MatcherSamples
from vloc_ros.engine_build.samples import Samples, read_samples
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.inference.models import Model, read_any_model
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map, write_map

_SCENE = "redkitchen"
_CORRIDOR_LAP = 40
# short trainings: what a precision loses of a model is measured, not how good the model is
_RECOGNIZER_EPOCHS, _STUDENT_EPOCHS = 2, 2
_STREETS = {"train": 20, "val": 4, "test": 10}
_STREETS_SEED = 2000
Score = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A model.

    Attributes:
        name: for people, and of its folder.
        kind: as in its manifest.
        make: its folder, made once, from the folder for what is made on the way.
        score: what a folder of it in a precision is worth in its task.
    """

    name: str
    kind: str
    make: Callable[[Path], Path]
    score: Callable[[Path, Path], Score]


def gather(out: Path, one: BenchmarkModel, model: Model) -> Samples | MatcherSamples | None:
    """What a model is calibrated and tried on: photographs and keyframes of redkitchen."""
    images = list_images(scene(_SCENE) / "map/images")
    if one.kind == "recognizer":
        return gather_samples(model, [], read_map(build_once(out, _SCENE)))
    if one.kind == "matcher":
        return gather_samples(model, images, read_map(_map_of(out, _EXTRACTORS[one.name])))
    return gather_samples(model, images, None)


def _map_of(out: Path, extractor: str) -> Path:
    words = ("--extractor", str(keypoint_model(out, extractor)))
    return build_once(out, _SCENE, *words, title=f"{_SCENE}-{extractor}")


def _export(name: str, out: Path) -> Path:
    return Path(export_model(out, name))


def _train_recognizer(out: Path) -> Path:
    folder = out / "models" / "recognizer"
    if not folder.is_dir():
        words = ("--map", build_once(out, _SCENE), "--images", scene(_SCENE) / "map/images")
        training("landmark_recognizer.train", *words, "--set", f"fit.epochs={_RECOGNIZER_EPOCHS}", "--out", folder)
    return folder


def _train_student(out: Path) -> Path:
    """CrossViT, distilled from ImageNet's GeM on simulated streets."""
    folder = out / "models" / "crossvit"
    if not folder.is_dir():
        data = export_worlds(out, "street", _STREETS_SEED, **_STREETS)
        settings = {
            "network.backbone": "crossvit",
            "network.height": "240",
            "network.width": "240",
            "fit.epochs": str(_STUDENT_EPOCHS),
            "fit.batches": "16",
            "fit.groups": "8",
            "fit.kept": "last",
            "tuples.images_per_place": "3",
        }
        given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        teacher = ("--teacher", _export("gem-efficientnet-lite0", out))
        training("place_recognition.train", data, *given, "--weights", "none", *teacher, "--out", folder)
    return folder


def _localize(extractor: str, out: Path, folder: Path) -> Score:
    """Queries by keypoints in a precision, against the map in float32."""
    landmark_map, read = read_map(_map_of(out, extractor)), read_any_model(folder)
    model = KeypointModel(read.manifest, np.frombuffer(read.graph, np.uint8))
    config = replace(landmark_map.extractor, model_hash=keypoint_model_config(model).model_hash)
    target = out / "maps" / f"{_SCENE}-{folder.name}"
    write_map(replace(landmark_map, extractor=config, keypoint_model=model), target)
    scores = queries(out, _SCENE, target)
    return {name: scores[name] for name in ("queries", "accepted", "median_translation_m", "recall")}


def _localize_by_landmarks(out: Path, folder: Path) -> Score:
    """Queries whose candidates are the landmarks that a recogniser in a precision recognises, and nothing else."""
    data = scene(_SCENE)
    given = ("--images", data / "query/images", "--poses", data / "query/poses_tum.txt")
    only = ("candidates.landmarks_min_points=0", "candidates.landmarks=recognized", "candidates.whole_map_max_points=0",
            "candidates.retrieval=none")  # fmt: skip
    words = [word for one in only for word in ("--set", one)]
    path = out / f"{folder.name}.evaluation.json"
    of_map = ("--map", build_once(out, _SCENE), "--recognizer", folder)
    scores = evaluate(path, *of_map, *given, "--camera", data / "camera_info.yaml", *words)
    return {name: scores[name] for name in ("queries", "accepted", "median_translation_m")}


def _recall(out: Path, folder: Path) -> Score:
    """R@1 of the corridor's second lap against its first."""
    data, model = scene("corridor"), read_any_model(folder)
    paths = list_images(data / "images")
    engine = OnnxRuntime(model, threads=1)
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
    return {"r1": float(np.mean(hits)), "queries": len(hits)}


def _match(name: str, out: Path, folder: Path) -> Score:
    """Relative poses of pairs of castle, by keypoints in float32."""
    images, camera, pairs = two_view.read_castle()
    model = read_keypoint_model(_export(_EXTRACTORS[name], out))
    extractor = build_extractor(keypoint_model_config(model), model)
    features = [extractor.extract(image.pixels).strongest(two_view.KEYPOINTS) for image in images]
    network = read_matching_network(folder, InferenceConfig(threads=1))
    match = two_view.match_by(IterativeMatcher(network, max_keypoints=two_view.KEYPOINTS))
    scores = two_view.score(images, camera, pairs, features, match)
    return {
        "pairs": len(pairs),
        "matches": scores["matches"],
        "precision": scores["precision"],
        "auc": scores["poselib"],
    }


_EXTRACTORS = {matcher: extractor for extractor, matcher in MATCHERS.items()}
MODELS = (
    *(BenchmarkModel(name, "keypoints", partial(_export, name), partial(_localize, name)) for name in ("xfeat",)),
    BenchmarkModel("gem-efficientnet-lite0", "global descriptor", partial(_export, "gem-efficientnet-lite0"), _recall),
    BenchmarkModel("lighterglue", "matcher", partial(_export, "lighterglue"), partial(_match, "lighterglue")),
    BenchmarkModel("recognizer", "recognizer", _train_recognizer, _localize_by_landmarks),
    BenchmarkModel("crossvit", "global descriptor", _train_student, _recall),
    *(
        BenchmarkModel(name, "keypoints", partial(_export, name), partial(_localize, name))
        for name in ("aliked-n16", "aliked-t16")
    ),
    BenchmarkModel("lightglue-aliked", "matcher", partial(_export, "lightglue-aliked"),
                   partial(_match, "lightglue-aliked")),
)  # fmt: skip
