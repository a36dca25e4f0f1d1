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

"""Ground truth of retrieval: which images of a map show a query's place, by shared points, by pose or from a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.data.covisible_images import CovisibleImages, project_points
from training.data.posed_images import PosedImages
from training.data.visibility import Visibility
from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.guided_matching import label_keypoints
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import read_text

_COLUMNS = ("query_image", "map_image")


def observe_queries(
    paths: Sequence[Path], poses: Sequence[Pose], camera: Camera, landmark_map: LandmarkMap, database: CovisibleImages
) -> CovisibleImages:
    """Queries with known poses scene_from_camera, and the points of a map of one scene that their keypoints show."""
    extractor, everything = build_map_extractor(landmark_map), np.arange(len(landmark_map.points))
    seen = []
    for path, pose in zip(paths, poses, strict=True):
        found = extractor.extract(read_image(path))
        shown = label_keypoints(landmark_map, everything, found, camera, pose)
        seen.append(np.unique(shown[shown >= 0]))
    return _make_queries(paths, poses, camera, seen, database)


def predict_queries(
    paths: Sequence[Path], poses: Sequence[Pose], camera: Camera, database: CovisibleImages, near: Array
) -> CovisibleImages:
    """Queries with known poses, and the points that they should see: those of map images near them, projected.

    Unlike `observe_queries`, this needs no matching, so it holds at night too.

    Args:
        paths: Q files.
        poses: Q poses scene_from_camera.
        camera: of all queries.
        database: the map's images.
        near: (Q, N) bool, see `label_by_pose`.
    """
    visible = database.visibility
    seen = [
        np.unique(
            np.concatenate([np.zeros(0, np.int64), *(visible.indices[visible.observations(int(i))] for i in rows)])
        )
        for rows in map(np.flatnonzero, near)
    ]
    return _make_queries(paths, poses, camera, seen, database)


def _make_queries(
    paths: Sequence[Path], poses: Sequence[Pose], camera: Camera, seen: list[Array], database: CovisibleImages
) -> CovisibleImages:
    posed = PosedImages.from_poses(paths, poses, np.zeros(len(paths), np.int64))
    return project_points(posed, [camera] * len(paths), poses, seen, points=database.visibility.points)


def label_by_shared_points(queries: Visibility, database: Visibility, *, min_shared: int, min_share: float) -> Array:
    """(Q, N) bool: share at least `min_shared` points, with a Jaccard index of at least `min_share`."""
    seen = queries.matrix(), database.matrix()
    shared = (seen[0] @ seen[1].T).toarray()
    either = seen[0].sum(axis=1) + seen[1].sum(axis=1).T - shared
    return np.asarray((shared >= min_shared) & (shared >= min_share * either))


def label_by_pose(poses: Sequence[Pose], database: PosedImages, *, radius_m: float, angle_rad: float) -> Array:
    """(Q, N) bool: taken within a radius, with optical axes within an angle; poses are scene_from_camera."""
    assert database.rotations is not None
    positions, axes = np.stack([p.translation for p in poses]), np.stack([p.rotation[:, 2] for p in poses])
    turned = np.arccos(np.clip(axes @ database.rotations[:, :, 2].T, -1, 1))
    return (_measure_distances(positions, database.positions) <= radius_m) & (turned <= angle_rad)


def label_by_distance(queries: PosedImages, database: PosedImages, *, radius_m: float) -> Array:
    """(Q, N) bool: of the same scene and within a radius, whichever way they face."""
    same = np.equal.outer(queries.scenes, database.scenes)
    return same & (_measure_distances(queries.positions, database.positions) <= radius_m)


def _measure_distances(queries: Array, database: Array) -> Array:
    """(Q, N) distances of (Q, 3) and (N, 3) positions."""
    return np.asarray(np.linalg.norm(queries[:, None] - database[None], axis=2))


def read_pairs(table: Path, queries: Sequence[Path], database: Sequence[Path]) -> Array:
    """(Q, N) bool from a CSV file with the columns query_image and map_image: file names, or ends of paths.

    Raises:
        InputError: a column is missing, or a name matches no image or several.
    """
    rows = csv.DictReader(io.StringIO(read_text(table)))
    if not set(_COLUMNS) <= set(rows.fieldnames or ()):
        raise InputError(f"{table}: has the columns {', '.join(rows.fieldnames or ())}, expected {', '.join(_COLUMNS)}")
    by_name = [_group_by_name(paths) for paths in (queries, database)]
    positive = np.zeros((len(queries), len(database)), bool)
    for number, row in enumerate(rows, start=2):
        query, image = (
            _find_image(row[column] or "", of, where=f"{table}, line {number}")
            for column, of in zip(_COLUMNS, by_name, strict=True)
        )
        positive[query, image] = True
    return positive


def _group_by_name(paths: Sequence[Path]) -> dict[str, list[tuple[int, Path]]]:
    found: dict[str, list[tuple[int, Path]]] = {}
    for i, path in enumerate(paths):
        found.setdefault(path.name, []).append((i, path))
    return found


def _find_image(end: str, by_name: Mapping[str, list[tuple[int, Path]]], *, where: str) -> int:
    """The index of the only image whose path has this end."""
    parts = Path(end).parts
    found = [(i, path) for i, path in by_name.get(Path(end).name, []) if path.parts[-len(parts) :] == parts]
    if not found:
        raise InputError(f"{where}: there is no image {end}")
    if len(found) > 1:
        raise InputError(
            f"{where}: {end} matches {len(found)} images, such as {found[0][1]} and {found[1][1]}, expected one; "
            "write more of its path"
        )
    return found[0][0]
