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

"""Follows a map server: takes an announced map from the cache, or fetches it in chunks and verifies it."""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from vloc_msgs.msg import MapInfo
from vloc_msgs.srv import GetMapChunk
from vloc_ros.core.errors import MapError, VlocError
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer import map_cache
from vloc_ros.nodes.localizer.slot import LatestSlot

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_RESPONSE_TIMEOUT_S = 10.0
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
        """Stop following; abort a fetch in progress."""
        self._closed.set()
        self._woken.set()
        self._node.destroy_subscription(self._subscription)
        self._announced.close()
        self._thread.join()
        self._node.destroy_client(self._client)

    def _follow(self) -> None:
        limit_blas_threads()
        info, pause_s = self._announced.take(), _FIRST_PAUSE_S
        while info is not None:
            if self._take_map(info) or self._announced.wait(pause_s):
                info, pause_s = self._announced.take(), _FIRST_PAUSE_S
            else:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _take_map(self, info: MapInfo) -> bool:
        """Get and apply an announced map; return False if it should be tried again later."""
        try:
            if info.hash:
                folder = self._folder_of(info)
                self._apply_map(folder)
        except (VlocError, OSError) as error:
            self._report(str(error))
            return False
        except Exception as error:  # a bug: keep the traceback and the thread
            self._report(f"internal error: {error!r}\n{traceback.format_exc()}")
        return True

    def _apply_map(self, folder: Path) -> None:
        """Apply a map; an intact map that is refused is not tried again."""
        try:
            self._on_map(folder)
        except VlocError as error:
            self._report(str(error))
        else:
            self._on_fault("")

    def _report(self, reason: str) -> None:
        if not self._closed.is_set():
            self._on_fault(reason.partition("\n")[0])
            self._node.get_logger().error(reason)

    def _folder_of(self, info: MapInfo) -> Path:
        """Return the folder of the map in the cache; fetch what is missing or damaged."""
        if not map_cache.HASH.fullmatch(info.hash):
            raise MapError(f"the map server announces the hash {info.hash!r}, expected 64 hexadecimal digits")
        folder = self._cache / info.hash
        if not map_cache.is_intact(folder, info.hash):
            with map_cache.create_part(folder) as part:
                sizes = dict(zip(info.files, info.file_sizes, strict=True))
                copied = map_cache.copy_cached_files(part, sizes)
                self._fetch({name: size for name, size in sizes.items() if name not in copied}, info.hash, part)
                if copied and not map_cache.is_intact(part, info.hash):  # one of them is damaged
                    self._fetch({name: sizes[name] for name in copied}, info.hash, part)
                if not map_cache.is_intact(part, info.hash):
                    raise MapError(f"the map fetched from the map server is not the one announced ({info.hash[:12]})")
                map_cache.install_part(part, folder, info.hash)
        map_cache.keep_newest(folder)
        return folder

    def _fetch(self, sizes: Mapping[str, int], digest: str, part: Path) -> None:
        """Write files of the announced map into a part, by name and size in bytes."""
        for file, size in sizes.items():
            if not _PLAIN_NAME.fullmatch(file):
                raise MapError(f"the map server lists the file {file!r}, expected a plain name")
            with (part / file).open("wb") as out:
                offset = 0
                while offset < size:
                    chunk = self._chunk(digest, file, offset)
                    out.write(chunk)
                    offset += len(chunk)

    def _chunk(self, digest: str, file: str, offset: int) -> bytes:
        request = GetMapChunk.Request(map_hash=digest, file=file, offset=offset)
        for _ in range(_ATTEMPTS):
            response = self._call(request)
            if self._closed.is_set():
                raise MapError("the fetch was aborted: the localizer was cleaned up")
            if response is None:
                continue
            if response.result != GetMapChunk.Response.SUCCESS or not response.data:
                raise MapError(f"the map server did not send {file}: {response.message or 'an empty chunk'}")
            return bytes(response.data)
        raise MapError(f"the map server did not respond within {_ATTEMPTS} x {_RESPONSE_TIMEOUT_S:g} s; is it running?")

    def _call(self, request: GetMapChunk.Request) -> GetMapChunk.Response | None:
        """Call the service and wait; return None without a response. The executor's thread receives it."""
        if not self._wait_for_service():
            return None
        received = self._woken = threading.Event()
        future = self._client.call_async(request)
        future.add_done_callback(lambda _: received.set())
        if self._closed.is_set() or not received.wait(_RESPONSE_TIMEOUT_S) or not future.done():
            self._client.remove_pending_request(future)
            return None
        return future.result()

    def _wait_for_service(self) -> bool:
        """Wait until the service is available, for which rclpy has no event."""
        deadline = time.monotonic() + _RESPONSE_TIMEOUT_S
        while not self._client.service_is_ready():
            if self._closed.wait(_POLL_S) or time.monotonic() > deadline:
                return False
        return True
