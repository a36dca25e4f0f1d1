"""The chapters of BENCHMARK.md about landmarks, lighting, several scenes and map updates."""

from __future__ import annotations

from benchmarks.tables import Figures, table

EVALUATE_COMMAND = "vloc evaluate --map MAP --images query/images --poses query/poses_tum.txt --camera camera_info.yaml"
METHODS_TEXT = (
    "whole map: `--set candidates.landmarks=none`. voted: `--set candidates.landmarks_min_points=0 --set "
    "candidates.landmarks=voted`. recognized: `--recognizer MODEL --set candidates.landmarks_min_points=0 --set "
    "candidates.landmarks=recognized`. What landmarks do not find is then searched for in the whole map."
)


def recognizer(figures: dict[str, Figures]) -> str:
    """Training of the recogniser, its scores, and localization with it."""
    f = figures["recognizer"]
    scores, took = f["scores"], "" if f["train_s"] is None else f" in {f['train_s'] / 60:.0f} minutes"
    rows = [
        [
            method,
            f"{_of(s, '2cm_2deg')}",
            f"{_of(s, '5cm_5deg')}",
            _median(s),
            *[f"{s['latency_ms'][stage]['p50']:.0f}" if stage in s["latency_ms"] else "" for stage in _STAGES],
            f"{s['latency_ms']['after_features']['p50']:.0f}",
            _by(s),
        ]
        for method, s in f["methods"].items()
    ]
    text = (
        f"`python -m training.landmark_recognizer.train --map REDKITCHEN --images map/images --out MODEL` trains the preset small{took}: "
        f"{f['model_bytes'] / 1e6:.2f} MB for {f['landmarks']} landmarks in {f['coarse']} coarse ones.\n\n"
        "`python -m training.landmark_recognizer.evaluate --model MODEL --map REDKITCHEN --images query/images --poses "
        f"query/poses_tum.txt --camera camera_info.yaml`, on the {scores['images']} queries. Of the keypoints that show a "
        f"landmark, {scores['top1']:.1%} have it as the first prediction, {scores['top3']:.1%} among the first three, and "
        f"{scores['coarse']:.1%} have the right coarse landmark. Of the landmarks that an image shows, "
        f"{scores['image_recall']:.1%} are among the first of as many predictions. An image takes {scores['median_ms']:.1f} ms "
        f"(95 %: {scores['p95_ms']:.1f}).\n\n"
        f"Localization: `{EVALUATE_COMMAND}`. By default a map of this size is searched as a whole, and by voted landmarks "
        f"where that finds nothing. {METHODS_TEXT}\n"
    )
    header = [
        "method",
        "2 cm 2°",
        "5 cm 5°",
        "median error",
        "features, ms p50",
        "candidates",
        "matching",
        "pose",
        "verification",
    ]
    return text + "\n" + table([*header, "after features", "found by"], rows)


_STAGES = ("features", "candidates", "matching", "pose", "verification")


def night(figures: dict[str, Figures]) -> str:
    """Queries in another light than the map's."""
    rows = [
        [
            f"{light}, {method}",
            _of(s, "5cm_5deg"),
            _of(s, "25cm_2deg"),
            str(s["queries"] - s["accepted"]),
            str(s["false_accepts"]),
            _by(s),
        ]
        for light, methods in figures["night"].items()
        if isinstance(methods, dict)
        for method, s in methods.items()
    ]
    text = (
        "`make bench SECTIONS=night`: redkitchen's queries are relit as at dusk and at night and localized in the map by day. "
        "`vloc_ros.simulation.lighting.relight` changes photometry only (lamps, vignetting, noise, motion blur); it is no real "
        f"night.\n\n`{EVALUATE_COMMAND}`. by default: the whole map, then voted landmarks where that finds nothing. "
        f"{METHODS_TEXT} retrieval: `--set candidates.whole_map_max_points=0 --set candidates.landmarks=none`, VLAD alone.\n"
    )
    return text + "\n" + table(["light, method", "5 cm 5°", "25 cm 2°", "refused", "false accepts", "found by"], rows)


def four_scenes(figures: dict[str, Figures]) -> str:
    """Several scenes in one map."""
    f = figures["four_scenes"]
    rows = [
        [
            f"{frame}, {method}",
            str(s["queries"]),
            str(s["right"]),
            str(s["refused"]),
            str(s["wrong"]),
            _of(s, "5cm_5deg"),
            _median(s),
            f"{s['latency_ms']['after_features']['p50']:.0f}",
        ]
        for method, scenes in f["methods"].items()
        for frame, s in scenes.items()
    ]
    text = (
        "`vloc map merge REDKITCHEN CASTLE OFFICE SCHOOL --frames redkitchen castle office school` (`make bench "
        f"SECTIONS=four_scenes`): {f['points']} points in {f['landmarks']} landmarks, {f['map_bytes'] / 1e6:.1f} MB. office and "
        "school are simulated buildings of three rooms and of two, furnished alike in twos. The queries of each scene are "
        "evaluated with `vloc evaluate --scene FRAME`. Right is within 50 cm and 5°; wrong is accepted in another scene or "
        "place. whole map: `--set candidates.landmarks=none`. voted: `--set candidates.landmarks_min_points=0 --set "
        "candidates.landmarks=voted`.\n"
    )
    header = [
        "scene, method",
        "queries",
        "right",
        "refused",
        "wrong",
        "5 cm 5°",
        "median error",
        "after features, ms p50",
    ]
    return text + "\n" + table(header, rows)


def updated(figures: dict[str, Figures]) -> str:
    """An updated map, and a recogniser trained before the update."""
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
        "`make bench SECTIONS=updated`: `vloc map build` on the first 50 of redkitchen's map images, then `vloc map update "
        "FIRST --images second/images --poses second/poses_tum.txt --out UPDATED` with the other 50 "
        f"({f['build_s']:.0f} s and {f['update_s']:.0f} s). Of the first map's {f['old_landmarks']} landmarks, {f['kept_keys']} "
        f"keep their keys and {f['kept_parents']} their coarse landmarks. Of its {f['old_points']} points, {f['kept_ids']} keep "
        f"their landmarks.\n\n`{EVALUATE_COMMAND}`. recognized: with the recogniser of the first map, `--recognizer MODEL "
        "--set candidates.landmarks_min_points=0 --set candidates.landmarks=recognized`. This recogniser is refused with the "
        f"map of all images at once, on which it was not trained: `{f['refused_on_another_map']}`.\n"
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
    return ", ".join(f"{name} {count}" for name, count in s["accepted_by_candidate"].items())
