"""The figures of a report, drawn as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.evaluation.map_page import estimate_up_direction
from vloc_ros.evaluation.scores import Errors
from vloc_ros.storage.results import ResultRecord

_INK, _SOFT, _LINE = "#1b1f24", "#5b6570", "#dfe3e8"
_BLUE, _RED, _GREY = "#0b5cad", "#b42318", "#9aa4af"
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _SOFT,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.min_exponent": 4,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "legend.frameon": False,
    "svg.hashsalt": "vloc",
}
_MAX_POINTS = 20000
_WIDE = 9.5
_SMALLEST_CM, _SMALLEST_DEG = 1e-2, 1e-3
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def _draw_svg(size_inches: tuple[float, float], panels: int, draw: Callable[..., None]) -> bytes:
    """Draw an SVG of `panels` axes side by side; `draw` fills the axes."""
    with matplotlib.rc_context(_STYLE):
        canvas = Figure(figsize=size_inches, layout="constrained")
        axes = canvas.subplots(1, panels, squeeze=False)[0]
        draw(*axes)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata=_NO_METADATA, dpi=160)
    return buffer.getvalue()


def draw_trajectory(landmark_map: LandmarkMap, records: Sequence[ResultRecord], truth: Sequence[Pose]) -> bytes:
    """Draw the map of one scene from above, with the true positions, the estimates in it and the refused queries."""
    plane = ground_plane(landmark_map)
    points = landmark_map.points[:: max(1, len(landmark_map.points) // _MAX_POINTS)] @ plane.T
    scene = landmark_map.scene()
    true = (np.array([pose.translation for pose in truth]) - scene.origin) @ plane.T
    own = ("", scene.frame_id)
    poses = [record.result.map_from_rig if record.result.frame_id in own else None for record in records]
    positions = [np.full(3, np.nan) if pose is None else pose.translation - scene.origin for pose in poses]
    estimates = np.array(positions) @ plane.T
    refused = np.array([pose is None for pose in poses])
    low, high = _extent(points, true)

    def draw(axes: Axes) -> None:
        axes.plot(*points.T, ".", color=_GREY, markersize=0.8, alpha=0.5, rasterized=True, zorder=0)
        axes.plot(*true.T, "-", color=_INK, linewidth=1.0, label="ground truth")
        axes.plot(*np.stack([true, estimates], axis=1).transpose(2, 1, 0), "-", color=_RED, linewidth=0.8)
        axes.plot(*estimates.T, "o", color=_BLUE, markersize=3.0, label="estimate")
        if refused.any():
            axes.plot(*true[refused].T, "x", color=_RED, markersize=6.0, label="refused")
        axes.set(aspect="equal", xlabel="m", ylabel="m", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.08))

    width, height = high - low
    return _draw_svg((_WIDE, float(np.clip(_WIDE * height / width, 2.5, 7.0))), 1, draw)


def ground_plane(landmark_map: LandmarkMap) -> Array:
    """(2, 3) axes of the view from above, to the right and forward; the most nearly level map axis points right."""
    up = estimate_up_direction(landmark_map)
    right = np.eye(3)[int(np.argmin(np.abs(up)))]
    right = right - up * (up @ right)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(up, right)])


def _extent(points: Array, path: Array) -> tuple[Array, Array]:
    """Corners of the drawing: the path and most of the map, without its far outliers."""
    low = np.minimum(np.percentile(points, 3, axis=0), path.min(axis=0))
    high = np.maximum(np.percentile(points, 97, axis=0), path.max(axis=0))
    margin = 0.05 * float((high - low).max()) + 1e-3
    return low - margin, high + margin


def draw_error_curves(errors: Errors) -> bytes:
    """Draw the fraction of all queries within a translation error, and within a rotation error."""

    def curve(axes: Axes, values: Array, smallest: float, limits: Sequence[float], unit: str) -> None:
        ordered = np.sort(np.maximum(values, smallest))
        finite = ordered[np.isfinite(ordered)]
        largest = max(float(finite[-1]) if len(finite) else smallest, limits[-1]) * 1.5
        fractions = np.arange(1, len(finite) + 1) / len(values)
        start, end = float(finite[0]) if len(finite) else smallest, fractions[-1] if len(finite) else 0.0
        axes.step([start, *finite, largest], [0.0, *fractions, end], where="post", color=_BLUE, linewidth=1.6)
        for limit in limits:
            axes.axvline(limit, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(xscale="log", ylim=(0, 1.02), xlim=(start * 0.8, largest), xlabel=unit, ylabel="fraction of queries")

    def draw(translation: Axes, rotation: Axes) -> None:
        curve(translation, errors.translation_m * 100, _SMALLEST_CM, (2.0, 5.0, 50.0), "translation error, cm")
        curve(rotation, errors.rotation_deg, _SMALLEST_DEG, (2.0, 5.0), "rotation error, deg")

    return _draw_svg((_WIDE, 3.2), 2, draw)


def draw_errors_over_queries(errors: Errors) -> bytes:
    """Draw the position error of each query beside its estimated standard deviation."""
    index = np.arange(len(errors.accepted))
    accepted = errors.accepted

    def draw(axes: Axes) -> None:
        centimetres = np.maximum(errors.translation_m * 100, _SMALLEST_CM)
        axes.plot(index[accepted], errors.position_std_m[accepted] * 100, "_", color=_INK, label="estimated (1 sigma)")
        axes.plot(index[accepted], centimetres[accepted], "o", color=_BLUE, markersize=3.5, label="error")
        for query in index[~accepted]:
            axes.axvline(query, color=_RED, linewidth=1.0, alpha=0.5)
        if not accepted.all():
            axes.plot([], [], color=_RED, label="refused")
        axes.set(yscale="log", xlabel="query", ylabel="position, cm", xlim=(-1, len(index)))
        axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.12))

    return _draw_svg((_WIDE, 3.2), 1, draw)


def draw_latency(latency_ms: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw median and 95th percentile of every stage."""
    stages = list(latency_ms)[::-1]

    def draw(axes: Axes) -> None:
        names = [stage.replace("_", " ") for stage in stages]
        axes.barh(names, [latency_ms[s]["p95"] for s in stages], color="#c6d9ee", label="p95", height=0.62)
        axes.barh(names, [latency_ms[s]["p50"] for s in stages], color=_BLUE, label="p50", height=0.62)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="ms")
        axes.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1.0))

    return _draw_svg((5.6, 3.2), 1, draw)


def draw_inlier_counts(records: Sequence[ResultRecord]) -> bytes:
    """Draw histograms of the inliers of accepted and refused queries."""
    accepted = [record.result.inliers for record in records if record.result.ok]
    refused = [record.result.inliers for record in records if not record.result.ok]

    def draw(axes: Axes) -> None:
        bins = np.linspace(0, max([*accepted, *refused, 10]), 40).tolist()
        axes.hist([accepted, refused], bins=bins, stacked=True, color=[_BLUE, _RED], label=["accepted", "refused"])
        axes.set(xlabel="inliers", ylabel="queries")
        axes.legend(loc="best")

    return _draw_svg((5.6, 3.2), 1, draw)
