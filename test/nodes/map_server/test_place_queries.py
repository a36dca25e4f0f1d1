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

"""The map server's service query_places: images, scans and descriptors against LiDAR places and keyframes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes_world import Wall
from place_maps import KEYFRAME_POSES
from range_model import SPACE, posed_scan
from ros_session import Ros
from scan_robot import point_cloud_message_of
from sensor_msgs.msg import CompressedImage

from vloc_msgs.srv import QueryPlaces
from vloc_ros.core.clouds.place_clouds import POINTS_CM
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.inference.range_descriptors import read_range_descriptor
from vloc_ros.nodes.map_server.node import MapServerNode, ServedMap
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, pose_of
from vloc_ros.storage.maps import map_hash, read_map

ASK, REPLY = QueryPlaces.Request, QueryPlaces.Response
Call = Callable[..., Any]


def _serve(ros: Ros, folder: Path, name: str = "both", **models: str) -> Call:
    models = {key: str(folder / model) for key, model in models.items()}
    ros.add(MapServerNode, autostart=True, map=str(folder / "maps" / name), **models)
    return lambda **values: ros.call(QueryPlaces, "vloc_map_server/query_places", ASK(**values))


def _points(number: int, **changes: Any) -> dict[str, Any]:
    cloud = PointCloud(posed_scan(number).load().points)
    return {"query": ASK.POINTS, "points": point_cloud_message_of(cloud), **changes}


def _names(response: Any) -> list[tuple[str, str]]:
    assert response.result == REPLY.SUCCESS, response.message
    return [(one.modality, one.name) for one in response.retrieved]


def test_images_scans_and_descriptors_retrieve_places(ros: Ros, wall: Wall, folder: Path) -> None:
    call = _serve(ros, folder, encoder="image", range_encoder="range")
    pixels = np.repeat(wall.scene.image(KEYFRAME_POSES[3])[:, :, None], 3, axis=2)
    found = call(query=ASK.IMAGE, image=bgr_message(0, "camera", pixels), count=2)
    assert [modality for modality, _ in _names(found)] == ["lidar", "lidar", "image", "image"]
    assert (found.map_hash, found.message) == (map_hash(folder / "maps" / "both"), "")
    keyframe = found.retrieved[2]
    assert (keyframe.name, keyframe.frame_id, keyframe.similarity > 0.99) == ("3.png", "map", True)
    assert pose_of(keyframe.pose).distance_to(KEYFRAME_POSES[3])[0] < 1e-6
    packed = CompressedImage(format="png", data=cv2.imencode(".png", pixels)[1].tobytes())
    found = call(query=ASK.COMPRESSED_IMAGE, compressed_image=packed, places=ASK.KEYFRAMES, count=1)
    assert _names(found) == [("image", "3.png")]
    found = call(**_points(2, places=ASK.LIDAR_PLACES, count=1))
    assert _names(found) == [("lidar", "drive/2")]
    np.testing.assert_allclose(pose_of(found.retrieved[0].pose).translation, [200.0, 0.0, 1.7], atol=1e-6)
    assert len(_names(call(**_points(2)))) == 3 + ASK.DEFAULT_COUNT
    row = read_range_descriptor(folder / "range").encode_scan(posed_scan(1).load().points)[0]
    by_row = {"query": ASK.DESCRIPTOR, "descriptor": row, "encoder": SPACE}
    found = call(**by_row, count=1)
    assert found.retrieved[0].name == "drive/1"
    assert {modality for modality, _ in _names(found)} == {"lidar", "image"}


def test_a_served_map_keeps_no_points_of_lidar_places(folder: Path) -> None:
    served = ServedMap.read(folder / "maps" / "both")
    places, stored = served.landmark_map.places[LIDAR], read_map(folder / "maps" / "both").places[LIDAR]
    assert POINTS_CM in stored.payloads
    assert POINTS_CM not in places.payloads
    assert places.names == stored.names
    assert any("points_cm" in name for name, _ in served.files)


def test_queries_that_cannot_be_answered_say_why(ros: Ros, wall: Wall, folder: Path) -> None:
    call = _serve(ros, folder, encoder="image", range_encoder="range")
    row = np.zeros(48, np.float32)
    row[0] = 1.0
    by_row = {"query": ASK.DESCRIPTOR, "descriptor": row, "encoder": SPACE}
    empty, far = (point_cloud_message_of(PointCloud(np.full((n, 3), 1e4, np.float32))) for n in (1, 300))
    empty.data, empty.width, empty.row_step = [], 0, 0
    refused = [
        ({"query": 9}, REPLY.BAD_REQUEST),
        (by_row | {"places": 9}, REPLY.BAD_REQUEST),
        (by_row | {"count": ASK.MAX_COUNT + 1}, REPLY.BAD_REQUEST),
        (by_row | {"encoder": ""}, REPLY.BAD_REQUEST),
        (by_row | {"descriptor": 2 * row}, REPLY.BAD_DESCRIPTOR),
        (by_row | {"descriptor": row * np.nan}, REPLY.BAD_DESCRIPTOR),
        (by_row | {"descriptor": []}, REPLY.BAD_DESCRIPTOR),
        (by_row | {"descriptor": row[:40]}, REPLY.OTHER_ENCODER),
        (by_row | {"encoder": "b" * 64}, REPLY.OTHER_ENCODER),
        ({"query": ASK.IMAGE}, REPLY.BAD_IMAGE),
        ({"query": ASK.COMPRESSED_IMAGE}, REPLY.BAD_IMAGE),
        ({"query": ASK.IMAGE, "image": bgr_message(0, "", np.zeros((48, 64, 3), np.uint8))}, REPLY.MODEL_FAILED),
        ({"query": ASK.POINTS, "points": empty}, REPLY.BAD_POINTS),
        ({"query": ASK.POINTS, "points": far}, REPLY.BAD_POINTS),
    ]
    for values, expected in refused:
        response = call(**values)
        assert (response.result, bool(response.message), response.retrieved) == (expected, True, []), response.message
    assert len(_names(call(**by_row, places=ASK.LIDAR_PLACES))) == 3


def test_what_the_map_or_the_models_lack_is_named(ros: Ros, wall: Wall, folder: Path) -> None:
    call = _serve(ros, folder, "keyframes", encoder="image")
    image = bgr_message(0, "camera", np.repeat(wall.scene.image(KEYFRAME_POSES[0])[:, :, None], 3, axis=2))
    found = call(query=ASK.IMAGE, image=image, count=1)
    assert (_names(found), "no LiDAR places" in found.message) == ([("image", "0.png")], True)
    assert call(query=ASK.IMAGE, image=image, places=ASK.LIDAR_PLACES).result == REPLY.NO_INDEX
    assert call(**_points(1)).result == REPLY.NO_MODEL


def test_image_models_of_another_space(ros: Ros, wall: Wall, folder: Path) -> None:
    call = _serve(ros, folder, encoder="alone")
    image = bgr_message(0, "camera", np.repeat(wall.scene.image(KEYFRAME_POSES[0])[:, :, None], 3, axis=2))
    assert call(query=ASK.IMAGE, image=image, places=ASK.LIDAR_PLACES).result == REPLY.NO_MODEL
    assert call(query=ASK.IMAGE, image=image, places=ASK.KEYFRAMES).result == REPLY.OTHER_ENCODER


def test_two_models_that_were_not_trained_together_are_refused(ros: Ros, folder: Path) -> None:
    values = {"encoder": "alone", "range_encoder": "range"}
    values = {key: str(folder / name) for key, name in values.items()}
    ros.add(MapServerNode, autostart=False, map=str(folder / "maps" / "both"), **values)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not ros.call(ChangeState, "vloc_map_server/change_state", request).success
    assert ros.call(QueryPlaces, "vloc_map_server/query_places", ASK()).result == REPLY.NOT_ACTIVE


def test_a_map_without_such_places_is_named_before_a_missing_model(ros: Ros, folder: Path) -> None:
    call = _serve(ros, folder, "keyframes")
    assert call(query=ASK.IMAGE, places=ASK.LIDAR_PLACES).result == REPLY.NO_INDEX
    assert call(query=ASK.IMAGE).result == REPLY.NO_MODEL


def test_without_models_a_descriptor_is_compared_by_what_it_names(ros: Ros, folder: Path) -> None:
    call = _serve(ros, folder)
    by_row = {"query": ASK.DESCRIPTOR, "descriptor": np.eye(1, 48, dtype=np.float32)[0]}
    of_image = read_global_descriptor(folder / "image").hash
    for encoder, modality, places in ((SPACE, "lidar", ASK.LIDAR_PLACES), (of_image, "image", ASK.KEYFRAMES)):
        found = call(**by_row, encoder=encoder, places=places, count=2)
        assert [one for one, _ in _names(found)] == [modality] * 2
        assert {one for one, _ in _names(call(**by_row, encoder=encoder))} == {modality}


def test_times_of_points_are_not_read(ros: Ros, folder: Path) -> None:
    points = posed_scan(1).load().points
    cloud = PointCloud(points, stamp_ns=10**18, offsets_ns=np.full(len(points), 2 * 10**9))
    found = _serve(ros, folder, range_encoder="range")(query=ASK.POINTS, points=point_cloud_message_of(cloud))
    assert len(_names(found)) == 3
