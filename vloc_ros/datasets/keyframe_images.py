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

"""The images that the keyframes of a map were taken from, found by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.images import SUFFIXES

_NAMED = 3


def find_keyframe_images(landmark_map: LandmarkMap, folder: Path) -> list[Path]:
    """The image file of every keyframe; a name may have subfolders, after an update or a merge.

    Keyframes of a bag are named without a suffix: their files are those that `vloc bag images` writes.

    Raises:
        InputError: some are missing.
    """
    names = landmark_map.keyframes.names
    paths = [_find_file(folder, name) for name in names]
    check_none_missing(folder, len(names), [name for name, path in zip(names, paths, strict=True) if path is None])
    return [path for path in paths if path is not None]


def _find_file(folder: Path, name: str) -> Path | None:
    return next((path for suffix in ("", *SUFFIXES) if (path := folder / f"{name}{suffix}").is_file()), None)


def check_none_missing(source: Path, count: int, missing: Sequence[str]) -> None:
    """Refuse a folder or bag that lacks images of a map.

    Args:
        source: the folder or bag.
        count: number of images of the map.
        missing: names of those that the source lacks.

    Raises:
        InputError: there are some.
    """
    if missing:
        listed = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"{source}: holds {count - len(missing)} of the map's {count} images, missing are {listed}; give what the "
            "map was built from, in a folder with a subfolder for each visit or scene that the names have"
        )
