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

"""The map server's service query_places: images from above against aerial tiles, which lie on Earth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aerial_ground import CAMERA, TILES_FROM_MAP, hover, image_from, make_map_of_both, map_datum, without_datum
from geometry_msgs.msg import Vector3
from ros_session import Ros
from sensor_msgs.msg import CameraInfo

from vloc_msgs.srv import QueryPlaces
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.localization.tile_places import AerialPlaces
from vloc_ros.core.localization.tile_views import describe_view
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.nodes.map_server import tile_queries
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, pose_of
from vloc_ros.storage.maps import write_map

ASK, REPLY = QueryPlaces.Request, QueryPlaces.Response
TILT = (0.3, -0.2)
# of a drone far from the landmarks, and how high it is above the plain
POSE, ALTITUDE_M = hover(-40.0, 20.0, 60.0, yaw=1.0, tilt=TILT), 60.0


def serve(ros: Ros, landmark_map: LandmarkMap, folder: Path) -> Callable[..., Any]:
    write_map(landmark_map, folder / "map")
    ros.add(MapServerNode, map=str(folder / "map"))
    return lambda **values: ros.call(QueryPlaces, "vloc_map_server/query_places", ASK(**values))


def as_image(pixels: Array, **values: Any) -> dict[str, Any]:
    return {"query": ASK.IMAGE, "image": bgr_message(0, "camera", pixels), "places": ASK.AERIAL_TILES, **values}


def calibration() -> CameraInfo:
    model, k, d = CAMERA.to_ros()
    return CameraInfo(width=CAMERA.width, height=CAMERA.height, distortion_model=model, k=k, d=d)


def gravity_at(map_from_camera: Pose) -> Vector3:
    x, y, z = (map_from_camera.rotation.T @ [0.0, 0.0, -1.0]).tolist()
    return Vector3(x=x, y=y, z=z)


def ground_seen() -> Array:
    """(3,) in the map, what the middle of the image shows."""
    ray = POSE.rotation[:, 2]
    return np.asarray(POSE.translation - (TILES_FROM_MAP @ POSE).translation[2] / ray[2] * ray)


def test_an_image_from_above_finds_tiles_on_earth(ros: Ros, tmp_path: Path) -> None:
    call, datum, seen = serve(ros, make_map_of_both(), tmp_path), map_datum(), ground_seen()
    pixels = image_from(POSE)
    known = {"camera_info": calibration(), "gravity": gravity_at(POSE), "altitude": ALTITUDE_M}
    for values in ({}, known):
        found = call(**as_image(pixels, count=3, **values))
        assert (found.result, found.message, len(found.retrieved)) == (REPLY.SUCCESS, "", 3), found.message
        assert {one.modality for one in found.retrieved} == {"aerial"}
        best = found.retrieved[0]
        middle = pose_of(best.pose).translation
        assert np.linalg.norm((middle - seen)[:2]) < best.side_m / 2
        np.testing.assert_allclose(datum.local(best.latitude, best.longitude, best.altitude), middle, atol=1e-3)
    assert found.retrieved[0].similarity > call(**as_image(pixels)).retrieved[0].similarity, (
        "a level view is more alike"
    )
    # of all kinds, with what is left out
    everything = call(**as_image(pixels, places=ASK.ALL))
    assert {one.modality for one in everything.retrieved} == {"aerial"}
    assert "no keyframes" in everything.message


def test_what_extracts_keypoints_is_made_once_a_map(ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, build = [], tile_queries.build_tile_extractor
    monkeypatch.setattr(tile_queries, "build_tile_extractor", lambda *args: made.append(1) or build(*args))
    call = serve(ros, make_map_of_both(), tmp_path)
    found = [call(**as_image(image_from(POSE), count=1)) for _ in range(2)]
    assert found[0].retrieved == found[1].retrieved != []
    assert len(made) == 1


def test_a_descriptor_of_the_tiles_encoder_is_compared_with_them(ros: Ros, tmp_path: Path) -> None:
    both = make_map_of_both()
    call, places = serve(ros, both, tmp_path), AerialPlaces(both)
    query = AerialQuery(View(image_from(POSE), CAMERA))
    row = describe_view(query, places, RootSift(RootSiftConfig(max_keypoints=2500, min_keypoints=2500)))[0]
    by_row = {"query": ASK.DESCRIPTOR, "descriptor": row, "places": ASK.AERIAL_TILES}
    found = call(**by_row, encoder=places.encoder.hash, count=1)
    assert found.result == REPLY.SUCCESS, found.message
    # the map stores descriptors in 8 bits
    assert found.retrieved[0].similarity == pytest.approx(float(places.compare(row).max()), abs=1e-3)
    assert call(**by_row, encoder="another").result == REPLY.OTHER_ENCODER
    assert call(**by_row | {"descriptor": row[:8] / np.linalg.norm(row[:8])}, encoder=places.encoder.hash).result == (
        REPLY.OTHER_ENCODER
    )


def test_a_map_that_lies_nowhere_on_earth_has_no_latitudes(ros: Ros, tmp_path: Path) -> None:
    found = serve(ros, without_datum(make_map_of_both()), tmp_path)(**as_image(image_from(POSE), count=1))
    assert found.result == REPLY.SUCCESS, found.message
    assert np.isnan([found.retrieved[0].latitude, found.retrieved[0].longitude, found.retrieved[0].altitude]).all()


def test_images_that_cannot_be_compared_say_why(ros: Ros, tmp_path: Path) -> None:
    call, pixels, camera_info = serve(ros, make_map_of_both(), tmp_path), image_from(POSE), calibration()
    ahead, water = Vector3(x=0.0, y=1.0, z=0.0), np.full((360, 480, 3), 120, np.uint8)
    refused = [
        (as_image(pixels, camera_info=camera_info, gravity=ahead), REPLY.BAD_IMAGE, "hardly any ground"),
        (as_image(water), REPLY.BAD_IMAGE, "keypoints"),
        (as_image(pixels, gravity=Vector3(z=1.0)), REPLY.BAD_REQUEST, "camera_info"),
        (as_image(pixels, altitude=40.0), REPLY.BAD_REQUEST, "camera_info"),
        (as_image(pixels, camera_info=camera_info, altitude=-3.0), REPLY.BAD_REQUEST, "above the ground"),
        (as_image(pixels, camera_info=camera_info, gravity=Vector3(x=np.nan)), REPLY.BAD_REQUEST, "gravity"),
        (as_image(pixels[:200], camera_info=camera_info), REPLY.BAD_REQUEST, "480x200"),
        (as_image(pixels, camera_info=CameraInfo(width=480, height=360)), REPLY.BAD_REQUEST, "camera_info"),
        (as_image(pixels) | {"query": ASK.POINTS}, REPLY.NO_MODEL, "scan"),
    ]
    for values, expected, reason in refused:
        response = call(**values)
        assert (response.result, response.retrieved) == (expected, []), response.message
        assert reason in response.message
    assert call(**as_image(pixels)).result == REPLY.SUCCESS
