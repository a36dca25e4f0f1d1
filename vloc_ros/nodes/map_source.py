"""Follows a map server: takes a map that it announces from the cache, or fetches it in chunks and checks it."""

from __future__ import annotations

import re
import shutil
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from vloc_msgs.msg import MapInfo
from vloc_msgs.srv import GetMapChunk
from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.slot import LatestSlot
from vloc_ros.storage.maps import map_files, map_hash, read_map

_HASH = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ANSWER_TIMEOUT_S = 10.0
_ATTEMPTS = 3


class MapServerSource:
    """Calls `on_map` with the folder of every map that the server announces, from a thread of its own."""

    def __init__(
        self,
        node: Node,
        config: LocalizerNodeConfig,
        *,
        on_map: Callable[[Path], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._node, self._on_map, self._on_fault = node, on_map, on_fault
        self._cache = Path(config.map_cache).expanduser()
        self._announced: LatestSlot[MapInfo] = LatestSlot()
        self._closed = threading.Event()
        self._group = ReentrantCallbackGroup()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._client = node.create_client(GetMapChunk, f"{config.map_server}/get_map_chunk", callback_group=self._group)
        self._subscription = node.create_subscription(
            MapInfo, f"{config.map_server}/map_info", self._announced.put, latched, callback_group=self._group
        )
        self._thread = threading.Thread(target=self._follow, name="map", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._closed.set()
        self._node.destroy_subscription(self._subscription)
        self._announced.close()
        self._thread.join()
        self._node.destroy_client(self._client)

    def _follow(self) -> None:
        while (info := self._announced.take()) is not None:
            if not info.hash:
                continue
            try:
                self._on_map(self._folder_of(info))
                self._on_fault("")
            except (VlocError, OSError) as error:
                if not self._closed.is_set():
                    self._on_fault(str(error))
                    self._node.get_logger().error(str(error))
            except Exception as error:  # a bug: keep the traceback and the thread
                self._on_fault(f"internal error: {error!r}")
                self._node.get_logger().fatal(traceback.format_exc())

    def _folder_of(self, info: MapInfo) -> Path:
        """The map's folder in the cache, after fetching it where it is not there or damaged."""
        if not _HASH.fullmatch(info.hash):
            raise MapError(f"the map server announces the hash {info.hash!r}, expected 64 hexadecimal digits")
        folder = self._cache / info.hash
        if _is_intact(folder, info.hash):
            return folder
        part = self._cache / f".{info.hash}.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._fetch_all(info, part)
            if not _is_intact(part, info.hash):
                raise MapError(f"the map fetched from the map server is not the one announced ({info.hash[:12]})")
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    def _fetch_all(self, info: MapInfo, part: Path) -> None:
        part.mkdir(parents=True)
        for file, size in zip(info.files, info.file_sizes, strict=True):
            if not _PLAIN_NAME.fullmatch(file):
                raise MapError(f"the map server lists the file {file!r}, expected a plain name")
            with (part / file).open("wb") as out:
                offset = 0
                while offset < size:
                    chunk = self._chunk(info.hash, file, offset)
                    out.write(chunk)
                    offset += len(chunk)

    def _chunk(self, digest: str, file: str, offset: int) -> bytes:
        request = GetMapChunk.Request(map_hash=digest, file=file, offset=offset)
        for _ in range(_ATTEMPTS):
            response = self._call(request)
            if response is None:
                continue
            if response.result != GetMapChunk.Response.SUCCESS or not response.data:
                raise MapError(f"the map server did not give {file}: {response.message or 'an empty piece'}")
            return bytes(response.data)
        raise MapError(f"the map server did not answer within {_ATTEMPTS} x {_ANSWER_TIMEOUT_S:g} s; is it running?")

    def _call(self, request: GetMapChunk.Request) -> GetMapChunk.Response | None:
        """Ask and wait; None when no answer came. The executor's threads take the answer in."""
        if self._closed.is_set() or not self._client.wait_for_service(_ANSWER_TIMEOUT_S):
            return None
        answered = threading.Event()
        future = self._client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_ANSWER_TIMEOUT_S):
            self._client.remove_pending_request(future)
            return None
        return future.result()


def _is_intact(folder: Path, digest: str) -> bool:
    """True for a folder that holds the whole map of that hash."""
    try:
        if map_hash(folder) != digest:
            return False
        map_files(folder)
        read_map(folder)
    except MapError:
        return False
    return True
