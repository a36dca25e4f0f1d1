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

"""Queries of places are computed beside the other services, one at a time, each in one map."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nodes_world import Wall
from place_maps import KEYFRAME_POSES
from ros_session import WAIT_S, Response, Ros
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from vloc_msgs.srv import LoadMap, QueryPlaces
from vloc_ros.core.geometry.pose import Array
from vloc_ros.nodes.map_server import node as server
from vloc_ros.nodes.map_server import place_queries
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message
from vloc_ros.storage.maps import map_hash

ASK, REPLY = QueryPlaces.Request, QueryPlaces.Response


class HeldEncoder:
    """The encoder of the map server, which describes an image only when it may go on."""

    def __init__(self, encoder: Any) -> None:
        self.hash, self._encoder = encoder.hash, encoder
        self._entered, self._may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.ended: list[str] = []

    def encode(self, images: Sequence[Array]) -> Array:
        self._entered.release()
        assert self._may_go_on.acquire(timeout=WAIT_S)
        self.ended.append("query")
        rows: Array = self._encoder.encode(images)
        return rows

    def wait_until_entered(self) -> None:
        assert self._entered.acquire(timeout=WAIT_S), "no query is computed"

    def go_on(self) -> None:
        """Have one image described."""
        self._may_go_on.release()


class Server:
    """A map server with such an encoder, and its client."""

    def __init__(self, ros: Ros, folder: Path, image: Image, **parameters: Any) -> None:
        self._ros, self._image = ros, image
        self.node = ros.add(
            MapServerNode,
            autostart=True,
            map=str(folder / "maps" / "both"),
            maps_folder=str(folder / "maps"),
            encoder=str(folder / "image"),
            **parameters,
        )
        self.encoder: HeldEncoder = self.node._encoders.images

    def send(self, **values: Any) -> Response:
        """Query the keyframes, by the image unless it is of another kind."""
        values = {"image": self._image, "places": ASK.KEYFRAMES, "count": 1} | values
        return self._ros.send(QueryPlaces, "vloc_map_server/query_places", ASK(**values))

    def hold(self) -> Response:
        """Send a query, which is computed from now on."""
        response = self.send()
        self.encoder.wait_until_entered()
        return response

    def fill(self) -> tuple[Response, Response]:
        """Send queries until one is refused, while one waits at most: the one that waits, and the refused one."""
        sent = [self.send(), self.send()]
        self._ros.until(lambda: any(one.arrived.is_set() for one in sent))
        waiting, refused = sorted(sent, key=lambda one: one.arrived.is_set())
        return waiting, refused

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._ros.call(ChangeState, "vloc_map_server/change_state", request).success)


@pytest.fixture
def serve(ros: Ros, wall: Wall, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def read(config: Any) -> Any:
        encoders = place_queries.read_place_encoders(config)
        return replace(encoders, images=HeldEncoder(encoders.images))

    monkeypatch.setattr(server, "read_place_encoders", read)
    pixels = np.repeat(wall.scene.image(KEYFRAME_POSES[3])[:, :, None], 3, axis=2)
    return lambda **parameters: Server(ros, folder, bgr_message(0, "camera", pixels), **parameters)


def _load(ros: Ros, name: str) -> Any:
    return ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name=name))


def test_a_query_is_of_the_map_that_it_began_with(ros: Ros, folder: Path, serve: Callable[..., Server]) -> None:
    served = serve()
    first, second = served.hold(), served.send()
    assert _load(ros, "keyframes").result == LoadMap.Response.SUCCESS, "load_map is served while a query is computed"
    assert ros.call(GetState, "vloc_map_server/get_state", GetState.Request()).current_state.label == "active"
    assert not first.arrived.is_set()
    served.encoder.go_on()
    served.encoder.wait_until_entered()  # the second begins when the first has ended
    served.encoder.go_on()
    answers = [first.wait(), second.wait()]
    assert [one.retrieved[0].name for one in answers] == ["3.png", "3.png"]
    assert [one.map_hash for one in answers] == [map_hash(folder / "maps" / name) for name in ("both", "keyframes")]


def test_the_places_are_those_of_the_map_that_is_named(
    ros: Ros, wall: Wall, folder: Path, serve: Callable[..., Server]
) -> None:
    served = serve()
    response = served.send(places=ASK.LIDAR_PLACES)
    served.encoder.wait_until_entered()
    _load(ros, "keyframes")  # which has none of them
    served.encoder.go_on()
    found = response.wait()
    assert (found.result, found.retrieved[0].modality) == (REPLY.SUCCESS, "lidar"), found.message
    assert found.map_hash == map_hash(folder / "maps" / "both")


def test_further_queries_are_refused_where_enough_wait(serve: Callable[..., Server]) -> None:
    served = serve(**{"query.max_waiting": 1})
    computed = served.hold()
    waiting, refused = served.fill()
    assert (refused.wait().result, bool(refused.wait().message)) == (REPLY.BUSY, True)
    assert not waiting.arrived.is_set()
    for _ in range(2):
        served.encoder.go_on()
    assert [one.wait().result for one in (computed, waiting)] == [REPLY.SUCCESS] * 2


@pytest.mark.parametrize("end", [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN])
def test_queries_that_wait_are_refused_when_the_node_stops(serve: Callable[..., Server], end: int) -> None:
    served = serve(**{"query.max_waiting": 1})
    computed = served.hold()
    waiting, _ = served.fill()
    assert served.change_state(end), "it does not wait for the query that is computed"
    assert waiting.wait().result == REPLY.NOT_ACTIVE
    assert served.send().wait().result == REPLY.NOT_ACTIVE
    assert not computed.arrived.is_set()
    if end == Transition.TRANSITION_DEACTIVATE:
        assert served.change_state(Transition.TRANSITION_ACTIVATE)
        again = served.send()
        served.encoder.go_on()
        served.encoder.go_on()
        assert again.wait().result == REPLY.SUCCESS
    served.encoder.go_on()
    assert computed.wait().result == REPLY.SUCCESS


def test_the_node_is_destroyed_after_the_query_that_is_computed(ros: Ros, serve: Callable[..., Server]) -> None:
    served = serve()
    served.hold()
    threading.Timer(0.1, served.encoder.go_on).start()
    served.node.destroy_node()
    assert served.encoder.ended == ["query"]


def _bomb(width: int, height: int) -> bytes:
    """The beginning of a PNG file that states many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def test_what_is_too_large_is_refused_by_the_size_that_it_states(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(**{"query.max_megapixels": 0.08, "query.max_points": 1000, "query.max_waiting": 0})
    small, large = (Image(width=400, height=height, encoding="mono8", step=400) for height in (200, 201))
    small.data = [7] * 80_000
    packed = cv2.imencode(".jpg", np.zeros((201, 400), np.uint8))[1].tobytes()
    computed = served.hold()
    for name in ("image_of", "point_cloud_of", "check_descriptors"):
        monkeypatch.setattr(place_queries, name, lambda *_: pytest.fail("decoded"))
    too_large = [
        ({"image": large}, REPLY.BAD_IMAGE, "query.max_megapixels"),
        ({"query": ASK.COMPRESSED_IMAGE, "compressed_image": CompressedImage(data=packed)}, REPLY.BAD_IMAGE, "400x201"),
        ({"query": ASK.COMPRESSED_IMAGE, "compressed_image": CompressedImage(data=_bomb(60000, 60000))}, 6, "60000x60"),
        ({"query": ASK.POINTS, "points": PointCloud2(width=1001, height=1)}, REPLY.BAD_POINTS, "query.max_points"),
        ({"query": ASK.POINTS, "points": PointCloud2(width=2**31, height=2**31)}, REPLY.BAD_POINTS, "at most 1000"),
        ({"query": ASK.DESCRIPTOR, "descriptor": [0.0] * (ASK.MAX_DESCRIPTOR + 1)}, REPLY.BAD_DESCRIPTOR, "65537"),
    ]
    for values, code, part in too_large:
        refused = served.send(**values).wait()  # at once, though a query is computed
        assert (refused.result, part in refused.message) == (code, True), refused.message
    busy = [{"image": small}, {"query": ASK.POINTS, "points": PointCloud2(width=1000, height=1)}]
    assert [served.send(**values).wait().result for values in busy] == [REPLY.BUSY] * 2, "of the size that is allowed"
    monkeypatch.undo()
    served.encoder.go_on()
    assert computed.wait().result == REPLY.SUCCESS


def test_an_error_of_the_map_server_is_a_response(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("vloc_ros.nodes.map_server.node.retrieve_places", fail)
        found = served.send().wait()
    assert (found.result, "a bug" in found.message) == (REPLY.FAILED, True)
    response = served.hold()  # the next one has its turn
    served.encoder.go_on()
    assert response.wait().result == REPLY.SUCCESS
