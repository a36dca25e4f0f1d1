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

"""Relative poses of pairs of images: nearest neighbours and learned matchers, by two estimators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.acceptance import keypoint_model
from benchmarks.command import vloc
from benchmarks.last_pass import MATCHERS
from benchmarks.provenance import ROOT, Rows
from benchmarks.real import scene

from training.iterative_matching.worlds import shared_shares
from vloc_ros.assembly import build_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.features.matching_network import describe_features
from vloc_ros.core.features.nearest_neighbours import match_mutual
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.two_view import estimate_relative_pose
from vloc_ros.evaluation.relative_pose_scores import epipolar_precision, pose_auc, relative_pose_error_deg
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.inference.matching_network import KIND, read_matching_network
from vloc_ros.inference.models import read_model
from vloc_ros.simulation.scenario import DEFAULT_CAMERA, make_lap
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.trajectories import read_tum

PAIRS, SEEDS, THRESHOLDS_DEG = 40, range(5), (5, 10, 20)
KEYPOINTS = 1024
_TRAINED = "trained here"
Match = Callable[[Features, Features, tuple[int, int]], tuple[Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """An image with its keypoints' true pose."""

    pixels: Array
    scene_from_camera: Pose


def two_view(out: Path) -> dict[str, Any]:
    """Every method on the same pairs: AUC of the larger of rotation and translation error, means over seeds.

    Rows are kept one by one, so that an interrupted run goes on with the next.
    """
    rows, figures = Rows.of("two_view"), dict[str, Any]()
    for methods in _methods(out):
        for name, load in _SCENES.items():
            images, camera, pairs = load()
            of_scene = figures.setdefault(name, {"pairs": len(pairs), "methods": {}})
            found = _LazyFeatures(images, methods)
            for method, match in methods.matches.items():
                title = f"{methods.title}, {method}"
                measure = partial(score, images, camera, pairs, found, match)
                of = f"{PAIRS} pairs, {KEYPOINTS} keypoints, {methods.settings.get(method, '')}"
                of_scene["methods"][title] = rows.once(f"{name}: {title}", of=of, measure=measure)
                print(f"   {name}, {title}: {of_scene['methods'][title]}", flush=True)
    return {"rows": figures, "revisions": rows.revisions}


@dataclass(frozen=True, slots=True, eq=False)
class _Methods:
    """What is compared on the keypoints of one extractor.

    Attributes:
        title: of the extractor.
        build: the extractor.
        matches: by name of the method.
        settings: hash of the model of a learned method.
    """

    title: str
    build: Callable[[], Extractor]
    matches: Mapping[str, Match]
    settings: Mapping[str, str]


class _LazyFeatures:
    """The strongest keypoints of images, extracted when a row is measured."""

    def __init__(self, images: list[_Image], methods: _Methods) -> None:
        self._images, self._build = images, methods.build
        self._found: dict[int, Features] = {}

    @cached_property
    def _extractor(self) -> Extractor:
        return self._build()

    def __getitem__(self, index: int) -> Features:
        if index not in self._found:
            self._found[index] = self._extractor.extract(self._images[index].pixels).strongest(KEYPOINTS)
        return self._found[index]


def _methods(out: Path) -> Iterator[_Methods]:
    """Nearest neighbours and learned matchers of RootSIFT, XFeat and ALIKED.

    A matcher of one's own is the folder out/models/iterative-EXTRACTOR of the repository, by
    `python -m training.iterative_matching.train`; where there is none, its rows are left out.
    """
    inference = InferenceConfig(threads=1)
    for extractor, matcher in MATCHERS.items():
        folder = out / "models" / matcher
        if not folder.is_dir():
            vloc("model", "export", matcher, "--out", folder)
        model = read_keypoint_model(keypoint_model(out, extractor))
        learned = IterativeMatcher(read_matching_network(folder, inference), max_keypoints=KEYPOINTS)
        yield _Methods(
            extractor,
            partial(build_extractor, keypoint_model_config(model), model, inference=inference),
            {**_nearest(), **_trained(extractor), matcher: match_by(learned)},
            _hashes(extractor),
        )
    config = RootSiftConfig(max_keypoints=KEYPOINTS)
    yield _Methods(
        "rootsift", partial(build_extractor, config), {**_nearest(), **_trained("rootsift")}, _hashes("rootsift")
    )


def _trained(extractor: str) -> dict[str, Match]:
    """A matcher that was trained here, with early stopping and run to its end."""
    folder = _folder_of_trained(extractor)
    if not folder.is_dir():
        print(f"   no {folder}: rows of a trained matcher are left out", flush=True)
        return {}
    network = read_matching_network(folder, InferenceConfig(threads=1))
    return {
        name: match_by(IterativeMatcher(network, max_keypoints=KEYPOINTS, adaptive=adaptive))
        for name, adaptive in ((_TRAINED, False), (f"{_TRAINED}, adaptive", True))
    }


def _hashes(extractor: str) -> dict[str, str]:
    folder = _folder_of_trained(extractor)
    if not folder.is_dir():
        return {}
    of_model = str(read_model(folder, kind=KIND).entry("hash"))
    return {_TRAINED: of_model, f"{_TRAINED}, adaptive": of_model}


def _folder_of_trained(extractor: str) -> Path:
    return ROOT / "out" / "models" / f"iterative-{extractor}"


def _nearest() -> dict[str, Match]:
    return {
        "mutual": lambda a, b, _: match_mutual(a.descriptors, b.descriptors),
        "mutual, ratio 0.9": lambda a, b, _: match_mutual(a.descriptors, b.descriptors, ratio=0.9),
    }


def match_by(matcher: IterativeMatcher) -> Match:
    """Matches of two images' features by a learned matcher."""

    def match(first: Features, second: Features, size: tuple[int, int]) -> tuple[Array, Array]:
        found = matcher.match(describe_features(first, *size), describe_features(second, *size))
        return found.first, found.second

    return match


Scene = tuple[list[_Image], Camera, list[tuple[int, int]]]


def read_castle() -> Scene:
    """Images of castle, its camera, and pairs."""
    images, camera = _read("castle/map", "castle")
    return images, camera, _choose(images, (1.0, 8.0), 0.8)


def _kitti() -> Scene:
    images, camera = _read_kitti()
    return images, camera, _choose(images, (5.0, 15.0), 0.5)


def _redkitchen() -> Scene:
    """Every fourth image of the map, with every fourth query."""
    (images, camera), (queries, _) = _read("redkitchen/map", "redkitchen"), _read("redkitchen/query", "redkitchen")
    few = [*images[::4], *queries[::4]]
    first_query = len(images[::4])
    pairs = [(i, j) for i, j in _choose(few, (0.2, 1.5), 0.7, most=None) if i < first_query <= j]
    return few, camera, pairs[:PAIRS]


def _worlds() -> Scene:
    """Views of two worlds that nothing was fitted on, pairs that share 10 to 80 % of what they show."""
    images: list[_Image] = []
    pairs: list[tuple[int, int]] = []
    camera = DEFAULT_CAMERA
    for kind, seed in (("apartment", 9101), ("yard", 9102)):
        lap = make_lap(make_world(kind, seed), 24, seed, camera=camera)
        shared = np.minimum(shares := shared_shares(lap), shares.T)
        distances = np.array([[a.distance_to(b)[0] for b in lap.map_from_camera] for a in lap.map_from_camera])
        chosen = np.argwhere(np.triu((shared >= 0.1) & (shared <= 0.8) & (distances >= 0.2), 1))
        pairs += [(int(i), int(j)) for i, j in chosen + len(images)]
        images += [_Image(lap.image(i), pose) for i, pose in enumerate(lap.map_from_camera)]
    order = np.random.default_rng(0).permutation(len(pairs))[:PAIRS]
    return images, camera, [pairs[k] for k in order]


_SCENES: dict[str, Callable[[], Scene]] = {
    "simulated worlds": _worlds,
    "castle": read_castle,
    "kitti": _kitti,
    "redkitchen": _redkitchen,
}


def _choose(
    images: list[_Image], metres: tuple[float, float], most_rad: float, *, most: int | None = PAIRS
) -> list[tuple[int, int]]:
    """Pairs at a distance, and turned by no more than an angle, so that they see a part of the same."""
    pairs = []
    for i, first in enumerate(images):
        for j in range(i + 1, len(images)):
            distance_m, angle_rad = first.scene_from_camera.distance_to(images[j].scene_from_camera)
            if metres[0] <= distance_m <= metres[1] and angle_rad <= most_rad:
                pairs.append((i, j))
    order = np.random.default_rng(0).permutation(len(pairs))[:most]
    return [pairs[k] for k in order]


def _read(folder: str, of: str) -> tuple[list[_Image], Camera]:
    data = scene(folder)
    poses = read_tum(data / "poses_tum.txt").poses
    images = [_Image(read_image(path), pose) for path, pose in zip(list_images(data / "images"), poses, strict=True)]
    return images, read_camera(scene(of) / "camera_info.yaml")


def _read_kitti() -> tuple[list[_Image], Camera]:
    """One drive, whose poses are the LiDAR's."""
    images, camera = _read("kitti/drive_04", "kitti/drive_04")
    matrix = np.loadtxt(scene("kitti/drive_04") / "camera_from_lidar.txt").reshape(-1, 4)
    camera_from_lidar = Pose(matrix[:3, :3], matrix[:3, 3])
    return [_Image(one.pixels, one.scene_from_camera @ camera_from_lidar.inverse()) for one in images], camera


def score(
    images: list[_Image],
    camera: Camera,
    pairs: list[tuple[int, int]],
    features: _LazyFeatures | list[Features],
    match: Match,
) -> dict[str, Any]:
    """AUC by two estimators, matches, their precision and milliseconds: means over pairs."""
    errors: dict[str, list[list[float]]] = {"poselib": [], "magsac": []}
    counts, precisions, scores, spent_ms = [], [], [], []
    size = (camera.width, camera.height)
    for i, j in pairs:
        pair = features[i], features[j]
        start = time.process_time()
        rows, columns = match(*pair, size)
        spent_ms.append(1e3 * (time.process_time() - start))
        first, second = features[i].xy[rows], features[j].xy[columns]
        truth = images[j].scene_from_camera.inverse() @ images[i].scene_from_camera
        counts.append(len(rows))
        precisions.append(epipolar_precision(first, second, (camera, camera), truth))
        scores.append(precisions[-1] * len(rows) / max(len(pair[0]), 1))
        errors["poselib"].append(
            [relative_pose_error_deg(_by_poselib(first, second, camera, seed), truth) for seed in SEEDS]
        )
        errors["magsac"].append(
            [relative_pose_error_deg(_by_magsac(first, second, camera, seed), truth) for seed in SEEDS]
        )
    return {
        "matches": float(np.mean(counts)),
        "precision": float(np.mean(precisions)),
        "matching_score": float(np.mean(scores)),
        "cpu_ms": float(np.mean(spent_ms)),
        **{name: [pose_auc(np.asarray(found).T, limit) for limit in THRESHOLDS_DEG] for name, found in errors.items()},
    }


def _by_poselib(first: Array, second: Array, camera: Camera, seed: int) -> Pose | None:
    return estimate_relative_pose(first, second, (camera, camera), seed=seed).second_from_first


def _by_magsac(first: Array, second: Array, camera: Camera, seed: int) -> Pose | None:
    if len(first) < 8:
        return None
    cv2.setRNGSeed(seed)
    rays, others = (camera.unproject(xy)[:, :2] for xy in (first, second))
    limit = 1.0 / camera.intrinsics[0]
    essential, mask = cv2.findEssentialMat(rays, others, np.eye(3), cv2.USAC_MAGSAC, 0.99999, limit)
    if essential is None or essential.shape != (3, 3):
        return None
    count, rotation, translation, _ = cv2.recoverPose(essential, rays, others, np.eye(3), mask=mask)
    return Pose(rotation, translation[:, 0]) if count else None
