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

"""Requests for a map: which recording is meant, and whether it can be built."""

from __future__ import annotations

from pathlib import Path

from vloc_msgs.srv import BuildMap
from vloc_ros.core.errors import ConfigError, InputError, VlocError
from vloc_ros.nodes.mapper.map_build import MapBuilder
from vloc_ros.nodes.mapper.session import RecordingSession
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.keyframe_recordings import find_newest_recording, list_recordings

_MIN_KEYFRAMES = 3
_CODES = BuildMap.Response


class RefusedRequestError(VlocError):
    """A map is not built.

    Attributes:
        code: result of BuildMap.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def begin_build(builder: MapBuilder, session: RecordingSession, request: BuildMap.Request) -> str:
    """Start to build the map that is requested; returns its name.

    Raises:
        RefusedRequestError: it cannot be built.
    """
    recording = _choose_recording(session, request.recording)
    try:
        return builder.start(recording, request.map)
    except (ConfigError, InputError) as error:
        raise RefusedRequestError(_CODES.INVALID_NAME, str(error)) from error
    except StorageError as error:
        raise RefusedRequestError(_CODES.BUILD_RUNNING, str(error)) from error


def _choose_recording(session: RecordingSession, name: str) -> Path:
    """Folder of the named recording, else of the one that is not finished, else of the newest."""
    current = session.recording
    if current is not None and name in ("", current.folder.name):
        if session.is_recording:
            raise RefusedRequestError(
                _CODES.STILL_RECORDING, f"the recording {current.folder.name} goes on; call pause or finish first"
            )
        folder = current.folder
    else:
        named = {path.name: path for path in list_recordings(session.folder)}
        found = named.get(name) if name else find_newest_recording(session.folder)
        if found is None:
            what = f"no recording {name!r}" if name else "no recording"
            raise RefusedRequestError(_CODES.NO_RECORDING, f"there is {what} in {session.folder}; call start and drive")
        folder = found
    keyframes = sum(1 for _ in (folder / "images").glob("*"))
    if keyframes < _MIN_KEYFRAMES:
        raise RefusedRequestError(
            _CODES.TOO_FEW_KEYFRAMES,
            f"the recording {folder.name} has {keyframes} keyframes, expected at least {_MIN_KEYFRAMES}, and for a map "
            "that is of use dozens; ~/status says what was refused and why",
        )
    return folder
