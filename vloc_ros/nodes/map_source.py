"""Follows a map server: takes a map that it announces from the cache, or fetches it in chunks and checks it."""

from __future__ import annotations

import re
import threading
import time
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
from vloc_ros.nodes import map_cache
from vloc_ros.nodes.slot import LatestSlot

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ANSWER_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_POLL_S = 0.1


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
        self._closed, self._woken = threading.Event(), threading.Event()
        self._group = ReentrantCallbackGroup()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._client = node.create_client(GetMapChunk, f"{config.map_server}/get_map_chunk", callback_group=self._group)
        self._subscription = node.create_subscription(
            MapInfo, f"{config.map_server}/map_info", self._announced.put, latched, callback_group=self._group
        )
        self._thread = threading.Thread(target=self._follow, name="map", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following, whatever is under way."""
        self._closed.set()
        self._woken.set()
        self._node.destroy_subscription(self._subscription)
        self._announced.close()
        self._thread.join()
        self._node.destroy_client(self._client)

    def _follow(self) -> None:
        info, pause_s = self._announced.take(), _FIRST_PAUSE_S
        while info is not None:
            if self._done_with(info) or self._announced.wait(pause_s):
                info, pause_s = self._announced.take(), _FIRST_PAUSE_S
            else:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _done_with(self, info: MapInfo) -> bool:
        """Hand the map on; False when it could not be had, which may be better later."""
        try:
            if info.hash:
                folder = self._folder_of(info)
                self._taken(folder)
        except (VlocError, OSError) as error:
            self._say(str(error))
            return False
        except Exception as error:  # a bug: keep the traceback and the thread
            self._say(f"internal error: {error!r}\n{traceback.format_exc()}")
        return True

    def _taken(self, folder: Path) -> None:
        """A map that is whole and of no use stays so."""
        try:
            self._on_map(folder)
        except VlocError as error:
            self._say(str(error))
        else:
            self._on_fault("")

    def _say(self, reason: str) -> None:
        if not self._closed.is_set():
            self._on_fault(reason.partition("\n")[0])
            self._node.get_logger().error(reason)

    def _folder_of(self, info: MapInfo) -> Path:
        """The map's folder in the cache, after fetching it where it is not there or damaged."""
        if not map_cache.HASH.fullmatch(info.hash):
            raise MapError(f"the map server announces the hash {info.hash!r}, expected 64 hexadecimal digits")
        folder = self._cache / info.hash
        if not map_cache.is_intact(folder, info.hash):
            with map_cache.part_of(folder) as part:
                self._fetch_all(info, part)
                if not map_cache.is_intact(part, info.hash):
                    raise MapError(f"the map fetched from the map server is not the one announced ({info.hash[:12]})")
                map_cache.put(part, folder, info.hash)
        map_cache.keep_newest(folder)
        return folder

    def _fetch_all(self, info: MapInfo, part: Path) -> None:
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
            if self._closed.is_set():
                raise MapError("the localizer no longer wants the map")
            if response is None:
                continue
            if response.result != GetMapChunk.Response.SUCCESS or not response.data:
                raise MapError(f"the map server did not give {file}: {response.message or 'an empty piece'}")
            return bytes(response.data)
        raise MapError(f"the map server did not answer within {_ATTEMPTS} x {_ANSWER_TIMEOUT_S:g} s; is it running?")

    def _call(self, request: GetMapChunk.Request) -> GetMapChunk.Response | None:
        """Ask and wait; None when no answer came. The executor's threads take the answer in."""
        if not self._served():
            return None
        answered = self._woken = threading.Event()
        future = self._client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if self._closed.is_set() or not answered.wait(_ANSWER_TIMEOUT_S) or not future.done():
            self._client.remove_pending_request(future)
            return None
        return future.result()

    def _served(self) -> bool:
        """Wait until there is somebody to ask, which rclpy has no event for."""
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while not self._client.service_is_ready():
            if self._closed.wait(_POLL_S) or time.monotonic() > deadline:
                return False
        return True
