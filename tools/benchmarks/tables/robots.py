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

"""Tables about robots: live, tracking, time from an image to a pose, several cameras, memory."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_AFTER_FEATURES = ("candidates", "matching", "pose", "verification")
_LIVE = ("live_redkitchen", "live_simulated")


def live(figures: Mapping[str, Figures]) -> Table:
    """Through the real nodes, over DDS, at the bag's own rate."""
    rows = []
    for name in _LIVE:
        if name in figures:
            f = figures[name]["live"]
            rows.append([
                name.removeprefix("live_"),
                f"{f['rate_hz']:.1f} Hz",
                f"{f['answered']}/{f['images']}",
                str(f["dropped"]),
                _percentiles(f["publish_to_receive_ms"]),
                f"{f['max_difference']:.1e}",
                f"{f['max_tf_difference']:.1e}",
            ])  # fmt: skip
    header = ["bag", "rate", "results", "drops", "latency p50 / p95 / p99 ms", "live to offline", "TF to pose"]
    return Table(header, rows)


def _percentiles(ms: Figures) -> str:
    return f"{ms['p50']:.0f} / {ms['p95']:.0f} / {ms['p99']:.0f}"


def live_rates(figures: Mapping[str, Figures]) -> Table:
    """Images of several transports, sizes and rates: what arrives, what is localized, how soon, at what cost."""
    header = ["images", "publisher", "size", "Hz", "published", "received", "localized", "replaced by newer ones"]
    header += ["no odometry", "publish to pose p50 / p95 ms", "localizer, % of a core", "robot, % of a core"]
    names = ("transport", "driver", "size", "Hz", "images", "statuses", "OK", "DROPPED", "NO_ODOMETRY")
    rows = [
        [str(f[name]).replace("_", " ") for name in names]
        + [f"{f['p50 ms']} / {f['p95 ms']}", str(f["localizer %"]), str(f["robot %"])]
        for f in figures["live_rates"]["rows"]
    ]
    return Table(header, rows)


def tracking(figures: Mapping[str, Figures]) -> Table:
    """Single images against the same images in sequence, live."""
    bags = figures["tracking"]["bags"]
    rows = [_tracking_row(f"{bag}, {mode}", f) for bag, modes in bags.items() for mode, f in modes.items()]
    header = ["bag", "images", "p50 features + rest, ms", "publish to receive p50 / p95 / p99 ms", "drops", "published"]
    return Table(header, rows)


def _tracking_row(name: str, f: Figures) -> list[str]:
    stages = f["latency_ms"]
    return [
        name,
        str(f["live"]["images"]),
        f"{stages['features']['p50']:.0f} + {sum(stages[s]['p50'] for s in _AFTER_FEATURES):.0f}",
        _percentiles(f["live"]["publish_to_receive_ms"]),
        str(f["live"]["dropped"]),
        str(f["accepted"]),
    ]


def localization_time(figures: Mapping[str, Figures]) -> Table:
    """From an image to a pose, and its part of the time that images of its extractor and threads take alone."""
    header = ["extractor", "threads", "images", "right", "features p50 / p95 ms", "rest p50 / p95 ms"]
    header += ["all p50 / p95 ms", "of the time of the first row"]
    rows, first = [], 0.0
    for f in figures["localization_time"]["rows"]:
        if not rows or rows[-1][:2] != [f["extractor"], str(f["threads"])]:
            first = f["total_ms"][0]
        parts = [" / ".join(f"{ms:.0f}" for ms in f[name]) for name in ("features_ms", "rest_ms", "total_ms")]
        right = f"{f['right']}/{f['queries']}"
        rows.append([f["extractor"], str(f["threads"]), f["images"], right, *parts, f"{f['total_ms'][0] / first:.0%}"])
    return Table(header, rows)


def kidnapped_robot(figures: Mapping[str, Figures]) -> Table:
    """Frames until the pose is right again."""
    f = figures["kidnapped_robot"]
    header = [
        "world",
        "runs",
        f"recovered within {f['max_frames']} frames",
        "of these, first view accepted as a single image",
        "first view refused as a single image",
        "frames: median / 90 % / most",
        "wrong published",
    ]
    return Table(header, [_kidnapped_row(world) for world in [*f["worlds"], *_over_worlds(f["worlds"])]])


def _kidnapped_row(world: Figures) -> list[str]:
    recovered = sorted(frames for frames in world["frames"] if frames is not None)
    spread = "-"
    if recovered:
        spread = f"{recovered[len(recovered) // 2]} / {recovered[int(0.9 * len(recovered))]} / {recovered[-1]}"
    return [
        world["name"],
        str(len(world["frames"])),
        str(len(recovered)),
        _recovered(world, refused=False),
        _recovered(world, refused=True),
        spread,
        str(world["wrong"]),
    ]


def _recovered(world: Figures, *, refused: bool) -> str:
    """How many recovered of those whose first view is refused as a single image, or accepted."""
    pairs = zip(world["frames"], world["refused_single_image"], strict=True)
    selected = [frames for frames, single_refused in pairs if single_refused == refused]
    return f"{sum(frames is not None for frames in selected)} of {len(selected)}"


def _over_worlds(worlds: list[Figures]) -> list[Figures]:
    """One row for the robots that drive on, one for those that stand."""
    rows = []
    for then in sorted({world["then"] for world in worlds}):
        these = [world for world in worlds if world["then"] == then]
        pooled = {name: [one for world in these for one in world[name]] for name in ("frames", "refused_single_image")}
        rows.append({"name": f"all, {then}", "wrong": sum(world["wrong"] for world in these), **pooled})
    return rows


def leaving(figures: Mapping[str, Figures]) -> Table:
    """Fixes in places that are not mapped."""
    header = ["world", "localized at the start", "frames", "accepted by the localizer", "published by the filter"]
    rows = [
        [w["name"], w["localized_at_start"], str(w["frames"]), str(w["accepted"]), str(w["published"])]
        for w in figures["leaving"]["worlds"]
    ]
    return Table(header, rows)


def rigs(figures: Mapping[str, Figures]) -> Table:
    """One camera against several."""
    rows = []
    for world in figures["rigs"]["worlds"]:
        for names, f in world["cameras"].items():
            metres = f["median_translation_m"]
            error = "-" if metres is None else f"{metres * 1000:.1f} mm"
            right = f"{f['right']}/{f['queries']}"
            rows.append([world["name"], names, right, str(f["false_accepts"]), error, f"{f['total_ms']:.0f}"])
    return Table(["world", "cameras", "right", "wrong", "median error", "ms"], rows)


def memory(figures: Mapping[str, Figures]) -> Table:
    """Memory of the nodes over a long drive."""
    f = figures["soak"]
    rows = [[name, f"{f['memory_mb'][name]:.0f} MB", f"{mb:+.1f} MB"] for name, mb in f["growth_mb"].items()]
    return Table(["node", "at the end", "growth"], rows)


TABLES = {
    "live": TableSource(_LIVE, live),
    "live_rates": TableSource(("live_rates",), live_rates),
    "tracking": TableSource(("tracking",), tracking),
    "localization_time": TableSource(("localization_time",), localization_time),
    "kidnapped_robot": TableSource(("kidnapped_robot",), kidnapped_robot),
    "leaving": TableSource(("leaving",), leaving),
    "rigs": TableSource(("rigs",), rigs),
    "memory": TableSource(("soak",), memory),
}
