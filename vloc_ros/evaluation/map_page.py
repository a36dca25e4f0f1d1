"""A map as a self-contained page: points coloured by landmark, and keyframes, in an interactive 3D plot."""

from __future__ import annotations

import base64
import json
import re
from html import escape

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.evaluation.map_viewer import PAGE

_MAX_POINTS = 200_000
_LEVELS = 65535
_GOLDEN_RATIO = 0.6180339887


def make_map_page(landmark_map: LandmarkMap, *, map_hash: str) -> str:
    """Make the HTML page of a map of one scene. With more than 200 000 points it shows every n-th, and states so.

    Raises:
        InputError: the map has several scenes.
    """
    landmark_map.scene()
    step = -(-len(landmark_map.points) // _MAX_POINTS)
    points = landmark_map.points[::step]
    low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-6)
    centre = np.median(points, axis=0)
    distances = np.linalg.norm(points - centre, axis=1)
    data = {
        "low": low.tolist(),
        "step": (size / _LEVELS).tolist(),
        "points": _base64(np.rint((points - low) / size * _LEVELS).astype("<u2")),
        "colours": _base64(landmark_colours(landmark_map.landmark_ids[::step])),
        "positions": np.round(landmark_map.keyframes.translations, 4).tolist(),
        "rotations": np.round(landmark_map.keyframes.rotations, 5).reshape(-1, 9).tolist(),
        "few": (few := landmark_map.keyframes.see_few_points).tolist(),
        "up": estimate_up_direction(landmark_map).tolist(),
        "centre": centre.tolist(),
        "metric": landmark_map.metric,
        "radius": float(np.percentile(distances, 90)) or 1.0,
    }
    facts = _facts(landmark_map, shown=len(points), map_hash=map_hash)
    values = {
        "TITLE": escape(landmark_map.name),
        "FACTS": facts,
        "DATA": json.dumps(data, allow_nan=False),
        "FEW": f" (orange: {few.sum()} that see hardly any point)" if few.any() else "",
    }
    return re.sub("@(TITLE|FACTS|DATA|FEW)@", lambda found: values[found[1]], PAGE)


def estimate_up_direction(landmark_map: LandmarkMap) -> Array:
    """(3,) unit vector: the mean upward direction of the map's cameras (the y axis of an image points down)."""
    up = -landmark_map.keyframes.rotations[:, :, 1].sum(axis=0)
    length = float(np.linalg.norm(up))
    # upright cameras agree on the upward direction; if they do not, it is z as in REP-103
    return np.asarray(up / length) if length > 0.1 * len(landmark_map.keyframes) > 0 else np.array([0.0, 0.0, 1.0])


def _facts(landmark_map: LandmarkMap, *, shown: int, map_hash: str) -> str:
    unit = "metres" if landmark_map.metric else "unknown scale"
    total = len(landmark_map.points)
    note = "" if shown == total else f" ({shown} of them drawn)"
    parts = [
        f"{total} points{note}",
        f"{len(landmark_map.landmarks)} landmarks",
        f"{len(landmark_map.keyframes)} keyframes",
        f"frame {landmark_map.scene().frame_id}, {unit}",
        f"hash {map_hash[:12]}",
    ]
    return escape(" · ".join(parts))


def landmark_colours(landmark_ids: Array) -> Array:
    """(P, 3) uint8 colours: adjacent ids get distant hues, so that touching landmarks can be distinguished."""
    hues = (np.arange(int(landmark_ids.max()) + 1) * _GOLDEN_RATIO) % 1.0
    phases = hues[:, None] * 2 * np.pi + np.array([0.0, -2.0, 2.0]) * np.pi / 3
    return np.asarray(np.rint(105 + 95 * np.cos(phases)).astype(np.uint8)[landmark_ids])


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
