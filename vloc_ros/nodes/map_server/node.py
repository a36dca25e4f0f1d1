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

"""The map server node: serves the map to localizers on this machine and on others."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point32, PoseArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from tf2_ros import StaticTransformBroadcaster

from vloc_msgs.msg import MapInfo
from vloc_msgs.srv import GetLandmarks, GetMapChunk, LoadMap, QueryPlaces
from vloc_ros.core.clouds.place_clouds import POINTS_CM
from vloc_ros.core.errors import ConfigError, MapError, VlocError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.node_config import MapServerConfig
from vloc_ros.nodes.map_server.landmark_selection import select_points
from vloc_ros.nodes.map_server.place_queries import (
    PlaceEncoders,
    check_query_size,
    read_place_encoders,
    retrieve_places,
)
from vloc_ros.nodes.map_server.query_turns import QueryTurns
from vloc_ros.nodes.map_server.refusal import QueryRefused
from vloc_ros.nodes.map_server.tile_queries import TileQueries
from vloc_ros.nodes.rclpy_support.conversion import (
    header,
    keyframe_poses,
    landmark_cloud,
    map_info,
    origin_transform,
    retrieved_place,
)
from vloc_ros.nodes.rclpy_support.managed import ACTIVE, UNCONFIGURED, ManagedNode
from vloc_ros.nodes.rclpy_support.parameters import config_of, declare_parameters, log_parameters
from vloc_ros.nodes.rclpy_support.process import ConcurrentGroup, run_node
from vloc_ros.storage.manifests import explain_missing_map
from vloc_ros.storage.maps import map_files, read_manifest, read_map
from vloc_ros.storage.regular_files import open_regular

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,254}")
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_MANIFEST = "manifest.json"
# for the last query, before the node is destroyed
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ServedMap:
    """A map, the bytes of its manifest at the time of its verification, and what queries of its tiles share."""

    folder: Path
    landmark_map: LandmarkMap
    manifest: dict[str, Any]
    manifest_data: bytes
    files: list[tuple[str, int]]
    tiles: TileQueries

    @staticmethod
    def read(folder: Path) -> ServedMap:
        """Read and verify a map; raises MapError."""
        manifest, files = read_manifest(folder), map_files(folder)
        landmark_map = _drop_clouds(read_map(folder, mapped=False))
        data, tiles = _bytes(folder / _MANIFEST), TileQueries(landmark_map)
        return ServedMap(folder, landmark_map, manifest, data, files, tiles)


class MapServerNode(ManagedNode):
    """See the module, and docs/ros-interface.md for topics and parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vloc_map_server", **options)
        declare_parameters(self, MapServerConfig(), admit=_admit)
        self._served: ServedMap | None = None
        self._encoders, self._turns = PlaceEncoders(), QueryTurns()
        self.create_service(LoadMap, "~/load_map", self._on_load_map)
        self.create_service(GetMapChunk, "~/get_map_chunk", self._on_get_map_chunk)
        self.create_service(GetLandmarks, "~/get_landmarks", self._on_get_landmarks)
        self.create_service(QueryPlaces, "~/query_places", self._on_query_places, callback_group=ConcurrentGroup())
        if config_of(self, MapServerConfig).autostart:
            self.start_alone()

    def configure(self) -> None:
        """Create the publishers, and read the map and the models."""
        config = config_of(self, MapServerConfig)
        log_parameters(self, config)
        if not config.map and not config.maps_folder:
            raise ConfigError(
                "parameters map and maps_folder are both empty, expected a map folder or a folder of maps"
            )
        self._info = self.create_lifecycle_publisher(MapInfo, "~/map_info", _LATCHED)
        if config.map:
            self._served = ServedMap.read(Path(config.map).expanduser())
        self._encoders = read_place_encoders(config)

    def activate(self) -> None:
        """Announce the map, and admit queries."""
        self._announce()
        self._turns.open()

    def deactivate(self) -> None:
        """Refuse the queries that wait, and further ones."""
        self._turns.close()

    def cleanup(self) -> None:
        """Release the map, the models and the publishers."""
        self._served, self._encoders = None, PlaceEncoders()
        self._destroy_publishers("_info", "_landmarks", "_keyframes")
        self._destroy_origins()

    def destroy_node(self) -> None:
        """Destroy the node when no query is computed any more, or does not end; a response may be lost."""
        self._turns.close()
        if not self._turns.wait_until_idle(_LONGEST_WAIT_S):
            self.get_logger().warn(f"a query did not end within {_LONGEST_WAIT_S:g} s; it gets no response")
        super().destroy_node()

    def _announce(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        if self._served is None:
            self._info.publish(MapInfo())
            return
        landmark_map = self._served.landmark_map
        self._info.publish(self._info_message(self._served))
        self._make_scene_publishers(len(landmark_map.scenes))
        self._destroy_origins()
        self._origins = StaticTransformBroadcaster(self)  # one sends only the first transform of each frame
        self._origins.sendTransform([origin_transform(now_ns, scene) for scene in landmark_map.scenes])
        for scene in landmark_map.scenes:
            self._landmarks.publish(landmark_cloud(now_ns, landmark_map, scene))
            self._keyframes.publish(keyframe_poses(now_ns, landmark_map, scene))
        self.get_logger().info(f"serving map {landmark_map.name}, {len(landmark_map.points)} points")

    def _make_scene_publishers(self, scenes: int) -> None:
        """Create latched publishers with a depth of one message per scene, without messages of the previous map."""
        self._destroy_publishers("_landmarks", "_keyframes")
        qos = QoSProfile(depth=scenes, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._landmarks = self.create_lifecycle_publisher(PointCloud2, "~/landmarks", qos)
        self._keyframes = self.create_lifecycle_publisher(PoseArray, "~/keyframes", qos)
        for publisher in (self._landmarks, self._keyframes):
            publisher.on_activate(None)  # created while the node is active, so no transition activates it

    def _destroy_publishers(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                self.destroy_lifecycle_publisher(getattr(self, name))
                delattr(self, name)

    def _destroy_origins(self) -> None:
        if hasattr(self, "_origins"):
            self.destroy_publisher(self._origins.pub_tf)
            del self._origins

    def _info_message(self, served: ServedMap) -> MapInfo:
        now_ns = self.get_clock().now().nanoseconds
        return map_info(now_ns, served.manifest, served.manifest_data.decode(), served.files)

    def _on_load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        if self.state == UNCONFIGURED:
            response.result, response.message = LoadMap.Response.UNDEFINED_FAILURE, "the node is not configured"
            return response
        try:
            response.result, response.message = self._load(request.name)
        except ConfigError as error:
            response.result, response.message = LoadMap.Response.INVALID_NAME, str(error)
        except (VlocError, OSError) as error:
            response.result, response.message = LoadMap.Response.INVALID_MAP, str(error)
        if self._served is not None and response.result == LoadMap.Response.SUCCESS:
            if self.state == ACTIVE:
                self._announce()
            response.map_info = self._info_message(self._served)
        return response

    def _load(self, name: str) -> tuple[int, str]:
        folder = self._folder_of(name)
        if not (folder / _MANIFEST).exists():
            return LoadMap.Response.MAP_DOES_NOT_EXIST, explain_missing_map(folder)
        self._served = ServedMap.read(folder)
        return LoadMap.Response.SUCCESS, ""

    def _folder_of(self, name: str) -> Path:
        """Return the map folder of a plain name; raises ConfigError for a path outside `maps_folder`."""
        maps_folder = config_of(self, MapServerConfig).maps_folder
        if not maps_folder:
            raise ConfigError("parameter maps_folder is empty, so load_map cannot load any map")
        root = Path(maps_folder).expanduser().resolve()
        if not _PLAIN_NAME.fullmatch(name) or (root / name).resolve() != root / name:
            raise ConfigError(f"{name!r} is not the plain name of a map folder in {root}")
        return root / name

    def _on_get_map_chunk(self, request: GetMapChunk.Request, response: GetMapChunk.Response) -> GetMapChunk.Response:
        response.result, response.message, data = self._chunk(request)
        response.data.frombytes(data)
        return response

    def _chunk(self, request: GetMapChunk.Request) -> tuple[int, str, bytes]:
        codes, served = GetMapChunk.Response, self._served
        if served is None:
            return codes.NO_MAP, "no map is loaded", b""
        if request.map_hash != served.manifest["hash"]:
            return codes.OTHER_MAP, f"the loaded map has the hash {served.manifest['hash']}", b""
        size = dict(served.files).get(request.file)
        if size is None:
            return codes.UNKNOWN_FILE, f"the map has no file {request.file!r}; map_info lists them", b""
        if request.offset > size or request.length > GetMapChunk.Request.MAX_LENGTH:
            most = GetMapChunk.Request.MAX_LENGTH
            return codes.BAD_RANGE, f"{request.file} has {size} bytes, a chunk has at most {most}", b""
        length = request.length or GetMapChunk.Request.MAX_LENGTH
        try:
            return codes.SUCCESS, "", self._read_chunk(served, request.file, request.offset, length)
        except OSError as error:
            return codes.READ_FAILED, f"{request.file}: {error.strerror}", b""

    def _read_chunk(self, served: ServedMap, file: str, offset: int, length: int) -> bytes:
        # the manifest on disk may already be that of another map
        if file == _MANIFEST:
            return served.manifest_data[offset : offset + length]
        with open_regular(served.folder / file) as source:
            source.seek(offset)
            return source.read(length)

    def _on_get_landmarks(
        self, request: GetLandmarks.Request, response: GetLandmarks.Response
    ) -> GetLandmarks.Response:
        if self._served is None:
            response.result, response.message = GetLandmarks.Response.NO_MAP, "no map is loaded"
            return response
        landmark_map = self._served.landmark_map
        response.map_hash = self._served.manifest["hash"]
        try:
            scene = landmark_map.scene(request.frame_id)
            chosen, response.truncated = select_points(landmark_map, scene, request)
        except VlocError as error:
            response.result, response.message = GetLandmarks.Response.BAD_REQUEST, str(error)
            return response
        response.header = header(self.get_clock().now().nanoseconds, scene.origin_frame_id)
        response.landmark_ids = landmark_map.landmark_ids[chosen].astype(np.int32)
        points = landmark_map.points[chosen].astype(float).tolist()
        response.points = [Point32(x=x, y=y, z=z) for x, y, z in points]
        return response

    def _on_query_places(self, request: QueryPlaces.Request, response: QueryPlaces.Response) -> QueryPlaces.Response:
        """Answer a query, on a thread of its own: other callbacks go on."""
        try:
            limits = config_of(self, MapServerConfig).query
            check_query_size(limits, request)
            with self._turns.take(most_waiting=limits.max_waiting):
                self._answer_query(request, response)
        except QueryRefused as refusal:
            response.result, response.message = refusal.code, str(refusal)
        except Exception as error:  # of a thread that nobody joins: without a response the client would wait for ever
            self.get_logger().error(f"query_places failed\n{traceback.format_exc()}")
            response.result = QueryPlaces.Response.FAILED
            response.message = f"the map server failed ({error}); its log has the traceback, please report it"
        return response

    def _answer_query(self, request: QueryPlaces.Request, response: QueryPlaces.Response) -> None:
        limit_blas_threads()
        # those of this query, whatever is loaded meanwhile; cleanup takes the map first
        encoders, served = self._encoders, self._served
        if served is None:
            raise QueryRefused(QueryPlaces.Response.NO_MAP, "no map is loaded")
        response.map_hash = served.manifest["hash"]
        found, response.message = retrieve_places(encoders, served.tiles, request)
        response.retrieved = [retrieved_place(one) for one in found]


def _admit(changed: set[str], configurations: Sequence[Any]) -> str:
    """Refuse changes of folders: they are set when the node starts, and no service may change them."""
    if folders := sorted(changed & {"map", "maps_folder", "encoder", "range_encoder"}):
        instead = ", or call load_map" if folders[0].startswith("map") else ""
        return f"{folders[0]} is read when the node starts; restart the node with another one{instead}"
    return ""


def _drop_clouds(landmark_map: LandmarkMap) -> LandmarkMap:
    """The map without the points of its LiDAR places, which are most of it and in its files; no query needs them."""
    places = landmark_map.places.get(LIDAR)
    if places is None:
        return landmark_map
    kept = {name: payload for name, payload in places.payloads.items() if name != POINTS_CM}
    return replace(landmark_map, places={**landmark_map.places, LIDAR: replace(places, payloads=kept)})


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MapError(
            f"{path}: cannot be read ({error.strerror}); name a folder that `vloc map build` wrote"
        ) from error


def main() -> None:
    """Entry point `map_server`."""
    run_node(MapServerNode, MapServerConfig())


if __name__ == "__main__":
    main()
