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

"""Which poses are accepted: on photographs in every light and in motion blur, and on images of other places."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.command import vloc
from benchmarks.real import CASTLE_KEYPOINTS, NEGATIVES, MissingError, build_once, scene
from tqdm import tqdm

from training.acceptance.collect import Setting, collect
from training.acceptance.evidence_table import OWN, EvidenceTable, RecordedQuery
from training.acceptance.leaders import find_leaders
from training.acceptance.recording import RecordingLocalizer, evidence_array
from training.acceptance.report import summarize
from vloc_ros.assembly import build_localizer, build_map_extractor
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import Query
from vloc_ros.datasets.image_folders import make_query_sources
from vloc_ros.simulation.lighting import DUSK, NIGHT, Lighting, blur_by_motion, relight, underexpose
from vloc_ros.storage.acceptance_tables import read_acceptance_model
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.trajectories import read_tum

EXTRACTORS = ("rootsift", "xfeat")
# full well and read noise in electrons, vignetting; within the ranges that the tables are fitted on
SENSORS = {"a": (4000.0, 2.0, 0.2), "b": (8000.0, 4.0, 0.4), "c": (15000.0, 7.0, 0.5)}
LIGHT, BLUR_PX = (20, 50), (5, 9, 15, 31)
RIGHT_M, RIGHT_RAD = 0.05, np.radians(5.0)
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)
Degrade = Callable[[Array, int], Array]


def _conditions() -> dict[str, Degrade]:
    found: dict[str, Degrade] = {
        "day": lambda image, _: image,
        "dusk": partial(_relit, DUSK),
        "night": partial(_relit, NIGHT),
    }
    for part in LIGHT:
        for name, (full_well, read_noise, vignetting) in SENSORS.items():
            options = {"full_well": full_well, "read_noise": read_noise, "vignetting": vignetting}
            found[f"1/{part} of the light, sensor {name}"] = partial(_dark, 1 / part, options)
    for length in BLUR_PX:
        found[f"motion blur of {length} px"] = partial(_blurred, length)
    return found


def _relit(lighting: Lighting, image: Array, number: int) -> Array:
    return relight(image, lighting, number)


def _dark(light: float, sensor: Mapping[str, float], image: Array, number: int) -> Array:
    return underexpose(image, light, **sensor, seed=number)


def _blurred(length_px: float, image: Array, number: int) -> Array:
    return blur_by_motion(image, length_px * image.shape[1] / 640, np.pi * (number * 0.618 % 1))


CONDITIONS = _conditions()


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image of a scene or of another place, in a condition.

    Attributes:
        query: the image with its camera.
        truth: where it was taken; None for another place.
    """

    query: Query
    truth: Pose | None


def photographs(out: Path, *, extractor: str) -> dict[str, Any]:
    """What is accepted of the queries of two scenes in every condition, and of photographs of other places."""
    model = keypoint_model(out, extractor)
    figures: dict[str, Any] = {"scenes": {}, "other_places": {}}
    for name, options in (("redkitchen", ()), ("castle", CASTLE_KEYPOINTS)):
        words = (*options, *(("--extractor", str(model)) if model else ()))
        tried = _Tried(build_once(out, name, *words, title=f"{name}-{extractor}"))
        figures["scenes"][name] = {
            title: tried.figures(photographs_of(name, degrade), title=f"{name}, {title}")
            for title, degrade in CONDITIONS.items()
        }
        figures["other_places"][name] = tried.figures(photographs_of_others(name), title=f"{name}, other places")
    return figures


def keypoint_model(out: Path, extractor: str) -> Path | None:
    """The model of a learned extractor, exported once; None for RootSIFT."""
    if extractor == RootSiftConfig().name:
        return None
    folder = out / "models" / extractor
    if not folder.is_dir():
        missing = [name for name in ("torch", "onnxscript") if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingError(f"{' and '.join(missing)} is missing: `make training` installs what models need")
        folder.parent.mkdir(parents=True, exist_ok=True)
        vloc("model", "export", extractor, "--out", folder)
    return folder


def worlds(out: Path) -> dict[str, Any]:
    """What is accepted in simulated worlds that served neither fitting nor choosing."""
    folder, figures = out / "acceptance", {}
    folder.mkdir(parents=True, exist_ok=True)
    for extractor in EXTRACTORS:
        path = folder / f"report-{extractor}.npz"
        if not path.is_file():
            model = keypoint_model(out, extractor)
            collect(Setting("report", str(model or extractor), folder), workers=os.cpu_count() or 1).save(path)
        figures[extractor] = summarize(read_acceptance_model(extractor), EvidenceTable.load(path))
    return figures


class _Tried:
    """A map with the product's localizer and one that records all hypotheses."""

    def __init__(self, folder: Path) -> None:
        landmark_map = read_map(folder)
        extractor = build_map_extractor(landmark_map)
        self._localizer = build_localizer(LocalizerConfig(), landmark_map, extractor=extractor)
        self._recorder = RecordingLocalizer(landmark_map, extractor)
        self._model = read_acceptance_model(landmark_map.extractor.acceptance_table)

    def figures(self, photographs: Iterable[Photograph], *, title: str) -> dict[str, Any]:
        """Counts of what is accepted, and the score of every leading hypothesis, right and wrong."""
        counts, recorded = Counter[str](), list[RecordedQuery]()
        for one in tqdm(photographs, desc=title, leave=False):
            features = self._localizer.extract(one.query)
            counts[judge(self._localizer.localize_features(features, one.query), one.truth)] += 1
            found = self._recorder.record(features[0], one.query)
            labels = [hypothesis.label(self._localizer.map.frame_ids[0], one.truth) for hypothesis in found]
            recorded.append(RecordedQuery(evidence_array(found), labels, OWN, 0, 0, 0, 0))
        leaders = find_leaders(self._model, EvidenceTable.of_queries(recorded))
        shift = self._localizer.map.scene().self_similarity.score_shift
        scores = {
            name: [
                round(float(score + shift), 2)
                for score in leaders.scores[leaders.labels == label]
                if np.isfinite(score)
            ]
            for name, label in (("right", 1), ("wrong", 0))
        }
        figures = {"queries": len(recorded), **counts, "scores": scores}
        print(f"   {title}: {dict(counts)}", flush=True)
        return figures


def photographs_of(name: str, degrade: Degrade) -> Iterator[Photograph]:
    """The queries of a scene in a condition."""
    folder, camera = scene(name) / "query", read_camera(scene(name) / "camera_info.yaml")
    truth = read_tum(folder / "poses_tum.txt").poses
    for number, (path, pose) in enumerate(zip(list_images(folder / "images"), truth, strict=True)):
        yield Photograph(Query.single(degrade(read_image(path), number), camera), pose)


def photographs_of_others(name: str) -> Iterator[Photograph]:
    """Photographs of other places than a scene."""
    places = [place for place in (*NEGATIVES, "redkitchen/map", "redkitchen/query") if not place.startswith(name)]
    for place in places:
        images = list_images(scene(place) / "images")
        for source in make_query_sources(images, None, None):
            yield Photograph(source.read(), None)


def judge(result: LocalizationResult, truth: Pose | None) -> str:
    """Right, imprecise, wrong or refused."""
    if not result.ok:
        return "refused"
    assert result.map_from_rig is not None
    if truth is None:
        return "wrong"
    distance_m, angle_rad = result.map_from_rig.distance_to(truth)
    if distance_m <= RIGHT_M and angle_rad <= RIGHT_RAD:
        return "right"
    return "wrong" if distance_m > WRONG_M or angle_rad > WRONG_RAD else "imprecise"
