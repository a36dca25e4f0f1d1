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

"""A landmark map that answers photographs of its places."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.view_from_above import find_outliers
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.server.answers import Answer, Fix, MapOverview, PlaceShape
from vloc_ros.server.plan import Plan, find_extent
from vloc_ros.server.queries import (
    SHOWN_POINTS,
    KnownOfView,
    camera_of,
    list_matches,
    make_fix,
    rank_places,
    thin,
    weigh_similarities,
)


class LandmarkService:
    """See `MapService`."""

    def __init__(self, localizer: Localizer, calibration: Camera | None) -> None:
        """For a map of one scene.

        Args:
            localizer: in the map.
            calibration: of the photographs; None where requests give their focal length.

        Raises:
            MapError: the map has several scenes.
        """
        self._localizer, self._map, self._calibration = localizer, localizer.map, calibration
        self._scene = self._map.scene()
        self._plan = Plan.of_landmarks(self._map)
        index = self._map.retrieval.get(VLAD)
        self._index, self._vocabulary = index, Vocabulary.from_arrays(index.encoder_arrays) if index else None

    def describe(self) -> MapOverview:
        """Keyframes as places, and some map points, as the map's cameras would see them from above."""
        keyframes, datum = self._map.keyframes, self._scene.datum
        ahead = self._plan.project(keyframes.rotations[:, :, 2])
        shapes = [
            PlaceShape(name=name, x=x, y=y, side_m=0.0, yaw_deg=yaw)
            for name, (x, y), yaw in zip(
                keyframes.names,
                self._plan.project(keyframes.translations + self._scene.origin).tolist(),
                np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0])).tolist(),
                strict=True,
            )
        ]
        near = np.flatnonzero(~find_outliers(self._map))
        points = self._locate_points(near[thin(len(near), SHOWN_POINTS)])
        return MapOverview(
            name=self._map.name,
            kind="landmarks",
            frame_id=self._scene.frame_id,
            metric=self._map.metric,
            needs_camera=self._calibration is None,
            axes=self._plan.describe_axes(),
            places=shapes,
            points=[(float(x), float(y)) for x, y in points],
            extent=find_extent(shapes, points),
            latitude=datum.latitude if datum else None,
            longitude=datum.longitude if datum else None,
        )

    def locate(self, image: Array, known: KnownOfView) -> Answer:
        """The localizer's answer; keyframes are ranked by VLAD where the map has that index."""
        camera = camera_of(image, known, self._calibration)
        query = Query.single(image, camera)
        features = self._localizer.extract(query)
        result = self._localizer.localize_features(features, query, on_request=True)
        similarities = self._rank(features[0])
        return Answer(
            status=result.status.value,
            reason=result.reason,
            confidence=result.confidence,
            inliers=result.inliers,
            width=camera.width,
            height=camera.height,
            places=rank_places(self._map.keyframes.names, similarities) if similarities.any() else [],
            weights=weigh_similarities(similarities).tolist() if similarities.any() else [],
            matches=list_matches(result.inlier_xy, self._locate_points(result.inlier_points)) if result.ok else [],
            fix=self._fix(result) if result.ok else None,
        )

    def _locate_points(self, numbers: Array) -> Array:
        """(M, 2) coordinates of map points in the plan."""
        return self._plan.project(self._map.points[numbers] + self._scene.origin)

    def _rank(self, features: Features) -> Array:
        """(K,) cosine of every keyframe; zeros where the map has no index of its own."""
        similarities = np.zeros(len(self._map.keyframes))
        if self._index is None or self._vocabulary is None:
            return similarities
        if len(features):
            described = self._vocabulary.encode(self._map.codec.project(features.descriptors))
            np.maximum.at(similarities, self._index.items, self._index.descriptors @ described)
        return similarities

    def _fix(self, result: LocalizationResult) -> Fix:
        assert result.map_from_rig is not None
        assert result.covariance is not None
        pose, datum = result.map_from_rig, self._scene.datum
        earth = EarthPose.of_view(datum, pose, result.covariance) if datum else None
        return make_fix(self._plan, pose, result.covariance, ahead=pose.rotation[:, 2], earth=earth)
