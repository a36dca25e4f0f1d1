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

"""Points in front of a row of cameras, with exact truth: features and images for map building without pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest

from vloc_ros.assembly import EXTRACTORS
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage

CAMERA = Camera("SIMPLE_RADIAL", 640, 480, (525.0, 320.0, 240.0, -0.02))
# far from zero, such as in UTM coordinates
UTM = np.array([5e5, 5.4e6, 0.0])
_CODE_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class PosedPoints:
    """Points, their descriptors, and cameras that look at them.

    Attributes:
        points: (P, 3) metres.
        poses: map_from_camera of every image.
        features: of every image.
        point_of_keypoint: for every image, the point that each keypoint shows.
    """

    points: Array
    poses: tuple[Pose, ...]
    features: tuple[Features, ...]
    point_of_keypoint: tuple[Array, ...]

    def images(self, *, posed: bool = True) -> list[PosedImage]:
        """One image per pose; its pixels carry its number, which `NumberedExtractor` reads."""
        return [
            PosedImage(f"{i:03}.png", lambda i=i: numbered(i), CAMERA, pose if posed else None, i * 10**9)
            for i, pose in enumerate(self.poses)
        ]

    def shift(self, offset: Array) -> PosedPoints:
        """The same in a frame that far away; features stay."""
        poses = tuple(Pose(pose.rotation, pose.translation + offset) for pose in self.poses)
        return replace(self, points=self.points + offset, poses=poses)

    def true_matches(self, *, next_images: int = 6) -> dict[tuple[int, int], Array]:
        """(M, 2) keypoints of the same point, for every image and the next ones."""
        matches = {}
        for i in range(len(self.poses)):
            for j in range(i + 1, min(i + 1 + next_images, len(self.poses))):
                _, a, b = np.intersect1d(self.point_of_keypoint[i], self.point_of_keypoint[j], return_indices=True)
                matches[i, j] = np.column_stack([a, b]).astype(np.uint32)
        return matches


def numbered(number: int) -> Array:
    """(H, W) uint8 image that carries a number."""
    image = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    image[0, :_CODE_BYTES] = np.frombuffer(np.uint32(number).tobytes(), np.uint8)
    return image


@dataclass(frozen=True, slots=True, eq=False)
class NumberedExtractor:
    """Gives the features whose number an image carries."""

    features: Sequence[Features]
    dimension: int = 128
    least_scale: float = 0.0

    def working_scale(self, width: int, height: int) -> float:
        return 1.0

    def extract(self, image: Array) -> Features:
        """The features of that number."""
        return self.features[int(np.frombuffer(image[0, :_CODE_BYTES].tobytes(), np.uint32)[0])]


@contextmanager
def extracting(features: Sequence[Features]) -> Iterator[None]:
    """Maps are built and updated with these features of numbered images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "rootsift", lambda *_: NumberedExtractor(features))
        yield


def make_posed_points(*, images: int = 20, points: int = 500, noise_px: float = 0.3, seed: int = 0) -> PosedPoints:
    """A row of cameras 0.2 m apart, some turned a little, before points 3 to 6 m away."""
    rng = np.random.default_rng(seed)
    length = 0.2 * images
    xyz = np.column_stack(
        [rng.uniform(-2.0, length + 2.0, points), rng.uniform(-1.5, 1.5, points), rng.uniform(3.0, 6.0, points)]
    )
    truth = unit(rng.normal(size=(points, 128)))
    poses = tuple(
        Pose.from_rotation_vector(rng.normal(0, 0.04, 3), [0.2 * k, rng.normal(0, 0.1), rng.normal(0, 0.1)])
        for k in range(images)
    )
    features, shown = [], []
    for pose in poses:
        pixels = CAMERA.project(pose.inverse().apply(xyz))
        seen = rng.permutation(np.flatnonzero(CAMERA.contains(pixels)))
        xy = pixels[seen] + rng.normal(0, noise_px, (len(seen), 2))
        descriptors = unit(truth[seen] + rng.normal(0, 0.02, (len(seen), 128)))
        features.append(Features(xy.astype(np.float32), descriptors, np.ones(len(seen), np.float32)))
        shown.append(seen)
    return PosedPoints(xyz, poses, tuple(features), tuple(shown))


def unit(vectors: Array) -> Array:
    """(N, D) float32 L2-normalised rows."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
