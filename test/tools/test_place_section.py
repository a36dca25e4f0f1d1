"""The chapter on place recognition, from figures as `vloc place test --json` has them."""

from __future__ import annotations

from typing import Any

from benchmarks.sections.place_recognition import place_recognition


def share(hits: int) -> dict[str, Any]:
    return {"hits": hits, "of": 10, "share": hits / 10, "interval_95": (0.1, 0.9)}


def scores(hits: int) -> dict[str, Any]:
    recall = {f"R@{n}": share(hits) for n in (1, 5)}
    return {"recall": recall, "chance": {"R@1": 0.02}, "aupr": 0.5}


def test_a_row_has_its_recall_its_rerankings_and_metres() -> None:
    rerankings = [
        {"name": "pose:10", "ms": 12.0, "scores": scores(7), "position_errors_m": [0.5, None, 1.5]},
        {"name": "qe:5", "ms": 0.0, "scores": None, "refused": "few"},
    ]
    row = {"scores": scores(6), "rerankings": rerankings, "variants": {"--scales 0.71,1,1.41": share(5)}}
    row |= {"bytes_in_a_map": 320, "describe_ms": 20.0}
    text = place_recognition({"place_recognition": {"rows": {"GeM, street, day": row}}})
    for cell in ("60.0% (10.0% to 90.0%)", "| 60.0% | 70.0% |", "| refused |", "2 of 3, 1.00 m", "--scales 0.71"):
        assert cell in text
