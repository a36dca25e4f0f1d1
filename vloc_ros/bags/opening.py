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

"""Why a path cannot be opened as a bag, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import InputError

_METADATA = "metadata.yaml"
_STORAGE = (".mcap", ".db3")
_COMPRESSED = (".zstd", ".zst", ".gz", ".bz2", ".lz4")
_ROS1_BEGINS = b"#ROSBAG V"


def check_bag(path: Path) -> None:
    """Refuse what is plainly no rosbag2 or MCAP.

    Raises:
        InputError: nothing is there, or something else.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist, expected a bag folder or an .mcap file")
    if path.is_dir():
        _check_folder(path)
    elif path.suffix == ".bag" or _begins_with(path, _ROS1_BEGINS):
        raise InputError(
            f"{path}: is a bag of ROS 1, expected one of ROS 2; convert it: rosbags-convert --src {path} --dst "
            f"{path.with_suffix('')}"
        )
    elif path.suffix in _COMPRESSED:
        raise InputError(
            f"{path}: is a compressed file, expected it decompressed, or the whole bag folder with its {_METADATA}; "
            f"decompress it, such as by zstd -d {path}"
        )
    elif path.suffix not in _STORAGE:
        raise InputError(f"{path}: is a file {path.suffix or 'of no known kind'}, expected a bag folder, .mcap or .db3")


def explain_failure(path: Path, error: Exception) -> InputError:
    """What to say when opening a bag failed: as a rule, its recorder was killed before it had finished the file."""
    found = " ".join(str(error).split()) or type(error).__name__
    folder, file = (path, "FILE.mcap") if path.is_dir() else (path.parent, path)
    recover = f"mcap recover {file} -o NEW.mcap for an .mcap file that is cut short"
    remedy = f"ros2 bag reindex {folder}" if any(folder.glob("*.db3")) else recover
    if path.is_dir() and remedy == recover:
        remedy = f"ros2 bag reindex {folder}, and {recover}"
    return InputError(
        f"{path}: cannot be read as a bag ({found}); where the recorder was killed or the disk full, run {remedy}, "
        "else record or copy it again"
    )


def _check_folder(folder: Path) -> None:
    metadata = folder / _METADATA
    files = sorted(path for suffix in _STORAGE for path in folder.glob(f"*{suffix}"))
    if metadata.exists() and metadata.read_bytes().strip():
        return
    if not files:
        raise InputError(f"{folder}: is no bag: it holds no .mcap and no .db3 file, expected these and a {_METADATA}")
    state = "is empty" if metadata.exists() else "is missing"
    itself = f", or name {files[0]} itself" if len(files) == 1 else ""
    kind = "mcap" if files[0].suffix == ".mcap" else "sqlite3"
    raise InputError(
        f"{folder}: its {_METADATA} {state}, as when the recorder was killed; run ros2 bag reindex -s {kind} "
        f"{folder}{itself}"
    )


def _begins_with(path: Path, begin: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(begin)) == begin
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
