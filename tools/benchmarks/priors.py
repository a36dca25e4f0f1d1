"""Photographs of other places, asked with a prior that says that the robot is in the map."""

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
from vloc_ros.datasets.image_folders import questions_from, stamps_for
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.trajectories import read_tum

# standard deviations in metres and radians: of the last fix, carried on by odometry, and of RViz's "2D Pose Estimate"
CERTAINTIES = {"like the last fix": (0.05, 0.03), "like RViz": (0.5, 0.26)}
PRIORS_PER_IMAGE = 2
_SEED = 0


def negatives(out: Path) -> dict[str, Any]:
    """Every acceptance is a false one; photographs of the map itself show that the priors do something."""
    folder = out / "maps" / "redkitchen"
    if not folder.is_dir():
        folder, _ = real.build(out, "redkitchen")
    localizer = build_localizer(LocalizerConfig(), read_map(folder))
    figures = {}
    for name, stds in CERTAINTIES.items():
        rng = np.random.default_rng(_SEED)
        places = [r for place in real.ELSEWHERE for r in _asked(localizer, _queries(place), stds, rng)]
        figures[name] = {"elsewhere": _figures(places), "itself": _figures(_asked_itself(localizer, stds, rng))}
        print("  ", name, figures[name], flush=True)
    return {"certainties": figures, "priors_per_image": PRIORS_PER_IMAGE}


def _asked(
    localizer: Localizer, queries: Sequence[Query], stds: tuple[float, float], rng: np.random.Generator
) -> Iterator[LocalizationResult]:
    """Every query, with the pose of one keyframe after the other for a prior."""
    keyframes = localizer.map.keyframes
    for query in tqdm(queries, leave=False):
        for k in rng.choice(len(keyframes), PRIORS_PER_IMAGE, replace=False):
            yield localizer.localize(replace(query, prior=_prior(keyframes.pose(int(k)), stds)))


def _asked_itself(
    localizer: Localizer, stds: tuple[float, float], rng: np.random.Generator
) -> Iterator[LocalizationResult]:
    """The queries of the map, with priors that err as they say."""
    truth = read_tum(real.scene("redkitchen") / "query/poses_tum.txt").poses
    for query, pose in zip(tqdm(_queries("redkitchen/query"), leave=False), truth, strict=True):
        error = Pose.from_rotation_vector(rng.normal(0.0, stds[1], 3), rng.normal(0.0, stds[0], 3))
        believed = Pose(error.rotation @ pose.rotation, error.translation + pose.translation)
        yield localizer.localize(replace(query, prior=_prior(believed, stds)))


def _prior(pose: Pose, stds: tuple[float, float]) -> PosePrior:
    return PosePrior(pose, np.diag(np.repeat(np.square(stds), 3)))


def _queries(place: str) -> list[Query]:
    """The images of a place; of one that is not the map's no calibration is known."""
    images = list_images(real.scene(place) / "images")
    camera = read_camera(real.scene("redkitchen") / "camera_info.yaml") if place.startswith("redkitchen") else None
    return [question.query() for question in questions_from(images, stamps_for(images), camera)]


def _figures(results: Iterator[LocalizationResult] | Sequence[LocalizationResult]) -> dict[str, Any]:
    """How many were accepted, and how many of these where the prior said."""
    all_ = list(results)
    return {
        "queries": len(all_),
        "accepted": sum(result.ok for result in all_),
        "by_prior": sum(result.ok and result.proposal == "prior" for result in all_),
        "refusals": Counter(result.status.value for result in all_ if not result.ok),
    }
