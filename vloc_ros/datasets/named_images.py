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

"""Image files by the names that other tools give them: paths below a folder that may be elsewhere now."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vloc_ros.core.errors import InputError

# a folder that says nothing of which images it holds; nerfstudio writes smaller ones beside it
_ANY_IMAGES = re.compile("images(_(2|4|8))?")


def absolute(path: Path) -> Path:
    """Not through links: the folder around a link counts, and its own name."""
    return Path(os.path.abspath(path))


def find_image(folder: Path, name: str) -> Path | None:
    """A file below the folder whose path is the name, or the end of it where the folder is that of the beginning."""
    parts = _parts(name)
    starts = [start for start in range(len(parts)) if _is_folder(folder, parts[:start])]
    candidates = (folder.joinpath(*parts[start:]) for start in starts)
    return next(filter(_is_file, candidates), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _parts(name: str) -> list[str]:
    return [part for part in PurePosixPath(name).parts if part not in ("/", "..")]


def _is_folder(folder: Path, parts: Sequence[str]) -> bool:
    """Whether the path of a folder ends in these parts: seq-01/a.png is no image of seq-02."""
    wanted = [part for part in parts if not _ANY_IMAGES.fullmatch(part)]
    paths = (absolute(folder), folder.resolve())
    found = [[part for part in path.parts if not _ANY_IMAGES.fullmatch(part)] for path in paths]
    return not wanted or any(own[-len(wanted) :] == wanted for own in found)


def none_found(source: Path, images: Path, names: Sequence[str]) -> InputError:
    """Why not, with a file that has the same name in another folder, if any."""
    message = f"{images}: holds none of the {len(names)} images of {source}, such as {names[0]}"
    for name in names:
        parts = _parts(name)
        ends = (images.joinpath(*parts[start:]) for start in range(1, len(parts)))
        if (near := next(filter(_is_file, ends), None)) is not None:
            return InputError(
                f"{message}: is {near} the image {name}? Then give a folder that holds it by this name, or whose path "
                f"ends in {PurePosixPath(*parts).parent}"
            )
    return InputError(f"{message}; give the folder that these names are in")
