"""The report on a set of images: one page with accuracy, latency and the worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation import figures
from vloc_ros.evaluation.overlays import ERROR_MAGNIFICATION, draw_overlay
from vloc_ros.evaluation.page import cases, columns, figure, make_page, paragraph, section, text_table, tiles
from vloc_ros.evaluation.scores import Errors, compute_errors
from vloc_ros.evaluation.table import accuracy_rows, alignment_text, consistency_rows, rates_text
from vloc_ros.evaluation.trajectory_alignment import align_records
from vloc_ros.storage.results import ResultRecord

_CASES_OF_A_KIND = 6


def make_report_page(
    landmark_map: LandmarkMap,
    sources: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scores: Mapping[str, Any],
    *,
    frame_id: str = "",
    truth_from_map: Similarity | None = None,
) -> str:
    """Make the report as HTML.

    Args:
        landmark_map: the map of the localizer.
        sources: the images, in the order of `records`; only those that are shown are read.
        records: the results.
        truth: true map_from_rig of every image, None for negatives.
        scores: from `score_results` or `score_negatives`.
        frame_id: frame of the scene of the ground truth; empty where the map has only one.
        truth_from_map: the alignment of the results with the ground truth; None where they are of one frame.

    Raises:
        InputError: the counts differ, or an image cannot be read.
    """
    subtitle = f"{len(records)} images against the map {landmark_map.name}, {len(landmark_map.points)} points"
    if truth is None:
        parts = [_headline_negatives(scores), *_common(records, scores)]
        parts.append(_negative_cases(landmark_map, sources, records))
        return make_page("Negatives", f"{subtitle}. The images are of other places: all must be refused.", parts)
    if scores.get("not_comparable"):
        parts = [_headline_counts(scores), section("Error", paragraph(f"Not comparable: {scores['not_comparable']}."))]
        return make_page("Localization report", subtitle, [*parts, *_common(records, scores)])
    aligned = records if truth_from_map is None else align_records(records, truth_from_map)
    errors = compute_errors(aligned, truth, frame_id=frame_id)
    if truth_from_map is not None:  # drawn in the map
        subtitle += f". Aligned with the ground truth: {alignment_text(scores['alignment'])}"
        truth = [truth_from_map.inverse().apply_to_pose(pose) for pose in truth]
    parts = [
        _headline(scores),
        _trajectory(landmark_map.part(frame_id), records, truth),
        _accuracy(errors),
        *_common(records, scores),
        _worst_cases(landmark_map, sources, records, errors),
    ]
    return make_page("Localization report", subtitle, parts)


def _latency_tile(scores: Mapping[str, Any]) -> tuple[str, str, bool]:
    total = scores["latency_ms"].get("total")
    return ("unknown" if total is None else f"{total['p50']:.0f} ms", "per image, median", False)


def _drop_tiles(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Images of a live run that the localizer never had."""
    live = scores.get("live")
    return [] if live is None else [(f"{live['dropped']} / {live['images']}", f"dropped, {rates_text(live)}", False)]


def _headline_counts(scores: Mapping[str, Any]) -> str:
    accepted = (f"{scores['accepted']} / {scores['queries']}", "accepted", False)
    return tiles([accepted, *_drop_tiles(scores), _latency_tile(scores)])


def _headline(scores: Mapping[str, Any]) -> str:
    median = scores["median_translation_m"]
    turned = scores["median_rotation_deg"]
    return tiles(
        [
            ("infinite" if median is None else f"{median * 100:.2f} cm", "median position error", median is None),
            ("infinite" if turned is None else f"{turned:.2f}°", "median rotation error", turned is None),
            (f"{scores['recall']['5cm_5deg']:.1%}", "within 5 cm and 5°", False),
            (f"{scores['accepted']} / {scores['queries']}", "accepted", False),
            (f"{scores['false_accepts']}", "false accepts", scores["false_accepts"] > 0),
            *_drop_tiles(scores),
            _latency_tile(scores),
        ]
    )


def _headline_negatives(scores: Mapping[str, Any]) -> str:
    return tiles(
        [
            (f"{scores['queries']}", "images", False),
            (f"{scores['false_accepts']}", "accepted, all falsely", scores["false_accepts"] > 0),
            *_drop_tiles(scores),
            _latency_tile(scores),
        ]
    )


def _trajectory(landmark_map: LandmarkMap, records: Sequence[ResultRecord], truth: Sequence[Pose]) -> str:
    drawing = figures.draw_trajectory(landmark_map, records, truth)
    text = "View from above; up is the mean upward direction of the map's cameras. Grey: the points of the map."
    return section("Trajectory", figure(drawing, "svg+xml", alt="trajectory", caption=text))


def _accuracy(errors: Errors) -> str:
    curves = figure(figures.draw_error_curves(errors), "svg+xml", alt="error curves")
    text = "A refused query counts as infinitely wrong. Dashed: 2, 5 and 50 cm; 2 and 5 degrees."
    if not errors.accepted.any():
        return section("Error", paragraph(text), curves)
    over_queries = figure(
        figures.draw_errors_over_queries(errors),
        "svg+xml",
        alt="errors over queries",
        caption="Each position error beside its estimated standard deviation.",
    )
    return section("Error", paragraph(text), curves, over_queries)


def _common(records: Sequence[ResultRecord], scores: Mapping[str, Any]) -> list[str]:
    rows = [*accuracy_rows(scores), *consistency_rows(scores)]
    rows.append(("map on disk", f"{scores['map_bytes'] / 1e6:.2f} MB"))
    reasons = [(name.replace("_", " "), f"{count}") for name, count in scores["refusals"].items()]
    reason_table = text_table(["refused because", "queries"], reasons) if reasons else paragraph("Nothing was refused.")
    inliers = figure(figures.draw_inlier_counts(records), "svg+xml", alt="inlier counts")
    latency = [
        (stage.replace("_", " "), *(f"{p[name]:.1f}" for name in ("p50", "p95", "p99")))
        for stage, p in scores["latency_ms"].items()
    ]
    bars = figure(figures.draw_latency(scores["latency_ms"]), "svg+xml", alt="latency")
    return [
        section("Measures", columns(text_table(["measure", "value"], rows), reason_table + inliers)),
        section("Time", columns(text_table(["stage, ms", "p50", "p95", "p99"], latency), bars)),
    ]


def _worst_cases(
    landmark_map: LandmarkMap, sources: Sequence[QuerySource], records: Sequence[ResultRecord], errors: Errors
) -> str:
    accepted = [int(i) for i in np.argsort(-errors.translation_m, kind="stable") if errors.accepted[i]]
    refused = [int(i) for i in np.flatnonzero(~errors.accepted)]
    captions = {
        i: f"{errors.translation_m[i] * 100:.2f} cm, {errors.rotation_deg[i]:.2f}°; "
        f"estimated {errors.position_std_m[i] * 100:.2f} cm"
        for i in accepted
    }
    chosen = [*refused[:_CASES_OF_A_KIND], *accepted[:_CASES_OF_A_KIND]]
    return _gallery("Worst cases", chosen, captions, landmark_map, sources, records)


def _negative_cases(landmark_map: LandmarkMap, sources: Sequence[QuerySource], records: Sequence[ResultRecord]) -> str:
    """The false accepts, then the refused images with the most inliers."""
    order = sorted(range(len(records)), key=lambda i: (not records[i].result.ok, -records[i].result.inliers))
    return _gallery("False accepts and nearest to them", order[:_CASES_OF_A_KIND], {}, landmark_map, sources, records)


def _gallery(
    heading: str,
    chosen: Sequence[int],
    captions: Mapping[int, str],
    landmark_map: LandmarkMap,
    sources: Sequence[QuerySource],
    records: Sequence[ResultRecord],
) -> str:
    text = (
        f"Circles: inliers. Lines: their reprojection errors, {ERROR_MAGNIFICATION:g} times as long as they are. "
        "A refused image has no pose, and so no lines."
    )
    shown = []
    for i in chosen:
        record = records[i]
        picture = draw_overlay(landmark_map, sources[i].read(), record.result)
        found = f"{record.result.inliers} inliers of {record.result.matches} matches"
        outcome = captions.get(i) or record.result.reason or record.result.status.value.replace("_", " ")
        caption = f"<b>{escape(record.image)}</b><br>{escape(outcome)}<br>{escape(found)}"
        shown.append(figure(picture, "jpeg", alt=record.image, caption=caption))
    return section(heading, paragraph(text), cases(shown))
