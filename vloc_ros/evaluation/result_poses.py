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

"""Poses of queries to draw in a map, from a result folder or a run."""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.evaluation.map_page import QueryPose
from vloc_ros.storage.results import read_results
from vloc_ros.storage.runs import read_run


def read_query_poses(path: Path, frame_id: str) -> list[QueryPose]:
    """Read the accepted poses of a folder of `vloc localize` or a JSON file of `vloc evaluate`.

    Args:
        path: folder or file.
        frame_id: only those in this frame.

    Raises:
        InputError: it is neither, or has no pose in this frame.
    """
    found = _of_folder(path) if Path(path).is_dir() else _of_run(path)
    poses = [query for query, frame in found if frame in ("", frame_id)]
    if not poses:
        frames = sorted({frame for _, frame in found})
        where = f"has poses in {', '.join(frames)} alone" if frames else "has no accepted pose"
        raise InputError(f"{path}: {where}, expected poses in the frame {frame_id}")
    return poses


def _of_folder(folder: Path) -> list[tuple[QueryPose, str]]:
    return [
        (
            QueryPose(record.image, record.result.map_from_rig, f"{record.result.inliers} inliers"),
            record.result.frame_id,
        )
        for record in read_results(folder)
        if record.result.map_from_rig is not None
    ]


def _of_run(path: Path) -> list[tuple[QueryPose, str]]:
    found = []
    for row in read_run(path).rows:
        if row.map_from_rig is None:
            continue
        error = "" if row.translation_m is None else f"error {row.translation_m * 100:.2f} cm, "
        false = "false accept, " if row.false_accept else ""
        found.append((QueryPose(row.image, row.map_from_rig, f"{false}{error}{row.inliers} inliers"), row.frame_id))
    return found
