"""Bytes against recall: a map with fewer and fewer points, chosen by worth and at random."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.command import vloc
from benchmarks.real import CASTLE_KEYPOINTS, built, queries

from vloc_ros.mapping.compression import with_points
from vloc_ros.storage.maps import map_bytes, read_map, write_map

BUDGETS = (0.5, 0.3, 0.2, 0.15, 0.1)


def compression(out: Path) -> dict[str, Any]:
    """The real scenes at every budget, and as many points at random."""
    figures: dict[str, Any] = {}
    for name, options in (("redkitchen", ()), ("castle", CASTLE_KEYPOINTS)):
        folder = built(out, name, *options)
        rows = [_row(out, name, folder, "all")]
        for budget in BUDGETS:
            chosen = out / "maps" / f"{folder.name}-budget-{budget:g}"
            shutil.rmtree(chosen, ignore_errors=True)
            vloc("map", "compress", folder, "--budget", f"{budget:g}", "--out", chosen)
            rows.append(_row(out, name, chosen, "by worth"))
            rows.append(_row(out, name, _at_random(folder, chosen), "at random"))
        figures[name] = rows
    return figures


def _at_random(folder: Path, chosen: Path) -> Path:
    """As many points of the map as were chosen."""
    whole, count = read_map(folder), len(read_map(chosen).points)
    kept = np.random.default_rng(0).permutation(len(whole.points))[:count]
    other = chosen.parent / f"{chosen.name}-random"
    write_map(replace(with_points(whole, kept), places={}), other)
    return other


def _row(out: Path, name: str, folder: Path, points: str) -> dict[str, Any]:
    scores = queries(out, name, folder)
    row = {
        "chosen": points,
        "points": len(read_map(folder).points),
        "bytes": map_bytes(folder),
        **{key: scores[key] for key in ("queries", "accepted", "false_accepts", "median_translation_m", "recall")},
        "after_features_ms": scores["latency_ms"]["after_features"]["p50"],
        "covariance": scores["covariance"],
    }
    print("  ", row, flush=True)
    return row
