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

"""Images from above as queries of aerial tiles: what a QueryPlaces.Request says of how they were taken."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from vloc_msgs.srv import QueryPlaces
from vloc_ros.assembly import build_tile_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.ground_view import AerialQuery, GroundViewError
from vloc_ros.core.localization.place_query import FoundPlace, query_tiles
from vloc_ros.core.localization.tile_places import AerialPlaces
from vloc_ros.core.localization.tile_views import describe_view
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.nodes.map_server.refusal import QueryRefused
from vloc_ros.nodes.rclpy_support.conversion import camera_of

_CODES = QueryPlaces.Response


class TileQueries:
    """The aerial tiles of one map, and what extracts their keypoints: made for the first query, kept for the others.

    Not thread-safe: queries take turns.
    """

    def __init__(self, landmark_map: LandmarkMap) -> None:
        """Of any map; one without tiles has no answers."""
        self.map = landmark_map

    @cached_property
    def _places(self) -> AerialPlaces:
        return AerialPlaces(self.map)

    @cached_property
    def _extractor(self) -> Extractor:
        return build_tile_extractor(InferenceConfig(), self.map)

    def retrieve(self, request: Any, image: Array, count: int) -> list[FoundPlace]:
        """The aerial tiles that an image resembles, best first.

        Args:
            request: of QueryPlaces.
            image: (H, W) or (H, W, 3) uint8, that of the request.
            count: of tiles, at most.

        Raises:
            QueryRefused: there is no answer.
            MapError: the tiles are damaged, or there are none.
        """
        query, places, extractor = _make_query(request, image), self._places, self._extractor
        try:
            rows = describe_view(query, places, extractor)
        except (GroundViewError, InputError) as error:
            raise QueryRefused(_CODES.BAD_IMAGE, str(error)) from error
        except Exception as error:  # the engines' exceptions have no common base, and none ends the map server
            raise QueryRefused(_CODES.MODEL_FAILED, f"the model failed: {error}") from error
        return query_tiles(self.map, rows, encoder=places.encoder.hash, count=count)


def _make_query(request: Any, image: Array) -> AerialQuery:
    height, width = image.shape[:2]
    gravity = np.array([request.gravity.x, request.gravity.y, request.gravity.z])
    length, altitude_m = float(np.linalg.norm(gravity)), float(request.altitude)
    if not (np.isfinite(length) and 0 <= altitude_m < np.inf):
        raise QueryRefused(
            _CODES.BAD_REQUEST,
            f"gravity is {gravity.tolist()} and the altitude {altitude_m:g} m, expected a direction and metres above "
            "the ground; leave at 0 what is unknown",
        )
    if request.camera_info.width == 0:
        if length or altitude_m:
            raise QueryRefused(
                _CODES.BAD_REQUEST,
                "gravity or an altitude comes without camera_info, expected the calibration of the image; send it, or "
                "leave both at 0",
            )
        # of unknown altitude the sizes of the view do not depend on its focal length
        return AerialQuery(View(image, Camera("SIMPLE_PINHOLE", width, height, (width, width / 2, height / 2))))
    try:
        view = View(image, camera_of(request.camera_info))
    except InputError as error:
        raise QueryRefused(_CODES.BAD_REQUEST, f"camera_info: {error}") from error
    return AerialQuery(view, gravity / length if length else None, altitude_m=altitude_m or None)
