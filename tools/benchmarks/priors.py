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

"""Photographs of other places, localized with a prior that lies in the map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import real
from tqdm import tqdm

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.datasets.image_folders import make_query_sources
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.trajectories import read_tum

# standard deviations in metres and radians: of a fix carried on by odometry, and of RViz's "2D Pose Estimate"
CERTAINTIES = {"prior of a fix": (0.05, 0.03), "prior from RViz": (0.5, 0.26)}
PRIORS_PER_IMAGE = 2
_SEED = 0


def negatives(out: Path) -> dict[str, Any]:
    """Every acceptance is a false one; queries of the map itself show that the priors have an effect."""
    folder = out / "maps" / "redkitchen"
    if not folder.is_dir():
        folder, _ = real.build(out, "redkitchen")
    localizer = build_localizer(LocalizerConfig(), read_map(folder))
    figures = {}
    for name, stds in CERTAINTIES.items():
        rng = np.random.default_rng(_SEED)
        wrong = [r for place in real.NEGATIVES for r in _with_wrong_priors(localizer, _queries(place), stds, rng)]
        own = _with_right_priors(localizer, stds, rng)
        figures[name] = {"negatives": _figures(wrong), "own queries": _figures(own)}
        print("  ", name, figures[name], flush=True)
    return {"certainties": figures, "priors_per_image": PRIORS_PER_IMAGE}


def _with_wrong_priors(
    localizer: Localizer, queries: Sequence[Query], stds: tuple[float, float], rng: np.random.Generator
) -> Iterator[LocalizationResult]:
    """Localize each query with priors at the poses of random keyframes."""
    keyframes = localizer.map.keyframes
    for query in tqdm(queries, leave=False):
        for k in rng.choice(len(keyframes), PRIORS_PER_IMAGE, replace=False):
            yield localizer.localize(replace(query, prior=_prior(keyframes.pose(int(k)), stds)))


def _with_right_priors(
    localizer: Localizer, stds: tuple[float, float], rng: np.random.Generator
) -> Iterator[LocalizationResult]:
    """Localize the queries of the map with priors whose errors have the stated standard deviations."""
    truth = read_tum(real.scene("redkitchen") / "query/poses_tum.txt").poses
    for query, pose in zip(tqdm(_queries("redkitchen/query"), leave=False), truth, strict=True):
        error = Pose.from_rotation_vector(rng.normal(0.0, stds[1], 3), rng.normal(0.0, stds[0], 3))
        prior_pose = Pose(error.rotation @ pose.rotation, error.translation + pose.translation)
        yield localizer.localize(replace(query, prior=_prior(prior_pose, stds)))


def _prior(pose: Pose, stds: tuple[float, float]) -> PosePrior:
    return PosePrior(pose, np.diag(np.repeat(np.square(stds), 3)))


def _queries(place: str) -> list[Query]:
    """The images of a place. The calibration is known for redkitchen only."""
    images = list_images(real.scene(place) / "images")
    camera = read_camera(real.scene("redkitchen") / "camera_info.yaml") if place.startswith("redkitchen") else None
    return [source.read() for source in make_query_sources(images, None, camera)]


def _figures(results: Iterator[LocalizationResult] | Sequence[LocalizationResult]) -> dict[str, Any]:
    """How many were accepted, and how many of these by the prior."""
    all_ = list(results)
    return {
        "queries": len(all_),
        "accepted": sum(result.ok for result in all_),
        "by_prior": sum(result.ok and result.candidate == "prior" for result in all_),
        "refusals": Counter(result.status.value for result in all_ if not result.ok),
    }
