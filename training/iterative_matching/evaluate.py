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

r"""Score matchers by the relative poses of pairs of images.

  python -m training.iterative_matching.evaluate --pairs PAIRS --images DIR --extractor models/xfeat --matcher MODEL
  python -m training.iterative_matching.evaluate --worlds 4 --extractor models/xfeat --matcher MODEL

PAIRS has the format of SuperGlue's evaluation: the pairs of YFCC100M and ScanNet are published in it, those of
MegaDepth-1500 are converted to it (docs/matching.md). Nearest neighbours, with and without a ratio test, are scored
beside the matcher. Pairs of images of own scenes may be written in the same format.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.framework.command import make_parser, run_command
from training.iterative_matching.pair_files import TurnedImage, load_image, read_pairs
from training.iterative_matching.sources import choose_extractor
from training.iterative_matching.worlds import shared_shares
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.features.matching_network import describe_features
from vloc_ros.core.features.nearest_neighbours import match_mutual
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.two_view import estimate_relative_pose
from vloc_ros.evaluation.relative_pose_scores import pose_auc, relative_pose_error_deg, superglue_precision
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.progress import bar
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_files import json_at

_NAME = "iterative_matching.evaluate"
# worlds that no training and no validation is on
_REPORT_SEED, _FRAMES = 63_000, 24
_REPORT_KINDS = ("room", "apartment", "corridor", "yard")
# what two views share at least and at most; nearer ones have no direction of a translation to score
_SHARED, _NEAREST_M = (0.1, 0.8), 0.2
Match = Callable[[Features, Features, tuple[int, int], tuple[int, int]], tuple[Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationPair:
    """Two images with their true motion."""

    first: Callable[[], TurnedImage]
    second: Callable[[], TurnedImage]
    second_from_first: Pose


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of a matcher over pairs.

    Attributes:
        pairs: how many.
        auc5: area under recall over pose error up to 5°, 0 to 100; a pair without a pose counts as wrong.
        auc10: up to 10°.
        auc20: up to 20°.
        precision: share of matches with a small symmetric epipolar error, mean over pairs, 0 to 1.
        matching_score: share of keypoints that are in such a match, mean over pairs.
        matches: mean over pairs.
        cpu_ms: of matching, without the keypoints, mean over pairs.
    """

    pairs: int
    auc5: float
    auc10: float
    auc20: float
    precision: float
    matching_score: float
    matches: float
    cpu_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and print; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    out = json_at(args.json, key="nearest") if args.json else None
    pairs = list(_list_pairs(args))
    if not pairs:
        raise InputError("no pairs to score; give a larger --limit, or more --worlds")
    build, config = choose_extractor(args.extractor)
    methods = make_methods(args.matcher, config["name"], config.get("model", ""), keypoints=args.keypoints)
    found = score_pairs(
        pairs, build(), methods, keypoints=args.keypoints, max_error_px=args.max_error, limit=args.epipolar_limit
    )
    for name, scores in found.items():
        values = asdict(scores)
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    if out:
        content = {name: asdict(scores) for name, scores in found.items()}
        write_bytes_atomically(out.path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
        print(out)


def make_methods(matcher: Path | None, extractor: str, model: str, *, keypoints: int) -> dict[str, Match]:
    """Nearest neighbours, and a learned matcher run to its end and with early stopping.

    Raises:
        ModelError: the matcher is of other keypoints, or cannot be used.
    """
    methods: dict[str, Match] = {
        "nearest": lambda a, b, *_: match_mutual(a.descriptors, b.descriptors),
        "nearest, ratio 0.9": lambda a, b, *_: match_mutual(a.descriptors, b.descriptors, ratio=0.9),
    }
    if matcher is None:
        return methods
    network = read_matching_network(matcher, InferenceConfig(threads=1))
    if (network.extractor, model) not in {(extractor, name) for name in network.models}:
        raise ModelError(
            f"{matcher}: was trained on {network.extractor} ({', '.join(network.models)}), the keypoints are "
            f"{extractor} ({model or 'no model'}); give --extractor with these"
        )
    for name, adaptive in ((network.name, False), (f"{network.name}, adaptive", True)):
        methods[name] = _learned(IterativeMatcher(network, max_keypoints=keypoints, adaptive=adaptive))
    return methods


def _learned(matcher: IterativeMatcher) -> Match:
    def match(first: Features, second: Features, size: tuple[int, int], other: tuple[int, int]) -> tuple[Array, Array]:
        found = matcher.match(describe_features(first, *size), describe_features(second, *other))
        return found.first, found.second

    return match


def score_pairs(
    pairs: Sequence[EvaluationPair],
    extractor: Extractor,
    methods: dict[str, Match],
    *,
    keypoints: int,
    max_error_px: float,
    limit: float,
) -> dict[str, PairScores]:
    """Scores of each method on the same keypoints.

    Args:
        pairs: to score.
        extractor: of the keypoints.
        methods: by name.
        keypoints: strongest ones of each image.
        max_error_px: epipolar error of an inlier.
        limit: largest symmetric epipolar error of a correct match, squared, in normalised coordinates.
    """
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in methods}
    for pair in bar(pairs, description="pairs"):
        images = pair.first(), pair.second()
        features = [extractor.extract(one.pixels).strongest(keypoints).seen_through(one.camera) for one in images]
        cameras = images[0].camera, images[1].camera
        truth = images[1].turned_from_camera @ pair.second_from_first @ images[0].turned_from_camera.inverse()
        for name, match in methods.items():
            rows[name].append(_score_pair(match, features, cameras, truth, max_error_px, limit))
    return {name: _summarise(np.array(values)) for name, values in rows.items()}


def _score_pair(
    match: Match, features: list[Features], cameras: tuple[Camera, Camera], truth: Pose, max_error_px: float,
    limit: float,
) -> tuple[float, ...]:  # fmt: skip
    """Pose error, precision, matching score, matches and milliseconds."""
    sizes = [(camera.width, camera.height) for camera in cameras]
    start = time.process_time()
    rows, columns = match(features[0], features[1], sizes[0], sizes[1])
    spent_ms = 1e3 * (time.process_time() - start)
    first, second = features[0].xy[rows], features[1].xy[columns]
    pose = estimate_relative_pose(first, second, cameras, max_error_px=max_error_px).second_from_first
    precision = superglue_precision(first, second, cameras, truth, limit=limit)
    score = precision * len(rows) / max(len(features[0]), 1)
    return relative_pose_error_deg(pose, truth), precision, score, float(len(rows)), spent_ms


def _summarise(values: Array) -> PairScores:
    aucs = (pose_auc(values[:, 0], limit) for limit in (5, 10, 20))
    return PairScores(len(values), *aucs, *values[:, 1:].mean(axis=0).tolist())


def _list_pairs(args: argparse.Namespace) -> Iterator[EvaluationPair]:
    if (args.pairs is None) == (args.worlds is None):
        raise InputError("give either --pairs with --images, or --worlds")
    if args.worlds is not None:
        for number in range(args.worlds):
            yield from _simulate(_REPORT_KINDS[number % len(_REPORT_KINDS)], _REPORT_SEED + number, args.limit)
        return
    if args.images is None:
        raise InputError("--pairs without --images: give the folder that the pairs' names are in")
    for pair in read_pairs(args.pairs)[: args.limit]:
        sides = zip((pair.first, pair.second), pair.quarter_turns, pair.matrices, strict=True)
        first, second = (
            lambda side=side: load_image(args.images, *side, args.resize)  # type: ignore[misc]
            for side in sides
        )
        yield EvaluationPair(first, second, pair.second_from_first)


def _simulate(kind: str, seed: int, limit: int | None) -> list[EvaluationPair]:
    """Pairs of views of a world that share a part of what they show."""
    lap = make_lap(make_world(kind, seed), _FRAMES, seed)
    still = Pose.identity()

    def load(index: int) -> Callable[[], TurnedImage]:
        return lambda: TurnedImage(lap.image(index), lap.camera, still)

    shares, poses, found = shared_shares(lap), lap.map_from_camera, []
    for i, j in itertools.combinations(range(len(lap)), 2):
        shared = min(shares[i, j], shares[j, i])
        if _SHARED[0] <= shared <= _SHARED[1] and poses[i].distance_to(poses[j])[0] >= _NEAREST_M:
            found.append(EvaluationPair(load(i), load(j), poses[j].inverse() @ poses[i]))
    order = np.random.default_rng(seed).permutation(len(found))[:limit]
    return [found[k] for k in order]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    add = parser.add_argument
    add("--pairs", type=Path, metavar="TXT", help="pairs in the format of SuperGlue's evaluation")
    add("--images", type=Path, metavar="DIR", help="folder that their names are in")
    add("--worlds", type=int, metavar="N", help="simulated worlds that nothing is trained on, instead of --pairs")
    add("--limit", type=int, metavar="N", help="first pairs alone; of --worlds, pairs of each")
    add("--extractor", default="rootsift", metavar="rootsift|MODEL", help="keypoints; default: %(default)s")
    add("--matcher", type=Path, metavar="MODEL", help="learned matcher for these keypoints")
    add("--keypoints", type=int, default=1024, metavar="N", help="strongest of an image; default: %(default)s")
    add(
        "--resize", type=int, default=0, metavar="PX",
        help="longer side, at most; YFCC100M has 1600, ScanNet 640; 0 for none (default)",
    )  # fmt: skip
    add("--max-error", type=float, default=1.0, metavar="PX", help="of an inlier; default: %(default)s")
    add(
        "--epipolar-limit", type=float, default=5e-4, metavar="D",
        help="symmetric epipolar error of a correct match, the sum of two squared distances in normalised coordinates; "
        "default: SuperGlue's %(default)s",
    )  # fmt: skip
    add("--json", type=Path, metavar="F", help="write the same as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
