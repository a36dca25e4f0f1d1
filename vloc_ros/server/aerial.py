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

"""A map of aerial tiles that answers photographs from above."""

from __future__ import annotations

import numpy as np

from vloc_ros.assembly import build_tile_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.tile_places import AerialPlaces
from vloc_ros.core.localization.tile_search import TileHypothesis, TileSearch
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.server.answers import Answer, Fix, MapOverview, Match, PlaceShape
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

# of a gimbal that looks straight down
_NADIR_STD_RAD = float(np.radians(0.5))


class AerialService:
    """See `MapService`."""

    def __init__(
        self, landmark_map: LandmarkMap, calibration: Camera | None, *, search: TileSearch | None = None
    ) -> None:
        """For a map with aerial tiles of one scene.

        Args:
            landmark_map: the map.
            calibration: of the photographs; None where requests give their focal length.
            search: among its tiles; None makes it.

        Raises:
            MapError: it has no tiles, or several scenes.
        """
        self._map, self._calibration = landmark_map, calibration
        self._scene = landmark_map.scene()
        self._tiles, self._plan = AerialPlaces(landmark_map), Plan.of_ground()
        self._search = search or build_tile_search(LocalizerConfig(), landmark_map)

    def describe(self) -> MapOverview:
        """Tiles as squares, and some of their keypoints as a plan."""
        places, datum = self._tiles.places, self._scene.datum
        yaws = np.degrees(np.arctan2(places.rotations[:, 1, 0], places.rotations[:, 0, 0]))
        shapes = [
            PlaceShape(name=name, x=x, y=y, side_m=side, yaw_deg=yaw)
            for name, (x, y), side, yaw in zip(
                places.names,
                self._plan.project(places.translations + self._scene.origin).tolist(),
                places.extents[:, 0].tolist(),
                yaws.tolist(),
                strict=True,
            )
        ]
        keypoints = self._tiles.plan()
        points = self._plan.project(keypoints[thin(len(keypoints), SHOWN_POINTS)] + self._scene.origin)
        return MapOverview(
            name=self._map.name,
            kind="aerial",
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
        """Tiles are retrieved and matched; one pose is decided on."""
        down = np.array([0.0, 0.0, 1.0]) if known.nadir else None
        view = View(image, camera_of(image, known, self._calibration))
        query = AerialQuery(view, down, _NADIR_STD_RAD, known.altitude_m)
        result, leader, similarities = self._search.search(query)
        return Answer(
            status=result.status.value,
            reason=result.reason,
            confidence=result.confidence,
            inliers=result.inliers,
            width=view.camera.width,
            height=view.camera.height,
            places=[] if similarities is None else rank_places(self._tiles.places.names, similarities),
            weights=[] if similarities is None else weigh_similarities(similarities).tolist(),
            matches=self._list_matches(leader) if leader else [],
            fix=self._fix(result) if leader else None,
        )

    def _list_matches(self, leader: TileHypothesis) -> list[Match]:
        return list_matches(leader.inlier_xy, self._plan.project(leader.inlier_points + self._scene.origin))

    def _fix(self, result: LocalizationResult) -> Fix:
        assert result.map_from_rig is not None
        assert result.covariance is not None
        pose, datum = result.map_from_rig, self._scene.datum
        earth = EarthPose.of_camera(datum, pose, result.covariance) if datum else None
        return make_fix(self._plan, pose, result.covariance, ahead=-pose.rotation[:, 1], earth=earth)
