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
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.server.answers import Answer, Fix, MapOverview, PlaceShape
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
        index = self._map.retrieval.get(VLAD)
        self._index, self._vocabulary = index, Vocabulary.from_arrays(index.encoder_arrays) if index else None

    def describe(self) -> MapOverview:
        """Keyframes as places, and some map points as a plan, both seen along z."""
        keyframes, datum = self._map.keyframes, self._scene.datum
        ahead = keyframes.rotations[:, :, 2]
        shapes = [
            PlaceShape(name=name, x=x, y=y, side_m=0.0, yaw_deg=yaw)
            for name, (x, y), yaw in zip(
                keyframes.names,
                keyframes.translations[:, :2].tolist(),
                np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0])).tolist(),
                strict=True,
            )
        ]
        points = self._map.points[thin(len(self._map.points), SHOWN_POINTS), :2]
        return MapOverview(
            name=self._map.name,
            kind="landmarks",
            frame_id=self._scene.frame_id,
            metric=self._map.metric,
            needs_camera=self._calibration is None,
            places=shapes,
            points=[(float(x), float(y)) for x, y in points],
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
        points = self._map.points[result.inlier_points] if result.ok else np.zeros((0, 3))
        return Answer(
            status=result.status.value,
            reason=result.reason,
            confidence=result.confidence,
            inliers=result.inliers,
            width=camera.width,
            height=camera.height,
            places=rank_places(self._map.keyframes.names, similarities) if similarities.any() else [],
            weights=weigh_similarities(similarities).tolist() if similarities.any() else [],
            matches=list_matches(result.inlier_xy, points) if result.ok else [],
            fix=self._fix(result) if result.ok else None,
        )

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
        pose, datum = self._scene.scene_from(result.map_from_rig), self._scene.datum
        earth = EarthPose.of_view(datum, result.map_from_rig, result.covariance) if datum else None
        return make_fix(pose, result.covariance, ahead=pose.rotation[:, 2], earth=earth)
