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

"""What a learned matcher localizes that nearest neighbours do not, and what it costs."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.acceptance import CONDITIONS, Photograph, judge, keypoint_model, photographs_of, photographs_of_others
from benchmarks.command import vloc
from benchmarks.real import CASTLE_KEYPOINTS, build_once, scene
from tqdm import tqdm

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import InferenceConfig, LocalizerConfig, MatcherConfig
from vloc_ros.core.localization.candidates import ITERATIVE
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum

MATCHERS = {"xfeat": "lighterglue", "aliked-n16": "lightglue-aliked"}
LIGHTS = ("night", "dusk", "1/50 of the light, sensor b", "motion blur of 31 px", "day")
# time does not end a pass, so that a busy machine has the figures of a quiet one
_CONFIG = LocalizerConfig(
    matcher=MatcherConfig(last_pass="always", last_pass_s=600.0), inference=InferenceConfig(threads=1)
)


def last_pass(out: Path, *, extractor: str) -> dict[str, Any]:
    """Queries of two scenes, and photographs of other places, by nearest neighbours and with a last pass.

    The maps have all images, or so few that much of the queries lies far from them.
    """
    model = keypoint_model(out, extractor)
    words = ("--extractor", str(model))
    matcher = out / "models" / MATCHERS[extractor]
    if not matcher.is_dir():
        vloc("model", "export", MATCHERS[extractor], "--out", matcher)
    whole = build_once(out, "redkitchen", *words, title=f"redkitchen-{extractor}")
    others = "redkitchen's map, photographs of other places"
    figures = {others: _measure(whole, matcher, photographs_of_others("redkitchen"), others)}
    for light in LIGHTS:
        title = f"redkitchen, {light}"
        figures[title] = _measure(whole, matcher, photographs_of("redkitchen", CONDITIONS[light]), title)
    for name, every, options in (("redkitchen", 10, ()), ("castle", 3, CASTLE_KEYPOINTS)):
        folder = _build_thinned(out, name, every, extractor, (*options, *words))
        title = f"{name}, every {_ORDINALS[every]} map image"
        figures[title] = _measure(folder, matcher, photographs_of(name, CONDITIONS["day"]), title)
    return {"matcher": MATCHERS[extractor], "rows": figures}


_ORDINALS = {3: "third", 10: "tenth"}


def _measure(folder: Path, matcher: Path, photographs: Iterable[Photograph], title: str) -> dict[str, Any]:
    """Counts by what was accepted; `nearest` without the last pass, which comes after a refusal alone."""
    landmark_map = read_map(folder)
    localizer = build_localizer(
        _CONFIG, landmark_map, network=read_matching_network(matcher, InferenceConfig(threads=1))
    )
    nearest, both, cpu_ms = Counter[str](), Counter[str](), {"decided": 0.0, "last pass": 0.0}
    confidences: list[float] = []
    for one in tqdm(photographs, desc=title, leave=False):
        features = localizer.extract(one.query)
        start = time.process_time()
        result = localizer.localize_features(features, one.query)
        spent_ms = 1e3 * (time.process_time() - start)
        tried = not result.ok or result.candidate == ITERATIVE
        cpu_ms["last pass" if tried else "decided"] += spent_ms
        outcome = judge(result, one.truth)
        both[outcome] += 1
        nearest["refused" if tried else outcome] += 1
        if one.truth is None:
            confidences.append(result.confidence)
    decided, tried_count = both.total() - nearest["refused"], nearest["refused"]
    figures: dict[str, Any] = {
        "queries": both.total(),
        "nearest": dict(nearest),
        "last_pass": dict(both),
        "cpu_ms_decided": cpu_ms["decided"] / decided if decided else None,
        "cpu_ms_last_pass": cpu_ms["last pass"] / tried_count if tried_count else None,
    }
    if confidences:
        figures["highest_confidence"] = max(confidences)
    print(f"   {title}: {figures}", flush=True)
    return figures


def _build_thinned(out: Path, name: str, every: int, extractor: str, words: tuple[str, ...]) -> Path:
    """A map of every so many images of a scene."""
    data, part = scene(name), out / "thinned" / f"{name}-{every}"
    folder = out / "maps" / f"{name}-{extractor}-every-{every}"
    for left in (part, folder):
        shutil.rmtree(left, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    for path in list_images(data / "map/images")[::every]:
        shutil.copy(path, part / "images")
    poses = read_tum(data / "map/poses_tum.txt")
    write_tum(part / "poses_tum.txt", Trajectory(poses.stamps_ns[::every], poses.poses[::every]))
    given = ("--images", part / "images", "--poses", part / "poses_tum.txt", "--camera", data / "camera_info.yaml")
    vloc("map", "build", *given, *words, "--out", folder)
    return folder
