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

"""Does the simulated world look like a real one to the extractor?

Prints keypoints per image, and matches, inlier ratio and inliers of image pairs, for real images where they lie beside
the repository and for every kind of simulated world; of drives also how often VLAD finds the nearest of every fourth
image. Run: `python tools/simulation_statistics.py`.
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
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.simulation.driving import drive_route, fly_over
from vloc_ros.simulation.lighting import CLEAR_DAY
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = DATA / "redkitchen" / "map" / "images"
DRIVES = ("drive_04", "drive_0009")
CAR_CAMERA = Camera("PINHOLE", 1242, 375, (721.5, 721.5, 609.5, 172.8))
# of a drone 40 m above ground, half the size of its photographs
DRONE_CAMERA = Camera("PINHOLE", 1000, 562, (580.0, 580.0, 500.0, 281.0))
DRIVE_STEP_M, DRIVE_FRAMES, FLIGHT_STEP_M, FLIGHT_HEIGHT_M = 1.35, 51, 15.0, 40.0
DATABASE_STEP = 4
KINDS = ("room", "corridor", "yard", "apartment")
RATIO = 0.8
MAX_EPIPOLAR_ERROR_PX = 2.0
VOCABULARY_WORDS = 32
STEP_M = 0.04  # between the real images, median


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=3, help="simulated worlds per kind, seen together")
    parser.add_argument("--pairs", type=int, default=12, help="pairs per sequence")
    args = parser.parse_args()
    print("p10/p50/p90       | keypoints       | next frame: matches, inlier %, inliers"
          "                | third next frame: matches, inlier %, inliers | VLAD recall %")  # fmt: skip
    if REAL.is_dir():
        paths = sorted(REAL.glob("*.jpg"))
        report("redkitchen", [(lambda i: cv2.imread(str(paths[i])), spaced(len(paths), args.pairs))])
    for drive in DRIVES:
        paths = sorted((DATA / "kitti" / drive / "images").glob("*.jpg"))
        if paths:
            report_drive(drive, [reading(paths)], len(paths), args.pairs)
    streets = [street(seed) for seed in range(args.worlds)]
    report_drive(f"street x {len(streets)}", streets, DRIVE_FRAMES, args.pairs)
    paths = sorted((DATA / "brighton" / "images").glob("*.jpg"))
    if paths:
        report("brighton", [(reading(paths, width=DRONE_CAMERA.width), [0, 6, 12])])
    report(f"town x {args.worlds}, above", [from_above(seed) for seed in range(args.worlds)])
    for kind in KINDS:
        worlds = [sequence(kind, seed, args.pairs) for seed in range(args.worlds)]
        report(f"{kind} x {len(worlds)}", worlds)


def sequence(kind: str, seed: int, pairs: int) -> tuple[Callable[[int], Array], list[int]]:
    """A lap through a world with the real images' distance between frames, and the numbers of its sampled frames."""
    world = make_world(kind, seed)
    frames = round(lap_length_m(walk(world, 200, seed)) / STEP_M)
    return make_lap(world, frames, seed).image, spaced(frames, pairs)


def reading(paths: Sequence[Path], *, width: int | None = None) -> Callable[[int], Array]:
    """Photographs by their number, reduced to a width."""

    def load(index: int) -> Array:
        image = cv2.imread(str(paths[index]))
        factor = 1.0 if width is None else width / image.shape[1]
        return image if factor == 1.0 else cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)

    return load


def street(seed: int) -> Callable[[int], Array]:
    """A drive along a street."""
    world = make_world("street", seed)
    (road,) = world.roads
    poses = drive_route(world, [road.start, road.end], spacing_m=DRIVE_STEP_M, seed=seed)
    return lambda index: render(world, CAR_CAMERA, poses[index], lighting=CLEAR_DAY, seed=index)


def from_above(seed: int) -> tuple[Callable[[int], Array], list[int]]:
    """A flight over a town, in rows."""
    world = make_world("town", seed)
    poses = fly_over(world, height_m=FLIGHT_HEIGHT_M, spacing_m=FLIGHT_STEP_M)
    return lambda index: render(world, DRONE_CAMERA, poses[index], lighting=CLEAR_DAY, seed=index), [0, 9, 18, 27]


def report_drive(name: str, drives: Sequence[Callable[[int], Array]], frames: int, pairs: int) -> None:
    """Print one line, and recall by VLAD."""
    report(
        name, [(load, spaced(frames, pairs)) for load in drives], recall=[recall_at_1(load, frames) for load in drives]
    )


def recall_at_1(load: Callable[[int], Array], frames: int) -> float:
    """Of the images between, the share that VLAD finds next to one of every fourth."""
    extractor = RootSift(RootSiftConfig())
    features = [extractor.extract(load(k)).descriptors for k in range(frames)]
    vocabulary = Vocabulary.fit(np.concatenate(features[::DATABASE_STEP]), VOCABULARY_WORDS)
    rows = np.stack([vocabulary.encode(found) for found in features])
    queries = [k for k in range(frames) if k % DATABASE_STEP]
    nearest = DATABASE_STEP * np.argmax(rows[queries] @ rows[::DATABASE_STEP].T, axis=1)
    return float(np.mean(np.abs(nearest - queries) < DATABASE_STEP))


def lap_length_m(map_from_camera: Sequence[Pose]) -> float:
    """How far a camera travels."""
    return sum(a.distance_to(b)[0] for a, b in pairwise(map_from_camera))


def spaced(frames: int, count: int) -> list[int]:
    """Frame numbers over a sequence, clear of its end."""
    return [int(i) for i in np.linspace(0, frames - 4, count)]


def report(
    name: str, sequences: Sequence[tuple[Callable[[int], Array], Sequence[int]]], *, recall: Sequence[float] = ()
) -> None:
    """Print one line: what all sequences give together."""
    extractor = RootSift(RootSiftConfig())
    keypoints, near, wide = [], [], []
    for load, starts in sequences:
        for start in starts:
            first, second, third = (extractor.extract(load(start + step)) for step in (0, 1, 3))
            keypoints.append(len(first))
            near.append(two_view(first, second))
            wide.append(two_view(first, third))
    found = "/".join(f"{100 * share:.0f}" for share in recall) or "-"
    print(f"{name:17s} | {spread(keypoints):15s} | {pairs(near):36s} | {pairs(wide):38s} | {found}", flush=True)


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
