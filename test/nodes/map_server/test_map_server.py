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
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Point, PoseArray
from nodes_world import Wall
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Ros
from sensor_msgs.msg import PointCloud2

from vloc_msgs.msg import MapInfo
from vloc_msgs.srv import GetLandmarks, GetMapChunk, LoadMap
from vloc_ros.nodes.map_server.node import MapServerNode, ServedMap
from vloc_ros.storage.maps import map_files, map_hash

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CHUNK, LANDMARKS, LOAD = "vloc_map_server/get_map_chunk", "vloc_map_server/get_landmarks", "vloc_map_server/load_map"


def test_the_map_is_announced_to_late_subscribers(ros: Ros, wall: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    kinds = {"map_info": MapInfo, "landmarks": PointCloud2, "keyframes": PoseArray}
    boxes = {name: ros.collect(kind, f"vloc_map_server/{name}", LATCHED) for name, kind in kinds.items()}
    info, cloud, keyframes = (box.wait(lambda all_: len(all_) > 0, name)[0] for name, box in boxes.items())
    assert info.hash == map_hash(wall.map)
    assert list(zip(info.files, info.file_sizes, strict=True)) == map_files(wall.map)
    assert (info.name, list(info.frame_ids)) == ("wall", ["map"])
    assert cloud.width == len(wall.scene.landmark_map.points)
    assert len(keyframes.poses) == len(wall.scene.landmark_map.keyframes)


def test_chunks_make_up_the_files(ros: Ros, wall: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    for file, size in map_files(wall.map):
        data = b""
        while len(data) < size:
            request = GetMapChunk.Request(map_hash=map_hash(wall.map), file=file, offset=len(data), length=100_000)
            response = ros.call(GetMapChunk, CHUNK, request)
            assert response.result == GetMapChunk.Response.SUCCESS
            assert 0 < len(response.data) <= 100_000
            data += bytes(response.data)
        assert data == (wall.map / file).read_bytes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"map_hash": "0" * 64}, GetMapChunk.Response.OTHER_MAP),
        ({"file": "../other/manifest.json"}, GetMapChunk.Response.UNKNOWN_FILE),
        ({"file": "/etc/passwd"}, GetMapChunk.Response.UNKNOWN_FILE),
        ({"offset": 10**12}, GetMapChunk.Response.BAD_RANGE),
        ({"length": GetMapChunk.Request.MAX_LENGTH + 1}, GetMapChunk.Response.BAD_RANGE),
    ],
)
def test_a_wrong_chunk_is_refused(ros: Ros, wall: Wall, changes: dict[str, Any], expected: int) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    values = {"map_hash": map_hash(wall.map), "file": "manifest.json"} | changes
    response = ros.call(GetMapChunk, CHUNK, GetMapChunk.Request(**values))
    assert response.result == expected
    assert response.message
    assert not response.data


def test_another_map_is_loaded_by_its_name(ros: Ros, wall: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map), maps_folder=str(wall.map.parent))
    announced = ros.collect(MapInfo, "vloc_map_server/map_info", LATCHED)
    response = ros.call(LoadMap, LOAD, LoadMap.Request(name="other"))
    assert response.result == LoadMap.Response.SUCCESS
    assert response.map_info.hash == map_hash(wall.other_map)
    announced.wait(lambda all_: all_[-1:] and all_[-1].hash == map_hash(wall.other_map), "the other map")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../maps/wall", LoadMap.Response.INVALID_NAME),
        ("..", LoadMap.Response.INVALID_NAME),
        ("", LoadMap.Response.INVALID_NAME),
        (".", LoadMap.Response.INVALID_NAME),
        ("/etc", LoadMap.Response.INVALID_NAME),
        ("link", LoadMap.Response.INVALID_NAME),
        ("nothing", LoadMap.Response.MAP_DOES_NOT_EXIST),
        ("a" * 300, LoadMap.Response.INVALID_NAME),
        ("damaged", LoadMap.Response.INVALID_MAP),
        ("no_text", LoadMap.Response.INVALID_MAP),
    ],
)
def test_a_wrong_name_loads_nothing(ros: Ros, wall: Wall, tmp_path: Path, name: str, expected: int) -> None:
    maps = tmp_path / "maps"
    shutil.copytree(wall.other_map, maps / "damaged")
    largest = max((maps / "damaged").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    (maps / "link").symlink_to(wall.other_map)
    (maps / "no_text").mkdir()
    (maps / "no_text" / "manifest.json").write_bytes(b"\xff\xfe\x00")
    node = ros.add(MapServerNode, autostart=True, map=str(wall.map), maps_folder=str(maps))
    response = ros.call(LoadMap, LOAD, LoadMap.Request(name=name))
    assert response.result == expected
    assert response.message
    chunk = GetMapChunk.Request(map_hash=map_hash(wall.map), file="manifest.json")
    assert ros.call(GetMapChunk, CHUNK, chunk).result == GetMapChunk.Response.SUCCESS
    assert node.state == "active"


def test_a_folder_that_cannot_be_read_loads_nothing(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map), maps_folder=str(wall.map.parent))

    def forbidden(folder: Path) -> ServedMap:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(ServedMap, "read", forbidden)
    response = ros.call(LoadMap, LOAD, LoadMap.Request(name="other"))
    assert response.result == LoadMap.Response.INVALID_MAP
    assert "Permission denied" in response.message


def test_landmarks_by_id_and_in_a_sphere(ros: Ros, wall: Wall) -> None:
    ros.add(MapServerNode, autostart=True, map=str(wall.map))
    landmark_map = wall.scene.landmark_map
    response = ros.call(GetLandmarks, LANDMARKS, GetLandmarks.Request(ids=[1, 3]))
    assert len(response.points) == np.isin(landmark_map.landmark_ids, [1, 3]).sum()
    assert set(response.landmark_ids) == {1, 3}
    centre = Point(x=2.0, y=1.5, z=0.0)
    sphere = {"selection": GetLandmarks.Request.IN_SPHERE, "centre": centre, "radius_m": 0.5}
    response = ros.call(GetLandmarks, LANDMARKS, GetLandmarks.Request(**sphere, max_points=10))
    distances = [np.hypot(p.x - 2.0, p.y - 1.5) for p in response.points]
    nearest = np.sort(np.linalg.norm(landmark_map.points - [2.0, 1.5, 0.0], axis=1))[:10]
    np.testing.assert_allclose(distances, nearest, atol=1e-5)
    assert response.truncated
    bad = ros.call(GetLandmarks, LANDMARKS, GetLandmarks.Request(selection=7))
    assert bad.result == GetLandmarks.Response.BAD_REQUEST


@pytest.mark.parametrize("name", ["map", "maps_folder"])
def test_no_service_changes_the_folders(ros: Ros, wall: Wall, name: str) -> None:
    node = ros.add(MapServerNode, autostart=True, map=str(wall.map))
    change = Parameter(name, value=str(wall.map.parent)).to_parameter_msg()
    response = ros.call(SetParameters, "vloc_map_server/set_parameters", SetParameters.Request(parameters=[change]))
    assert not response.results[0].successful
    assert response.results[0].reason.startswith(f"{name} is read when the node starts")
    assert ros.call(LoadMap, LOAD, LoadMap.Request(name="other")).result == LoadMap.Response.INVALID_NAME
    assert node.state == "active"
