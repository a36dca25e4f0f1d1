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

"""Tables about maps and single images."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource, counts, hits, median_error

_SCENES = ("redkitchen", "castle")


def accuracy(figures: Mapping[str, Figures]) -> Table:
    """Real scenes, from known poses and from measured ones."""
    rows = [_accuracy_row(name, figures[name]) for name in _SCENES if name in figures]
    for name in _SCENES:
        for poses, of_map in figures.get("measured_poses", {}).get(name, {}).items():
            rows.append(_accuracy_row(f"{name}, corrected {poses}", of_map))
    if "merged" in figures:
        rows += [_accuracy_row(f"{name}, in one map of both", figures["merged"][name]) for name in _SCENES]
    header = ["map", "median error", "2 cm 2°", "5 cm 5°", "features + rest, ms p50 (ratio)", "map", "build"]
    return Table([*header, "NEES, in 95 %"], rows)


def _accuracy_row(name: str, f: Figures) -> list[str]:
    latency = f["latency_ms"]
    after, features = latency["after_features"]["p50"], latency["features"]["p50"]
    return [
        name,
        f"{median_error(f)}, {f['median_rotation_deg']:.2f}°",
        hits(f, "2cm_2deg"),
        hits(f, "5cm_5deg"),
        f"{features:.0f} + {after:.0f} ({after / features:.2f})",
        f"{f['map_bytes'] / 1e6:.2f} MB",
        f"{f['build_s']:.0f} s",
        f"{f['covariance']['nees_per_dof']:.2f}, {f['covariance']['inside_95']:.0%}",
    ]


def drawn_maps(figures: Mapping[str, Figures]) -> Table:
    """Maps from measurements with noise, anew for each."""
    rows = []
    for section, conditions in figures.items():
        for name, f in conditions.items():
            title, maps = f"{section.removeprefix('drawn_maps_')}, {name}", f"{f['maps']}, {f['refused']} refused"
            if not f["maps"]:
                rows.append([title, maps, "", "", "", "", ""])
                continue
            low, high = f["nees_interval"]
            rows.append([
                title,
                maps,
                f"{f['placed_least']:.0%}",
                f"{100 * f['camera_median_m']:.1f} cm",
                f"{f['accepted']:.0%}, {100 * f['query_median_m']:.1f} cm",
                f"{f['nees_per_dof']:.2f} ({low:.2f} to {high:.2f})",
                f"{f['inside_95']:.0%}",
            ])  # fmt: skip
    return Table(["images and", "maps", "placed, least", "cameras off", "queries", "NEES", "in 95 %"], rows)


def compression(figures: Mapping[str, Figures]) -> Table:
    """Bytes against recall."""
    rows = [
        [
            f"{name}, {f['chosen']}",
            str(f["points"]),
            f"{f['bytes'] / 1e6:.2f} MB ({f['bytes'] / figures['compression'][name][0]['bytes']:.0%})",
            median_error(f),
            hits(f, "2cm_2deg"),
            hits(f, "5cm_5deg"),
            f"{f['after_features_ms']:.0f}",
            f"{f['covariance']['nees_per_dof']:.2f}" if f["covariance"] else "",
        ]
        for name in _SCENES
        for f in figures["compression"][name]
    ]
    header = ["map, points", "points", "bytes", "median error", "2 cm 2°", "5 cm 5°", "after features, ms p50", "NEES"]
    return Table(header, rows)


def growth(figures: Mapping[str, Figures]) -> Table:
    """Search in larger and larger maps."""
    rows = []
    for size in figures["growth"]["sizes"]:
        several = f", {size['buildings']} of them" if size["buildings"] > 1 else ""
        title = f"{size['rooms']} rooms, {size['points']} points{several}"
        for name, method in size["methods"].items():
            groups = ("all", "distinguishable", "indistinguishable", "distinguishable_in_all")
            exact = size["copies"] > 1  # copies of a room that are equal: nothing there can be right
            shares = [_refused(method["all"]), "", "", ""] if exact else [_shares(method[group]) for group in groups]
            resident = f"{method['resident_mb']:.0f} MB" if method["resident_mb"] is not None else ""
            ms = f"{method['p50_ms']:.0f}, {method['p95_ms']:.0f}"
            rows.append([title, name, *shares, ms, f"{method['bytes'] / 1e6:.1f} MB", resident])
    header = ["map", "method", "right, wrong, refused of all", "distinguishable", "indistinguishable"]
    return Table([*header, "distinguishable in all rooms", "ms", "stored", "resident"], rows)


def _refused(group: Figures) -> str:
    return f"{group.get('refused', 0)} of {group['queries']} refused"


def _shares(group: Figures) -> str:
    n = max(group["queries"], 1)
    right, wrong, refused = (group.get(name, 0) for name in ("right", "wrong", "refused"))
    return f"{right / n:.1%}, {wrong / n:.1%}, {refused / n:.1%} of {group['queries']}"


def false_accepts(figures: Mapping[str, Figures]) -> Table:
    """Images of places that the map does not hold."""
    rows = [
        [f"redkitchen, images of {name}", str(f["queries"]), str(f["accepted"]), counts(f["refusals"])]
        for name, f in figures.get("negatives", {}).items()
    ]
    for name, f in figures.get("merged", {}).items():
        accepted = str(f["accepted"])
        if f["covariance"] is not None:  # of one of the two scenes
            accepted += f", {f['false_accepts']} of them in the wrong scene or place"
        title = f"redkitchen and castle in one map, images of {name}"
        rows.append([title, str(f["queries"]), accepted, counts(f["refusals"])])
    for f in figures.get("perceptual_aliasing", {}).get("worlds", []):
        title = f"{f['name']}, images of an aliased world"
        rows.append([title, str(f["queries"]), str(f["accepted"]), counts(f["refusals"])])
        own = f"{f['name']}, own images (recall 25 cm 2°)"
        rows.append([own, str(f["own_queries"]), f"{f['own_recall']:.1%}", ""])
    return Table(["map, images", "queries", "accepted", "refused as"], rows)


def wrong_priors(figures: Mapping[str, Figures]) -> Table:
    """The same negatives, with a prior that is wrong."""
    rows = [
        [
            f"redkitchen, {images}, {certainty}",
            str(f["queries"]),
            str(f["accepted"]),
            str(f["by_prior"]),
            counts(f["refusals"]),
        ]
        for certainty, by_images in figures["negatives_with_priors"]["certainties"].items()
        for images, f in by_images.items()
    ]
    return Table(["map, images", "queries", "accepted", "of these by the prior", "refused as"], rows)


def covariance(figures: Mapping[str, Figures]) -> Table:
    """Consistency of the covariance in simulated worlds."""
    rows = [
        [w["name"], str(w["accepted"]), median_error(w), f"{w['nees']:.2f}", f"{w['inside']:.0%}"]
        for w in figures["covariance"]["worlds"]
    ]
    return Table(["world", "accepted", "median error", "NEES / 6", "inside 95 %"], rows)


def images_alone(figures: Mapping[str, Figures]) -> Table:
    """Accuracy and consistency of the covariance of maps from images alone."""
    rows = [
        [
            f["name"],
            median_error(f),
            f"{f['accepted']}/{f['queries']}",
            f"{f['covariance']['nees_per_dof']:.1f}",
            f"{f['covariance']['inside_95']:.0%}",
            f"{f['covariance']['position_inside_95']:.0%}",
        ]
        for f in figures["images_alone"]["maps"]
    ]
    return Table(["map", "median error", "accepted", "NEES / 6", "inside 95 %", "position alone inside 95 %"], rows)


def recordings(figures: Mapping[str, Figures]) -> Table:
    """Maps from what robots record: what became of the images, and of queries."""
    rows = []
    for name, f in figures["recordings"]["rows"].items():
        asked = f.get("evaluation")
        if f["code"] or asked is None:
            rows.append([name, f.get("refusal", f"{f.get('placed')} images placed"), *[""] * 5])
            continue
        rows.append(
            [
                name,
                f"{f['placed']} images placed",
                f"{asked['accepted']}/{asked['queries']}",
                str(asked["false_accepts"]),
                median_error(asked),
                hits(asked, "5cm_5deg"),
                f"{asked['covariance']['nees_per_dof']:.2f}, {asked['covariance']['inside_95']:.0%}",
            ]
        )
    header = ["recording", "map", "accepted", "false accepts", "median error", "5 cm 5°", "NEES, in 95 %"]
    return Table(header, rows)


def map_building_time(figures: Mapping[str, Figures]) -> Table:
    """What it costs to build a map."""
    rows = [
        [
            name,
            str(f["images"]),
            str(f["points"]),
            f"{f['wall_s']:.0f} s",
            f"{f['cpu_s']:.0f} s",
            f"{f['peak_mb']:.0f} MB",
        ]
        for name, f in figures["map_building_time"]["cases"].items()
    ]
    return Table(["map", "images", "points", "wall", "CPU", "peak memory"], rows)


def statistics(figures: Mapping[str, Figures]) -> Table:
    """Keypoints and matches in simulated images and in real ones."""
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in figures["statistics"]["lines"]]
    return Table(header, rows)


_DRAWN = tuple(f"drawn_maps_{name}" for name in ("redkitchen", "castle", "rooms", "streets"))
TABLES = {
    "accuracy": TableSource((*_SCENES, "measured_poses", "merged"), accuracy),
    "drawn_maps": TableSource(_DRAWN, drawn_maps),
    "compression": TableSource(("compression",), compression),
    "growth": TableSource(("growth",), growth),
    "false_accepts": TableSource(("negatives", "merged", "perceptual_aliasing"), false_accepts),
    "wrong_priors": TableSource(("negatives_with_priors",), wrong_priors),
    "covariance": TableSource(("covariance",), covariance),
    "images_alone": TableSource(("images_alone",), images_alone),
    "recordings": TableSource(("recordings",), recordings),
    "map_building_time": TableSource(("map_building_time",), map_building_time),
    "statistics": TableSource(("statistics",), statistics),
}
