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

"""The manifest of a map folder: readable JSON that carries its own hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.spelling import nearest_name
from vloc_ros.storage.text import read_text

MANIFEST = "manifest.json"
FORMAT = "vloc_ros map"
VERSION = 4
# A map with a learned extractor has an entry `keypoint_model` more. Versions without such extractors refuse it by the
# extractor's name, so that it needs no format of its own.
# format 3 has no scene origins, descriptor statistics and places, and retrieval indices of one row per keyframe
READABLE = (3, 4)


def manifest_bytes(content: Mapping[str, Any]) -> tuple[bytes, str]:
    """The file's bytes and the map's hash, for a manifest without format, version and hash."""
    manifest = {"format": FORMAT, "version": VERSION, **content}
    digest = _digest(manifest)
    text = json.dumps({**manifest, "hash": digest}, indent=1, sort_keys=True, allow_nan=False)
    return (text + "\n").encode(), digest


def read_manifest(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of a map folder as it is on disk, its own hash checked unless `verify` is False.

    Raises:
        MapError: there is no map, or the manifest is damaged, altered, or of a newer format.
    """
    path = Path(folder) / MANIFEST
    text = _text(path)
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise MapError(f"{path}: is cut short or no JSON; copy the map again or build it again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise MapError(f"{path}: is not the manifest of a map; name a folder that `vloc map build` wrote")
    version = manifest.get("version")
    if type(version) is not int or version not in READABLE:
        raise MapError(
            f"{path}: has format version {version!r}, this installation reads {' and '.join(map(str, READABLE))}; "
            "update vloc_ros, or build the map again with this one"
        )
    if verify:
        _verify(path, manifest)
    return manifest


def require_map(folder: Path, *, build: str) -> None:
    """Refuse a folder without a map, before it is read; `build` is the command that makes such maps.

    Raises:
        MapError: it has no manifest.
    """
    if not (folder / MANIFEST).exists() and not folder.is_file():
        raise MapError(explain_missing_map(folder, build=build))


def explain_missing_map(folder: Path, *, build: str = "vloc map build") -> str:
    """The message for a folder without a manifest, with the map beside it whose name is nearest."""
    if folder.exists():
        return f"{folder}: holds no map (no {MANIFEST}); build one with `{build}`"
    beside: list[str] = []
    with contextlib.suppress(OSError):  # no such folder either, or not to be listed
        beside = sorted(path.name for path in folder.parent.iterdir() if (path / MANIFEST).is_file())
    near = nearest_name(folder.name, beside, similarity=0.6)
    remedy = f"did you mean {folder.parent / near}?" if near else f"check the name, or build one with `{build}`"
    return f"{folder}: does not exist, expected the folder of a map; {remedy}"


def _text(path: Path) -> str:
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait for ever
        raise MapError(f"{path}: cannot be read (is no regular file); copy the map again or build it again")
    try:
        return read_text(path)
    except InputError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            raise MapError(
                f"{path.parent}: is a file and holds no map, expected a folder that `vloc map build` wrote; name that"
            ) from None
        if isinstance(error.__cause__, FileNotFoundError):
            raise MapError(explain_missing_map(path.parent)) from None
        raise MapError(f"{error}, expected the manifest of a map; copy the map again or build it again") from error


def _verify(path: Path, manifest: dict[str, Any]) -> None:
    content = {key: value for key, value in manifest.items() if key != "hash"}
    if manifest.get("hash") != _digest(content):
        raise MapError(f"{path}: was altered, its hash does not fit; copy the map again or build it again")
    arrays = manifest.get("arrays")
    if not isinstance(arrays, dict) or not all(isinstance(entry, dict) for entry in arrays.values()):
        raise MapError(f"{path}: lists no arrays; build the map again")


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
