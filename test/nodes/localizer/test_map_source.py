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

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from nodes_world import Wall
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import WAIT_S, Ros

from vloc_msgs.msg import MapInfo
from vloc_msgs.srv import GetMapChunk, LoadMap
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer import map_source
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.storage.maps import map_hash

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_a_localizer_fetches_the_map_and_follows_a_swap(ros: Ros, wall: Wall, tmp_path: Path) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map), maps_folder=str(wall.map.parent))
    node = ros.add(LocalizerNode, autostart=True, map_cache=str(tmp_path))
    ros.until(lambda: node.map_hash == map_hash(wall.map))
    assert map_hash(tmp_path / node.map_hash) == node.map_hash
    ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="other"))
    ros.until(lambda: node.map_hash == map_hash(wall.other_map))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("file", ["largest", "manifest.json"])
def test_a_damaged_cache_entry_is_fetched_again(ros: Ros, wall: Wall, tmp_path: Path, file: str) -> None:
    digest = map_hash(wall.map)
    shutil.copytree(wall.map, tmp_path / digest)
    largest = max((tmp_path / digest).iterdir(), key=lambda path: path.stat().st_size)
    damaged = largest if file == "largest" else tmp_path / digest / file
    damaged.write_bytes(b"\xff" * damaged.stat().st_size)
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    node = ros.add(LocalizerNode, autostart=True, map_cache=str(tmp_path))
    ros.until(lambda: node.map_hash == digest)
    assert damaged.read_bytes() == (wall.map / damaged.name).read_bytes()


def test_a_fetch_that_failed_is_tried_again(
    ros: Ros, wall: Wall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_chunk, refused = MapServerNode._chunk, []

    def failing_once(self: MapServerNode, request: GetMapChunk.Request) -> Any:
        if not refused:
            refused.append(request.file)
            return GetMapChunk.Response.READ_FAILED, "read error", b""
        return read_chunk(self, request)

    monkeypatch.setattr(MapServerNode, "_chunk", failing_once)
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    node = ros.add(LocalizerNode, autostart=True, map_cache=str(tmp_path))
    ros.until(lambda: node.map_hash == map_hash(wall.map))
    assert refused


@pytest.mark.parametrize("served", [False, True], ids=["no server", "no response"])
def test_closing_waits_for_no_response(ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: bool) -> None:
    monkeypatch.setattr(map_source, "_RESPONSE_TIMEOUT_S", 1e6)
    requested, respond_now = threading.Event(), threading.Event()

    def silent(_: GetMapChunk.Request, response: GetMapChunk.Response) -> GetMapChunk.Response:
        requested.set()
        respond_now.wait(2 * WAIT_S)
        return response

    if served:
        ros.node.create_service(GetMapChunk, "server/get_map_chunk", silent)
    announcing = ros.node.create_publisher(MapInfo, "server/map_info", LATCHED)
    config = LocalizerNodeConfig(map_server="server", map_cache=str(tmp_path))
    source = map_source.MapServerSource(ros.node, config, on_map=print, on_fault=print)
    announcing.publish(MapInfo(hash="0" * 64, files=["points"], file_sizes=[10]))
    ros.until(lambda: requested.is_set() if served else any(tmp_path.iterdir()))
    closing = threading.Thread(target=source.close, daemon=True)
    closing.start()
    closing.join(WAIT_S)
    respond_now.set()
    assert not closing.is_alive()
    assert not any(tmp_path.iterdir())
