"""The chapters of BENCHMARK.md about maps and single images."""

from __future__ import annotations

from benchmarks.tables import Figures, table

MAP_COMMAND = "vloc map build --images map/images --poses map/poses_tum.txt --camera camera_info.yaml"
EVALUATE_COMMAND = "vloc evaluate --map MAP --images query/images --poses query/poses_tum.txt --camera camera_info.yaml"


def accuracy_row(name: str, f: Figures) -> list[str]:
    """One map's accuracy, latency and size."""
    recall, latency = f["recall"], f["latency_ms"]
    after, features = latency["after_features"]["p50"], latency["features"]["p50"]
    return [
        name,
        f"{f['median_translation_m'] * 100:.2f} cm, {f['median_rotation_deg']:.2f}°",
        f"{recall['2cm_2deg'] * f['queries']:.0f}/{f['queries']}",
        f"{recall['5cm_5deg'] * f['queries']:.0f}/{f['queries']}",
        f"{features:.0f} + {after:.0f} ({after / features:.2f})",
        f"{f['map_bytes'] / 1e6:.2f} MB",
        f"{f['build_s']:.0f} s",
        f"{f['covariance']['nees_per_dof']:.2f}, {f['covariance']['inside_95']:.0%}",
    ]


def accuracy(figures: dict[str, Figures]) -> str:
    """Real scenes, from known poses and from measured ones."""
    rows = [accuracy_row(name, figures[name]) for name in ("redkitchen", "castle") if name in figures]
    for name in ("redkitchen", "castle"):
        for poses, of_map in figures.get("measured_poses", {}).get(name, {}).items():
            rows.append(accuracy_row(f"{name}, corrected {poses}", of_map))
    for name in ("redkitchen", "castle"):
        if "merged" in figures:
            rows.append(accuracy_row(f"{name}, in one map of both", figures["merged"][name]))
    header = [
        "map",
        "median error",
        "2 cm 2°",
        "5 cm 5°",
        "features + rest, ms p50 (ratio)",
        "map",
        "build",
        "NEES, in 95 %",
    ]
    text = (
        f"`{MAP_COMMAND}`, then `{EVALUATE_COMMAND}`. For castle, maps are built with `--max-keypoints 4000`. Corrected true "
        "poses: built with `--structure sfm`, so that they are measurements, which the images correct. Corrected odometry: "
        "`--poses-drift` and simulated odometry, all errors of which are 1 % or 5 %; the map is aligned rigidly with the "
        "true poses (`vloc map align --trajectory`), and keeps odometry's error of scale. Both: `vloc map merge REDKITCHEN "
        "CASTLE --frames redkitchen castle`, evaluated with `--scene`; the column build is the time of merging.\n\n"
        "redkitchen: 7-Scenes, 100 map images, 80 queries, 640x480. castle: Strecha castle-P30, 30 map images, the 9 of P19 "
        "that are not among them, 1536x1024.\n\n"
        "NEES (normalised estimation error squared) is per degree of freedom; 1 is consistent. The last column also has the "
        "share of true poses inside the 95 % ellipsoid. A covariance is about the frame of its map: from "
        "corrected poses it holds how the map lies in their frame, from odometry how far its scale may be off. NEES of odometry "
        "at a revision before d1c0cc9 is of an earlier rule on how far a map may be bent.\n"
    )
    return text + "\n" + table(header, rows)


def drawn_maps(figures: dict[str, Figures]) -> str:
    """Maps from measurements with noise, anew for each."""
    rows = []
    for section, conditions in figures.items():
        for name, f in conditions.items():
            if isinstance(f, dict):
                low, high = f["nees_interval"]
                rows.append(
                    [
                        f"{section.removeprefix('drawn_maps_')}, {name}",
                        f"{f['maps']}, {f['refused']} refused",
                        f"{f['placed_least']:.0%}",
                        f"{100 * f['camera_median_m']:.1f} cm",
                        f"{f['accepted']:.0%}, {100 * f['query_median_m']:.1f} cm",
                        f"{f['nees_per_dof']:.2f} ({low:.2f} to {high:.2f})",
                        f"{f['inside_95']:.0%}",
                    ]
                )
    text = (
        '`make bench SECTIONS="drawn_maps_redkitchen drawn_maps_castle drawn_maps_rooms drawn_maps_streets"`. Odometry, positions of 20 cm and directions of '
        "gravity of 0.02 rad are simulated from the true poses, with their noise drawn anew for each map; all of a map's "
        "errors that its images do not show are then in the one draw, which a single map could not tell from a wrong "
        "covariance. The interval of NEES per degree of freedom is the 95 % one of a bootstrap over maps. Of odometry alone, "
        "whose frame is its own, maps are aligned rigidly with the true poses.\n"
    )
    header = ["images and", "maps", "placed, least", "cameras off", "queries", "NEES", "in 95 %"]
    return text + "\n" + table(header, rows)


def compression(figures: dict[str, Figures]) -> str:
    """Bytes against recall."""
    rows = []
    for name, curve in figures["compression"].items():
        for f in curve if isinstance(curve, list) else []:
            n, recall, median = f["queries"], f["recall"], f["median_translation_m"]
            rows.append(
                [
                    f"{name}, {f['chosen']}",
                    str(f["points"]),
                    f"{f['bytes'] / 1e6:.2f} MB ({f['bytes'] / curve[0]['bytes']:.0%})",
                    "" if median is None else f"{median * 100:.2f} cm",
                    f"{recall['2cm_2deg'] * n:.0f}/{n}",
                    f"{recall['5cm_5deg'] * n:.0f}/{n}",
                    f"{f['after_features_ms']:.0f}",
                    f"{f['covariance']['nees_per_dof']:.2f}" if f["covariance"] else "",
                ]
            )
    text = (
        "`vloc map compress MAP --budget PART` (ranked), and as many points drawn at random. Compression also drops the "
        "retrieval index of a map that is searched as a whole, a fifth of the bytes of redkitchen. Where rooms are furnished "
        "alike, fewer points also mean more poses in the wrong room: see the rows of half the bytes in the next chapter."
    )
    text += "".join(_compare_with_hloc(name, f) for name, f in figures["compression"].get("hloc", {}).items()) + "\n"
    header = ["map, points", "points", "bytes", "median error", "2 cm 2°", "5 cm 5°", "after features, ms p50", "NEES"]
    return text + "\n" + table(header, rows)


def _compare_with_hloc(name: str, f: Figures) -> str:
    return (
        f" hloc stores {f['bytes'] / 1e6:.1f} MB for the images of {name}'s map (keypoints, descriptors of 256 bytes, "
        f"points, 4096 float32 an image); the whole map is {f['map_bytes'] / f['bytes']:.1%} of that."
    )


def growth(figures: dict[str, Figures]) -> str:
    """Search in larger and larger maps."""
    f = figures["growth"]
    rows = []
    for size in f["sizes"]:
        title = f"{size['rooms']} rooms, {size['points']} points" + (
            f", {size['buildings']} of them" if size["buildings"] > 1 else ""
        )
        for name, method in size["methods"].items():
            groups = ("all", "distinguishable", "indistinguishable", "distinguishable_in_all")
            counts = (
                [_counts(method[g]) for g in groups] if size["copies"] == 1 else [_refused(method["all"]), "", "", ""]
            )
            resident = f"{method['resident_mb']:.0f} MB" if method["resident_mb"] is not None else ""
            ms = f"{method['p50_ms']:.0f}, {method['p95_ms']:.0f}"
            rows.append([title, name, *counts, ms, f"{method['bytes'] / 1e6:.1f} MB", resident])
    text = (
        "`make bench SECTIONS=growth`. The rooms are of eight models. Bought things (posters, books, parcels) are the same "
        "pixel for pixel in all rooms of a model, but for a quarter of them; walls and floors have marks of their own. Points "
        "and the positions of keypoints come from the renderer's ground truth, since search is measured and not triangulation "
        f"(rooms and queries took {f['rooms_s'] / 60:.0f} minutes). The same rooms and queries make buildings of two rooms, of "
        "ten, and of all; figures of several buildings are over all of them. The last building repeats its rooms exactly and "
        "measures time and memory only: every pose accepted there is unfounded.\n\n"
        "Right is within 25 cm and 2°. Wrong is accepted and not right, nearly always in a room of the same model (perceptual "
        "aliasing). An image is distinguishable if bought things that no other room of the building has at that place cover "
        "2 % of its pixels or more. It is indistinguishable if they cover less than 0.5 %; most of these should be refused. "
        "The column before the milliseconds is over the images that are distinguishable in the building of all rooms, the "
        "same in every size.\n\n"
        "whole map: every keypoint is matched to all points. landmarks: candidates by voting of the nearest points' landmarks, "
        "compared where several are likely. retrieval: candidates by VLAD. hloc: 20 keyframes by VLAD, matched image to image, "
        "for a quarter of the queries. Milliseconds are after feature extraction, p50 and p95. Stored is on disk, of one "
        "building (hloc: keypoints, descriptors of 256 bytes, global descriptors). Resident is the memory of a process that "
        "localizes, libraries included.\n\n"
        f"{_crossing(f['sizes'])}\n"
    )
    header = ["map", "method", "right, wrong, refused of all", "distinguishable", "indistinguishable"]
    return text + "\n" + table([*header, "distinguishable in all rooms", "ms", "stored", "resident"], rows)


def _crossing(sizes: list[Figures]) -> str:
    """The size from which on landmarks are better than the whole map, in time and in results."""
    faster = [s["points"] for s in sizes if s["methods"]["landmarks"]["p50_ms"] < s["methods"]["whole map"]["p50_ms"]]
    scored = [s for s in sizes if s["copies"] == 1]
    better = [s["points"] for s in scored if _right(s["methods"]["landmarks"]) > _right(s["methods"]["whole map"])]
    in_time = f"from {faster[0]} points on" if faster else f"nowhere up to {sizes[-1]['points']} points"
    in_results = f"from {better[0]} points on" if better else "nowhere"
    return (
        f"Landmarks are faster than the whole map {in_time}, and right more often {in_results}. Rooms that are alike make the "
        "difference, not the number of points. By default, a map of up to `candidates.landmarks_min_points` points is searched "
        "as a whole first, and by its landmarks where that finds nothing. Set it to 0 for a small building of such rooms."
    )


def _right(method: Figures) -> float:
    return float(method["all"].get("right", 0)) / max(method["all"]["queries"], 1)


def _refused(group: Figures) -> str:
    return f"{group.get('refused', 0)} of {group['queries']} refused"


def _counts(group: Figures) -> str:
    n = max(group["queries"], 1)
    right, wrong, refused = (group.get(name, 0) for name in ("right", "wrong", "refused"))
    return f"{right / n:.1%}, {wrong / n:.1%}, {refused / n:.1%} of {group['queries']}"


def false_accepts(figures: dict[str, Figures]) -> str:
    """Images of places that the map does not hold."""
    rows = [
        [f"redkitchen, images of {name}", str(f["queries"]), str(f["accepted"]), _refusals(f)]
        for name, f in figures.get("negatives", {}).items()
        if isinstance(f, dict)
    ]
    for name, f in figures.get("merged", {}).items():
        if isinstance(f, dict):
            rows.append([f"redkitchen and castle in one map, images of {name}", str(f["queries"]), *_merged_row(f)])
    for f in figures.get("perceptual_aliasing", {}).get("worlds", []):
        rows.append([f"{f['name']}, images of an aliased world", str(f["queries"]), str(f["accepted"]), _refusals(f)])
        own = f"{f['name']}, own images (recall 25 cm 2°)"
        rows.append([own, str(f["own_queries"]), f"{f['own_recall']:.1%}", ""])
    text = (
        "Negatives, images of places that the map does not hold: `vloc evaluate --map redkitchen --absent --images …`. "
        "Perceptual aliasing: simulated worlds with the wallpapers, furniture and posters of the mapped one in another "
        "arrangement (`make bench SECTIONS=perceptual_aliasing`). Every acceptance of these is a false accept.\n"
    )
    text += "\n" + table(["map, images", "queries", "accepted", "refused as"], rows)
    return text + _with_priors(figures["negatives_with_priors"]) if "negatives_with_priors" in figures else text


def _with_priors(figures: Figures) -> str:
    """The same negatives, with a prior that is wrong."""
    rows = [
        [
            f"redkitchen, {images}, {certainty}",
            str(f["queries"]),
            str(f["accepted"]),
            str(f["by_prior"]),
            _refusals(f),
        ]
        for certainty, by_images in figures["certainties"].items()
        for images, f in by_images.items()
    ]
    text = (
        "\nThe same negatives, with a wrong prior at the pose of a keyframe of redkitchen; "
        f"{figures['priors_per_image']} keyframes are drawn for each image (`make bench SECTIONS=negatives_with_priors`). "
        "Standard deviations are 5 cm and 0.03 rad (prior of a fix) or 50 cm and 0.26 rad (prior from RViz). Beside them "
        "redkitchen's own queries, with priors whose errors have these standard deviations.\n"
    )
    return text + "\n" + table(["map, images", "queries", "accepted", "of these by the prior", "refused as"], rows)


def _merged_row(f: Figures) -> list[str]:
    if f["covariance"] is None:  # of neither scene
        return [str(f["accepted"]), _refusals(f)]
    return [f"{f['accepted']}, {f['false_accepts']} of them in the wrong scene or place", _refusals(f)]


def _refusals(f: Figures) -> str:
    return ", ".join(f"{name} {count}" for name, count in f["refusals"].items())


def covariance(figures: dict[str, Figures]) -> str:
    """Consistency of the covariance in simulated worlds."""
    f = figures["covariance"]
    rows = [
        [
            w["name"],
            str(w["accepted"]),
            f"{w['median_translation_m'] * 100:.2f} cm",
            f"{w['nees']:.2f}",
            f"{w['inside']:.0%}",
        ]
        for w in f["worlds"]
    ]
    text = (
        "`make bench SECTIONS=covariance`: NEES per degree of freedom (1 is consistent), and the share of true poses inside the "
        "95 % ellipsoid. Each map calibrates its covariance on segments of its trajectory that it leaves out. Nothing was "
        "tuned on these worlds. The worst values come from a few poses far outside their covariance. "
        f"Over all: NEES {f['nees']:.2f} (95 % interval {f['nees_interval'][0]:.2f} to {f['nees_interval'][1]:.2f}, "
        f"bootstrapped by world), inside {f['inside']:.1%} ({f['inside_interval'][0]:.1%} to {f['inside_interval'][1]:.1%}).\n"
    )
    return text + "\n" + table(["world", "accepted", "median error", "NEES / 6", "inside 95 %"], rows)


def statistics(figures: dict[str, Figures]) -> str:
    """Keypoints and matches in simulated images and in real ones."""
    rows = [[cell.strip() for cell in line.split("|")] for line in figures["statistics"]["lines"]]
    text = "`python tools/simulation_statistics.py`; frames 4 cm apart, of drives 1.35 m, from above 15 m or as the drone flew; 10th percentile, median and 90th percentile. VLAD recall: images that VLAD finds next to one of every fourth.\n"
    return text + "\n" + table(rows[0], rows[1:])
