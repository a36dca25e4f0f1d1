"""Does the simulated world look like a real one to the extractor?

Prints keypoints per image, and matches, inlier ratio and inliers of image pairs, for real images where they lie beside
the repository and for every kind of simulated world. Run: `python tools/simulation_statistics.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "redkitchen" / "map" / "images"
KINDS = ("room", "corridor", "yard", "apartment")
RATIO = 0.8
MAX_EPIPOLAR_ERROR_PX = 2.0
STEP_M = 0.04  # between the real images, median


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=3, help="simulated worlds per kind, seen together")
    parser.add_argument("--pairs", type=int, default=12, help="pairs per sequence")
    args = parser.parse_args()
    print("p10/p50/p90       | keypoints       | next frame: matches, inlier %, inliers"
          "                | third next frame: matches, inlier %, inliers")  # fmt: skip
    if REAL.is_dir():
        paths = sorted(REAL.glob("*.jpg"))
        report("redkitchen", [(lambda i: cv2.imread(str(paths[i])), spaced(len(paths), args.pairs))])
    for kind in KINDS:
        worlds = [sequence(kind, seed, args.pairs) for seed in range(args.worlds)]
        report(f"{kind} x {len(worlds)}", worlds)


def sequence(kind: str, seed: int, pairs: int) -> tuple[Callable[[int], Array], list[int]]:
    """A lap through a world with the real images' distance between frames, and the numbers of its sampled frames."""
    world = make_world(kind, seed)
    frames = round(lap_length_m(walk(world, 200, seed)) / STEP_M)
    return make_lap(world, frames, seed).image, spaced(frames, pairs)


def lap_length_m(map_from_camera: Sequence[Pose]) -> float:
    """How far a camera travels."""
    return sum(a.distance_to(b)[0] for a, b in pairwise(map_from_camera))


def spaced(frames: int, count: int) -> list[int]:
    """Frame numbers over a sequence, clear of its end."""
    return [int(i) for i in np.linspace(0, frames - 4, count)]


def report(name: str, sequences: Sequence[tuple[Callable[[int], Array], Sequence[int]]]) -> None:
    """Print one line: what all sequences give together."""
    extractor = RootSift(RootSiftConfig())
    keypoints, near, wide = [], [], []
    for load, starts in sequences:
        for start in starts:
            first, second, third = (extractor.extract(load(start + step)) for step in (0, 1, 3))
            keypoints.append(len(first))
            near.append(two_view(first, second))
            wide.append(two_view(first, third))
    print(f"{name:17s} | {spread(keypoints):15s} | {pairs(near):36s} | {pairs(wide)}", flush=True)


def two_view(first: Features, second: Features) -> tuple[int, float, int]:
    """Mutual nearest neighbours within the ratio, the inlier ratio of one fundamental matrix, and its inliers."""
    if min(len(first), len(second)) < 2:
        return 0, 0.0, 0
    similarity = first.descriptors @ second.descriptors.T
    nearest = np.argmax(similarity, axis=1)
    mutual = np.argmax(similarity, axis=0)[nearest] == np.arange(len(first))
    best_two = -np.partition(-similarity, 1, axis=1)[:, :2]
    distance = np.sqrt(np.maximum(2 - 2 * best_two, 1e-12))
    keep = mutual & (distance[:, 0] < RATIO * distance[:, 1])
    if keep.sum() < 8:
        return int(keep.sum()), 0.0, 0
    a, b = first.xy[keep], second.xy[nearest[keep]]
    mask = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, MAX_EPIPOLAR_ERROR_PX, 0.999, 5000)[1]
    inliers = 0 if mask is None else int(mask.sum())
    return int(keep.sum()), inliers / int(keep.sum()), inliers


def pairs(rows: Sequence[tuple[int, float, int]]) -> str:
    """Matches, inlier ratios in percent, inliers."""
    matches, ratios, inliers = zip(*rows, strict=True)
    return f"{spread(matches):13s} {spread([100 * r for r in ratios]):9s} {spread(inliers):13s}"


def spread(values: Sequence[float]) -> str:
    """The tenth, fiftieth and ninetieth percentile."""
    return "/".join(f"{v:.0f}" for v in np.percentile(values, [10, 50, 90]))


if __name__ == "__main__":
    main()
