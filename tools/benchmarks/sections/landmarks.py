"""The chapters of BENCHMARK.md about landmarks."""

from __future__ import annotations

from benchmarks.tables import Figures, table

EVALUATE_COMMAND = "vloc evaluate --map MAP --images query/images --poses query/poses_tum.txt --camera camera_info.yaml"
WAYS_TEXT = (
    "by default a map of this size is searched as a whole, and by voted landmarks where that finds nothing. whole map: "
    "`--set proposals.landmarks=none`. voted: `--set "
    "proposals.landmarks_min_points=0 --set proposals.landmarks=voted`. recognized: `--recognizer MODEL --set "
    "proposals.landmarks_min_points=0 --set proposals.landmarks=recognized`. What landmarks do not find is then looked for "
    "in the whole map."
)


def recognizer(figures: dict[str, Figures]) -> str:
    """Training, recognition, and what localization makes of it."""
    f = figures["recognizer"]
    shares, took = f["scores"], "" if f["train_s"] is None else f" in {f['train_s'] / 60:.0f} minutes"
    rows = [
        [
            way,
            f"{_of(s, '2cm_2deg')}",
            f"{_of(s, '5cm_5deg')}",
            _median(s),
            *[f"{s['latency_ms'][stage]['p50']:.0f}" if stage in s["latency_ms"] else "" for stage in _STAGES],
            f"{s['latency_ms']['after_features']['p50']:.0f}",
            _by(s),
        ]
        for way, s in f["ways"].items()
    ]
    text = (
        f"`python -m training.recognizer --map REDKITCHEN --images map/images --out MODEL`: the preset small{took}, "
        f"{f['model_bytes'] / 1e6:.2f} MB for {f['landmarks']} landmarks in {f['coarse']} coarse ones. `python -m "
        f"training.recognizer_scores --model MODEL --map REDKITCHEN --images query/images --poses query/poses_tum.txt --camera "
        f"camera_info.yaml` on the {shares['images']} queries: of keypoints that show a landmark {shares['top1']:.1%} name it "
        f"first, {shares['top3']:.1%} among three, {shares['coarse']:.1%} its coarse landmark; {shares['image_recall']:.1%} of "
        f"the landmarks that an image shows are among the first of as many; {shares['median_ms']:.1f} ms an image (95 %: "
        f"{shares['p95_ms']:.1f}). Then `{EVALUATE_COMMAND}`. {WAYS_TEXT}\n"
    )
    header = [
        "way",
        "2 cm 2°",
        "5 cm 5°",
        "median error",
        "features, ms p50",
        "proposals",
        "matching",
        "pose",
        "verification",
    ]
    return text + "\n" + table([*header, "after features", "found by"], rows)


_STAGES = ("features", "proposals", "matching", "pose", "verification")


def night(figures: dict[str, Figures]) -> str:
    """Queries in another light than the map's."""
    rows = [
        [
            f"{light}, {way}",
            _of(s, "5cm_5deg"),
            _of(s, "25cm_2deg"),
            str(s["queries"] - s["accepted"]),
            str(s["false_accepts"]),
            _by(s),
        ]
        for light, ways in figures["night"].items()
        if isinstance(ways, dict)
        for way, s in ways.items()
    ]
    text = (
        "`make bench SECTIONS=night`: the queries of redkitchen made darker, as of dusk and of night "
        "(`vloc_ros.simulation.lighting.relight`: lamps, vignetting, noise, motion blur; photometry only, so no real night), "
        f"asked of the map by day: `{EVALUATE_COMMAND}`. {WAYS_TEXT} places: `--set proposals.whole_map_max_points=0 --set "
        "proposals.landmarks=none`, VLAD alone.\n"
    )
    return text + "\n" + table(["light, way", "5 cm 5°", "25 cm 2°", "refused", "false accepts", "found by"], rows)


def four_scenes(figures: dict[str, Figures]) -> str:
    """Several scenes in one map."""
    f = figures["four_scenes"]
    rows = [
        [
            f"{frame}, {way}",
            str(s["queries"]),
            str(s["right"]),
            str(s["refused"]),
            str(s["wrong"]),
            _of(s, "5cm_5deg"),
            _median(s),
            f"{s['latency_ms']['after_features']['p50']:.0f}",
        ]
        for way, scenes in f["ways"].items()
        for frame, s in scenes.items()
    ]
    text = (
        "`vloc map merge REDKITCHEN CASTLE OFFICE SCHOOL --frames redkitchen castle office "
        f"school`, {f['points']} points in {f['landmarks']} landmarks, {f['map_bytes'] / 1e6:.1f} MB; office and school are "
        "simulated buildings of three rooms and of two, furnished alike in twos (`make bench SECTIONS=four_scenes`). Each "
        "scene's queries with `vloc evaluate --scene FRAME`. Right is within 50 cm and 5°, wrong is accepted in another scene "
        "or place. whole map: `--set proposals.landmarks=none`; voted: `--set proposals.landmarks_min_points=0 --set "
        "proposals.landmarks=voted`.\n"
    )
    header = ["asked", "queries", "right", "refused", "wrong", "5 cm 5°", "median error", "after features, ms p50"]
    return text + "\n" + table(header, rows)


def updated(figures: dict[str, Figures]) -> str:
    """A map that grows, and the recogniser that was trained before."""
    f = figures["updated"]
    searched = [
        [f"{title}, whole map", str(m["points"]), str(m["landmarks"]), *_accuracy(m["whole map"])]
        for title, m in f["maps"].items()
    ]
    recognized = [
        [f"{title}, recognized", str(f["maps"][title]["points"]), str(f["maps"][title]["landmarks"]), *_accuracy(s)]
        for title, s in f["recognized"].items()
    ]
    text = (
        "`vloc map build` on the first 50 of redkitchen's map images, then `vloc map update FIRST "
        "--images second/images --poses second/poses_tum.txt --out UPDATED` with the other 50 "
        f"({f['build_s']:.0f} s and {f['update_s']:.0f} s; `make bench SECTIONS=updated`). Of the first map's "
        f"{f['old_landmarks']} landmarks {f['kept_keys']} keep their keys and {f['kept_parents']} their coarse landmarks, of "
        f"its {f['old_points']} points {f['kept_ids']} their landmarks. Then `{EVALUATE_COMMAND}`. recognized: with the "
        "recogniser of the first map, `--recognizer MODEL --set proposals.landmarks_min_points=0 --set "
        "proposals.landmarks=recognized`. With the map of all images at once, on which it was not trained, it is refused: "
        f"`{f['refused_on_another_map']}`.\n"
    )
    header = [
        "map",
        "points",
        "landmarks",
        "2 cm 2°",
        "5 cm 5°",
        "median error",
        "refused",
        "false accepts",
        "found by",
    ]
    return text + "\n" + table(header, searched + recognized)


def _accuracy(s: Figures) -> list[str]:
    refused = s["queries"] - s["accepted"]
    return [_of(s, "2cm_2deg"), _of(s, "5cm_5deg"), _median(s), str(refused), str(s["false_accepts"]), _by(s)]


def _of(s: Figures, limit: str) -> str:
    return f"{s['recall'][limit] * s['queries']:.0f}/{s['queries']}"


def _median(s: Figures) -> str:
    return "" if s["median_translation_m"] is None else f"{s['median_translation_m'] * 100:.2f} cm"


def _by(s: Figures) -> str:
    return ", ".join(f"{name} {count}" for name, count in s["accepted_by_proposal"].items())
