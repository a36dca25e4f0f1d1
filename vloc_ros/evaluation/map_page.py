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

"""A map as a self-contained page: points, keyframes and query poses in a 3D plot to explore."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.view_from_above import estimate_up_direction, find_outliers
from vloc_ros.evaluation.page import render_page
from vloc_ros.evaluation.point_colours import sample_point_colours
from vloc_ros.evaluation.report_images import thumbnail
from vloc_ros.storage.images import read_image

_MAX_POINTS = 200_000
_MAX_IMAGES = 100
_IMAGE_WIDTH_PX = 320
_LEVELS = 65535
_GOLDEN_RATIO = 0.6180339887


@dataclass(frozen=True, slots=True, eq=False)
class QueryPose:
    """A localized query to draw.

    Attributes:
        name: of its image.
        map_from_rig: its pose.
        note: what is known of it, for people.
    """

    name: str
    map_from_rig: Pose
    note: str


def make_map_page(
    landmark_map: LandmarkMap,
    *,
    map_hash: str,
    keyframe_images: Sequence[Path] = (),
    queries: Sequence[QueryPose] = (),
) -> str:
    """Make the HTML page of a map of one scene. With more than 200 000 points it shows every n-th, and states so.

    Args:
        landmark_map: of one scene.
        map_hash: of its folder.
        keyframe_images: file of every keyframe, for colours and to look at; none where they are not at hand.
        queries: poses in the frame of the scene.

    Raises:
        InputError: the map has several scenes, or an image cannot be read.
    """
    near = ~find_outliers(landmark_map)
    shown = np.flatnonzero(near)[:: -(-int(near.sum()) // _MAX_POINTS)]
    return render_page(
        "map.html",
        {**_map_values(landmark_map, shown, keyframe_images), "queries": _query_values(landmark_map, queries)},
        title=landmark_map.name,
        subtitle=_facts(landmark_map, shown=len(shown), outliers=int((~near).sum()), map_hash=map_hash),
        few=int(landmark_map.keyframes.see_few_points.sum()),
        with_images=bool(keyframe_images),
        with_queries=bool(queries),
    )


def _map_values(landmark_map: LandmarkMap, shown: Array, keyframe_images: Sequence[Path]) -> dict[str, Any]:
    """The map as values for the page, with the shown points."""
    colours = sample_point_colours(landmark_map, keyframe_images)[shown] if keyframe_images else None
    return {
        **_geometry(landmark_map, shown),
        **_observations(landmark_map, shown),
        "landmarks": [str(key) for key in landmark_map.landmarks.keys],
        "landmark_of": _base64(landmark_map.landmark_ids[shown].astype("<u4")),
        "landmark_colours": _base64(landmark_colours(landmark_map.landmark_ids)[shown]),
        "image_colours": None if colours is None else _base64(colours),
        "names": list(landmark_map.keyframes.names),
        "images": _thumbnails(keyframe_images),
    }


def _geometry(landmark_map: LandmarkMap, shown: Array) -> dict[str, Any]:
    """Points in steps of 16 bits, keyframes, and where the drawing begins."""
    points, keyframes = landmark_map.points[shown], landmark_map.keyframes
    low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-6)
    centre = np.median(points, axis=0)
    return {
        "low": low.tolist(),
        "step": (size / _LEVELS).tolist(),
        "points": _base64(np.rint((points - low) / size * _LEVELS).astype("<u2")),
        "positions": np.round(keyframes.translations, 4).tolist(),
        "rotations": np.round(keyframes.rotations, 5).reshape(-1, 9).tolist(),
        "few": keyframes.see_few_points.tolist(),
        "up": estimate_up_direction(landmark_map).tolist(),
        "forward": keyframes.rotations[:, :, 2].mean(axis=0).tolist(),
        "centre": centre.tolist(),
        "origin": landmark_map.scene().origin.tolist(),
        "metric": landmark_map.metric,
        "radius": float(np.percentile(np.linalg.norm(points - centre, axis=1), 90)) or 1.0,
    }


def _observations(landmark_map: LandmarkMap, shown: Array) -> dict[str, Any]:
    """Which of the shown points every keyframe observes: their numbers, one keyframe after the other."""
    keyframes = landmark_map.keyframes
    number = np.full(len(landmark_map.points), -1)
    number[shown] = np.arange(len(shown))
    seen = number[keyframes.point_indices]
    counts = np.bincount(keyframes.keyframe_of_observation[seen >= 0], minlength=len(keyframes))
    return {"seen": _base64(seen[seen >= 0].astype("<u4")), "seen_counts": counts.tolist()}


def _thumbnails(paths: Sequence[Path]) -> dict[int, Any]:
    """The images of some keyframes, evenly chosen, by the number of the keyframe."""
    chosen = np.linspace(0, len(paths) - 1, min(_MAX_IMAGES, len(paths))).round().astype(int)
    return {int(k): thumbnail(read_image(paths[k]), _IMAGE_WIDTH_PX)["src"] for k in chosen}


def _query_values(landmark_map: LandmarkMap, queries: Sequence[QueryPose]) -> list[dict[str, Any]]:
    scene = landmark_map.scene()
    poses = [scene.scene_from(query.map_from_rig) for query in queries]
    return [
        {
            "name": query.name,
            "note": query.note,
            "position": np.round(pose.translation, 4).tolist(),
            "rotation": np.round(pose.rotation, 5).ravel().tolist(),
        }
        for query, pose in zip(queries, poses, strict=True)
    ]


def _facts(landmark_map: LandmarkMap, *, shown: int, outliers: int, map_hash: str) -> str:
    unit = "metres" if landmark_map.metric else "unknown scale"
    total = len(landmark_map.points)
    notes = [f"{shown} of them drawn"] if shown < total - outliers else []
    notes += [f"{outliers} far away left out"] if outliers else []
    parts = [
        f"{total} points" + (f" ({', '.join(notes)})" if notes else ""),
        f"{len(landmark_map.landmarks)} landmarks",
        f"{len(landmark_map.keyframes)} keyframes",
        f"frame {landmark_map.scene().frame_id}, {unit}",
        f"hash {map_hash[:12]}",
    ]
    return " · ".join(parts)


def landmark_colours(landmark_ids: Array) -> Array:
    """(P, 3) uint8 RGB: adjacent ids get distant hues, so that touching landmarks can be distinguished."""
    hues = (np.arange(int(landmark_ids.max()) + 1) * _GOLDEN_RATIO) % 1.0
    phases = hues[:, None] * 2 * np.pi + np.array([0.0, -2.0, 2.0]) * np.pi / 3
    return np.asarray(np.rint(105 + 95 * np.cos(phases)).astype(np.uint8)[landmark_ids])


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
