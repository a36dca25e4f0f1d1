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

"""Where a query was taken, in metres, by local features: from retrieved images of which only the positions are known.

The retrieved image that most matches agree with is reconstructed with its neighbours in the database, whose known
distances give the scale. The query's pose follows from its matches with these points (PnP). The direction from one
position to the other turns the camera's frame into the map's: cameras are taken to be upright, as of a car, a robot or
a person. Re-ranking by geometric verification: Philbin et al. 2007; positions from few retrieved images: Sattler et
al., Are Large-Scale 3D Models Really Necessary for Accurate Visual Localization?, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import poselib

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import estimate_relative_pose, mutual_matches

_RATIO, _MAX_ERROR_PX = 0.85, 4.0
# matches that agree with a pose by chance are fewer
LEAST_INLIERS = 20
# how many more inliers an image needs to take the place of the first retrieved one
_CLEAR_RATIO = 1.5
_NEIGHBOURS, _LEAST_BASELINE_M, _LARGEST_BASELINE_M = 4, 0.2, 30.0
_LEAST_PARALLAX_RAD = np.radians(1.0)
# a pose farther from the image that it is of: they would hardly share a view
_LARGEST_OFFSET_M = 60.0
_CACHED = 4096


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """Keypoints of an image with their rays.

    Attributes:
        features: the keypoints.
        rays: (N, 3) with z = 1.
        camera: the calibration.
    """

    features: Features
    rays: Array
    camera: Camera

    @staticmethod
    def of(features: Features, camera: Camera) -> LocalFeatures:
        """Those keypoints that a ray of the camera meets."""
        seen = features.seen_through(camera)
        return LocalFeatures(seen, camera.unproject(seen.xy), camera)


@dataclass(frozen=True, slots=True, eq=False)
class PlaceEstimate:
    """The results of a query in their new order.

    Attributes:
        rows: (C,) int64 database images.
        position: (2,) metres of the query; None where it could not be estimated, and the order is by inliers or as
            it was.
        inliers: matches that agree with the relative pose of the image that the order follows; where it stays, with the
            first one.
    """

    rows: Array
    position: Array | None
    inliers: int


class PoseReranker:
    """Orders the first results of a query by local features, and by the position that follows from them."""

    def __init__(
        self, load: Callable[[int], LocalFeatures], positions: Array, *, count: int = 10, radius_m: float = 25.0
    ) -> None:
        """Take a database.

        Args:
            load: gives the local features of a database image.
            positions: (N, 2) metres of the database images.
            count: results that are verified.
            radius_m: an image within it of the query's position comes first.
        """
        self._load = lru_cache(maxsize=_CACHED)(load)
        self._structure = lru_cache(maxsize=_CACHED)(self._reconstruct)
        self._positions, self._count, self._radius_m = positions, count, radius_m

    def rerank(self, query: LocalFeatures, rows: Array) -> PlaceEstimate:
        """Order (C,) results of a query anew; where local features say nothing, the order stays."""
        first = rows[: self._count]
        inliers = np.array([self._verify(query, int(row)) for row in first])
        best = int(inliers.argmax())
        if inliers[best] < _CLEAR_RATIO * inliers[0]:
            best = 0
        if inliers[best] < LEAST_INLIERS:
            return PlaceEstimate(rows, None, int(inliers[0]))
        position = self._locate(query, int(first[best]))
        if position is None:
            # the evidence is for this image: it comes first, all others stay
            return PlaceEstimate(_put_first(rows, int(first[best])), None, int(inliers[best]))
        verified = first[inliers >= LEAST_INLIERS]
        return PlaceEstimate(self._order_by_distance(rows, verified, position), position, int(inliers[best]))

    def _verify(self, query: LocalFeatures, row: int) -> int:
        """Matches with a database image that agree with a relative pose."""
        found = self._load(row)
        matches = mutual_matches(query.features, found.features, _RATIO)
        rays = query.rays[matches[:, 0]], found.rays[matches[:, 1]]
        _, agree = estimate_relative_pose(rays, (query.camera, found.camera), max_error_px=_MAX_ERROR_PX)
        return int(agree.sum())

    def _locate(self, query: LocalFeatures, row: int) -> Array | None:
        """(2,) position of a query by the points around a database image; None where it does not follow."""
        structure, image = self._structure(row), self._load(row)
        if structure is None:
            return None
        points, map_from_level = structure
        matches = mutual_matches(query.features, image.features, _RATIO)
        known = np.isfinite(points[matches[:, 1], 0])
        matches = matches[known]
        if len(matches) < LEAST_INLIERS:
            return None
        camera = query.camera
        options = {"max_reproj_error": _MAX_ERROR_PX, "max_iterations": 1000, "seed": 0}
        found, info = poselib.estimate_absolute_pose(
            query.features.xy[matches[:, 0]].astype(np.float64),
            points[matches[:, 1]],
            {"model": camera.model, "width": camera.width, "height": camera.height, "params": list(camera.parameters)},
            options,
            {},
        )
        offset = Pose(found.R, found.t).inverse().translation
        if info["num_inliers"] < LEAST_INLIERS or not np.linalg.norm(offset) < _LARGEST_OFFSET_M:
            return None
        return np.asarray(self._positions[row] + map_from_level @ offset[[0, 2]])

    def _reconstruct(self, row: int) -> tuple[Array, Array] | None:
        """Points of a database image in metres, and the rotation from right and ahead of it to east and north.

        Returns:
            (N, 3) points of its keypoints in its frame, NaN where there is none; (2, 2) rotation. None where no
            neighbour gives points.
        """
        image = self._load(row)
        best: tuple[Array, Array] | None = None
        for neighbour in self._neighbours(row):
            found = self._triangulate(image, self._load(neighbour), self._positions[neighbour] - self._positions[row])
            if found is not None and (best is None or _count(found[0]) > _count(best[0])):
                best = found
        return best

    def _neighbours(self, row: int) -> list[int]:
        """The nearest database images that are not at the same place."""
        distances = np.linalg.norm(self._positions - self._positions[row], axis=1)
        near = np.flatnonzero((distances >= _LEAST_BASELINE_M) & (distances <= _LARGEST_BASELINE_M))
        return [int(k) for k in near[np.argsort(distances[near], kind="stable")][:_NEIGHBOURS]]

    def _triangulate(
        self, image: LocalFeatures, neighbour: LocalFeatures, baseline: Array
    ) -> tuple[Array, Array] | None:
        """Points and rotation by one neighbour that is (2,) metres east and north of the image."""
        matches = mutual_matches(image.features, neighbour.features, _RATIO)
        rays = image.rays[matches[:, 0]], neighbour.rays[matches[:, 1]]
        pose, agree = estimate_relative_pose(rays, (image.camera, neighbour.camera), max_error_px=_MAX_ERROR_PX)
        direction = pose.translation[[0, 2]]
        if agree.sum() < LEAST_INLIERS or np.linalg.norm(direction) < 0.5:  # upwards: the heading does not follow
            return None
        length = float(np.linalg.norm(baseline) / np.linalg.norm(direction))
        points = _intersect(rays[0][agree], rays[1][agree] @ pose.rotation.T, length * pose.translation)
        found = np.full((len(image.features), 3), np.nan)
        found[matches[agree, 0]] = points
        if _count(found) < LEAST_INLIERS:
            return None
        turn = np.arctan2(*baseline[::-1]) - np.arctan2(*direction[::-1])
        cosine, sine = np.cos(turn), np.sin(turn)
        return found, np.array([[cosine, -sine], [sine, cosine]])

    def _order_by_distance(self, rows: Array, verified: Array, position: Array) -> Array:
        """The nearest database image first, then verified results by their distance, then the others as they were."""
        distances = np.linalg.norm(self._positions - position, axis=1)
        others = rows[~np.isin(rows, verified)]
        ordered = np.concatenate([verified[np.argsort(distances[verified], kind="stable")], others])
        nearest = int(distances.argmin())
        return _put_first(ordered, nearest) if distances[nearest] <= self._radius_m else ordered


def _put_first(rows: Array, row: int) -> Array:
    """(C,) rows with one in front, which need not be among them."""
    return np.concatenate([[row], rows[rows != row]])[: len(rows)]


def _count(points: Array) -> int:
    return int(np.isfinite(points[:, 0]).sum())


def _intersect(first: Array, second: Array, centre: Array) -> Array:
    """(M, 3) midpoints between two rays each, the second from a centre; NaN without parallax or behind a camera."""
    a, b = (rays / np.linalg.norm(rays, axis=1, keepdims=True) for rays in (first, second))
    cosine = np.einsum("ij,ij->i", a, b)
    sine2 = 1.0 - cosine**2
    with np.errstate(divide="ignore", invalid="ignore"):
        s = (a @ centre - cosine * (b @ centre)) / sine2
        t = (cosine * (a @ centre) - b @ centre) / sine2
        points = (s[:, None] * a + centre + t[:, None] * b) / 2
    valid = (s > 0) & (t > 0) & (sine2 > np.sin(_LEAST_PARALLAX_RAD) ** 2)
    return np.asarray(np.where(valid[:, None], points, np.nan))
