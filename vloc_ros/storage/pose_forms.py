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

"""Which form a file of poses is of, and reading rows that begin with the name of an image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.text import naming_file, read_text, split_rows
from vloc_ros.storage.trajectories import is_stamp, parse_pose

# a name, in which there may be spaces, the seven words of a pose, maybe a comment
_NAMED_ROW = re.compile(r"\s*([^\s#].*?)((?:[\s,]+[^\s,#]+){7})[\s,]*(?:#.*)?")
_KITTI_COLUMNS, _EUROC_COLUMNS, _EUROC_HEADER = 12, 17, "q_rs_w"
# no row at all, TUM's, and COLMAP's, of which reading it as TUM's says what it is
_EXPLAINED_BY_TUM = (1, 8, 10)


def form_of(path: Path) -> Literal["tum", "named", "kitti"]:
    """By the first row; that of a file without rows is TUM's, and reading it says so.

    Raises:
        InputError: it is of another format, or EuRoC's, whose poses are not the camera's.
    """
    text = read_text(path)
    lines, (number, words) = text.splitlines(), next(split_rows(text), (0, ["0"]))
    named = _NAMED_ROW.fullmatch(lines[number - 1]) if number else None
    if not all(is_stamp(word) for word in (words[0], *re.split(r"[\s,]+", named[1] if named else words[0]))):
        return "named"
    if len(words) == _KITTI_COLUMNS:
        return "kitti"
    if len(words) == _EUROC_COLUMNS or (lines and _EUROC_HEADER in lines[0].lower()):
        raise InputError(
            f"{path}: is EuRoC's ground truth, which is of the body, expected poses of the camera; give it by --euroc "
            "instead of --poses, which takes the camera's place on the body from sensor.yaml"
        )
    if len(words) not in _EXPLAINED_BY_TUM:
        raise InputError(
            f"{path}: its first row has {len(words)} columns, expected the 8 of TUM (timestamp tx ty tz qx qy qz qw), "
            "the 12 of KITTI (a 3x4 matrix), or IMAGE tx ty tz qx qy qz qw"
        )
    return "tum"


def read_named_poses(path: Path) -> dict[str, Pose]:
    """The poses of rows `IMAGE tx ty tz qx qy qz qw`, by the names of their images.

    Raises:
        InputError: a row is none, or names an image again; the message names the line.
    """
    poses = dict[str, Pose]()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.split("#", 1)[0].strip():
            continue
        row = _NAMED_ROW.fullmatch(line)
        with naming_file(path, line=number):
            pose = parse_pose([row[1], *row[2].replace(",", " ").split()] if row else line.split(), first="IMAGE")
            name = row[1] if row else line.split()[0]
            if name in poses:
                raise InputError(f"names {name} again, expected every image once")
        poses[name] = pose
    return poses
