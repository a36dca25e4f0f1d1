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

"""Runs side by side: paired over the queries that they share."""

from dataclasses import replace

import numpy as np
import pytest
from test_report import assert_self_contained, data_in

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.comparison import compare_with_first
from vloc_ros.evaluation.comparison_page import make_comparison_page
from vloc_ros.evaluation.comparison_table import alignment_warning, format_comparison, score_rows
from vloc_ros.evaluation.scores import RECALL_LIMITS
from vloc_ros.storage.runs import QueryRow, Run


def row(image: str, error_m: float | None, *, truth: Pose | None = None, latency_ms: float = 50.0) -> QueryRow:
    accepted = error_m is not None
    return QueryRow(
        image=image,
        stamp_ns=None,
        status="ok" if accepted else "too_few_matches",
        reason="" if accepted else "few",
        candidate="whole_map",
        accepted=accepted,
        false_accept=accepted and error_m > 0.5,
        translation_m=error_m,
        rotation_deg=0.1 if accepted else None,
        position_std_m=0.01 if accepted else None,
        matches=40,
        inliers=30,
        confidence=0.9,
        latency_ms=latency_ms,
        frame_id="map",
        map_from_rig=Pose.identity() if accepted else None,
        truth=truth or Pose.identity(),
    )


def run(name: str, rows: list[QueryRow]) -> Run:
    errors = np.array([np.inf if r.translation_m is None else r.translation_m for r in rows])
    scores = {
        "queries": len(rows),
        "accepted": sum(r.accepted for r in rows),
        "false_accepts": sum(r.false_accept for r in rows),
        "median_translation_m": None if np.isinf(np.median(errors)) else float(np.median(errors)),
        "median_rotation_deg": 0.1,
        "recall": {name: float((errors <= limit).mean()) for name, (limit, _) in RECALL_LIMITS.items()},
        "latency_ms": {"total": {"p50": 50.0, "p95": 60.0, "p99": 70.0}},
        "map_bytes": 1000,
        "run": {"map": {"name": "wall", "hash": "0" * 64}, "settings": {"pose.max_error_px": name, "pose.seed": 0}},
    }
    return Run(name, scores, tuple(rows))


def negatives(name: str) -> Run:
    rows = [replace(row(f"{i}.png", 0.1), truth=None, translation_m=None, rotation_deg=None) for i in range(3)]
    whole = run(name, [row("x", 0.1)] * 3)
    return Run(name, {**whole.scores, "recall": dict.fromkeys(RECALL_LIMITS), "false_accepts": 3}, tuple(rows))


def differences_of(pair) -> dict:
    return {d.name: d for d in pair.differences}


def test_differences_are_paired_over_the_shared_queries():
    before = run("before", [row(f"{i}.png", 0.01 + 0.01 * i) for i in range(30)])
    # 3 mm better each, two of them refused, and others that the first run does not have
    rows = [row(f"{i}.png", None if i < 2 else 0.007 + 0.01 * i, latency_ms=45.0) for i in range(30)]
    after = run("after", [*rows, row("only-here.png", 0.9)])
    (pair,) = compare_with_first([before, after])
    found = differences_of(pair)
    error = found["position error, median of the differences"]
    assert (pair.shared, pair.only_first, pair.only_other, error.queries) == (30, 2, 0, 28)
    assert (error.value, error.low, error.high) == tuple(pytest.approx(-0.3) for _ in range(3))
    assert error.is_clear
    assert found["accepted"].value == pytest.approx(-100 * 2 / 30)
    assert found["false accepts"].value == 0
    assert found["time, median of the differences"].value == pytest.approx(-5.0)
    assert found["within 2 cm, 2 deg"].value == pytest.approx(-100 * 2 / 30)


def test_the_interval_of_noise_holds_zero_and_that_of_a_gain_does_not():
    rng = np.random.default_rng(3)
    errors = rng.uniform(0.01, 0.02, 200)
    noisy = errors + rng.normal(0, 0.002, 200)
    first = run("a", [row(f"{i}", e) for i, e in enumerate(errors)])
    noise, gain = compare_with_first(
        [
            first,
            run("b", [row(f"{i}", e) for i, e in enumerate(noisy)]),
            run("c", [row(f"{i}", e - 0.002) for i, e in enumerate(noisy)]),
        ]
    )
    noise, gain = (differences_of(pair)["position error, median of the differences"] for pair in (noise, gain))
    assert noise.low < 0 < noise.high
    assert gain.high < 0
    # of 200 differences with 0.2 cm of noise, the standard error of the median is 1.25 x 0.2 cm / sqrt(200)
    assert (gain.high - gain.low) == pytest.approx(2 * 1.96 * 1.25 * 0.2 / np.sqrt(200), rel=0.4)


def test_runs_that_are_not_comparable_are_refused():
    a = run("a", [row("1.png", 0.1), row("3.png", 0.1)])
    elsewhere = Pose(np.eye(3), np.array([0.0, 0.5, 0.0]))
    unaligned = Run(
        "b", {**a.scores, "recall": dict.fromkeys(RECALL_LIMITS), "not_comparable": "another frame"}, a.rows
    )
    for other, expected in (
        (run("b", [row("2.png", 0.1)]), "share no query.*1.png and 2.png"),
        (negatives("b"), "b is a run of negatives, a of queries with ground truth"),
        (run("b", [row("1.png", 0.1), row("3.png", 0.1, truth=elsewhere)]), "differ by up to 0.5"),
        (unaligned, "another frame"),
    ):
        with pytest.raises(InputError, match=expected):
            compare_with_first([a, other])
    with pytest.raises(InputError, match="found 1 run to compare"):
        compare_with_first([a])


def test_queries_of_a_bag_are_paired_by_time_and_those_of_the_base_with_the_cameras():
    """A live run has stamps for names, and poses of the base, 20 cm behind the camera."""
    truth = [Pose.from_rotation_vector([0.0, 0.0, 0.3 * i], [float(i), 0.0, 0.0]) for i in range(3)]
    camera_from_base = Pose(np.eye(3), np.array([0.0, 0.0, -0.2]))
    offline = [replace(row(f"{i}.png", 0.01, truth=pose), stamp_ns=i * 10**9) for i, pose in enumerate(truth)]
    live = [replace(r, image=f"{i}.000000000", truth=r.truth @ camera_from_base) for i, r in enumerate(offline)]
    runs = [run("offline", offline), run("live", live[1:])]
    (pair,) = compare_with_first(runs)
    assert pair.shared == 2
    queries = data_in(make_comparison_page(runs, [pair]))["queries"]
    assert [query["image"] for query in queries] == ["0.png", "1.png", "2.png"]
    assert [query["runs"][1] is None for query in queries] == [True, False, False]


def test_text_and_page_show_scores_settings_and_every_query():
    runs = [run("<b>before", [row("a.png", 0.01), row("b.png", None)]), run("after", [row("a.png", 0.02)])]
    pairs = compare_with_first(runs)
    text = format_comparison(runs, pairs)
    assert "after minus <b>before, over the 1 queries of both" in text
    assert "pose.max_error_px" in text
    assert "pose.seed" not in text
    page = make_comparison_page(runs, pairs)
    data = data_in(page)
    assert_self_contained(page)
    assert "<b>before" not in page
    assert [query["image"] for query in data["queries"]] == ["a.png", "b.png"]
    assert data["queries"][1]["runs"][1] is None


LIVE = {"images": 80, "answered": 80, "dropped": 54, "handled": 26, "handled_hz": 1.6, "rate_hz": 6.0}


def test_what_makes_runs_incomparable_is_shown():
    """Dropped images, different alignments, and covariances that do not hold."""
    before, after = (run(name, [row("a.png", 0.01), row("b.png", 0.02)]) for name in ("before", "after"))
    more = {"live": LIVE, "alignment": {"method": "SE3", "poses": 7}, "covariance": {"nees_per_dof": 8.25}}
    runs = [before, replace(after, scores={**after.scores, **more})]
    rows = dict(score_rows(runs))
    assert rows["dropped"] == ["-", "54 of 80, 1.6 of 6.0 Hz handled"]
    assert rows["aligned"] == ["none", "SE3 over 7 poses"]
    assert rows["NEES per degree of freedom"] == ["-", "8.25"]
    warning = alignment_warning(runs)
    assert "before: none, after: SE3" in warning
    assert warning in format_comparison(runs, compare_with_first(runs))
    page = make_comparison_page(runs, compare_with_first(runs))
    assert '<p class="warning">The runs' in page
    assert "<code>--correct-scale</code>" in page
    same = [replace(one, scores=runs[1].scores) for one in runs]
    assert alignment_warning(same) == ""
    assert "warning" not in format_comparison(same, compare_with_first(same))
    assert "dropped" not in dict(score_rows([before, before]))


def test_negatives_are_compared_without_errors():
    runs = [negatives("a"), negatives("b")]
    pairs = compare_with_first(runs)
    assert "position error, median of the differences" not in differences_of(pairs[0])
    assert "median error" not in format_comparison(runs, pairs)
    assert "<h2>Error</h2>" not in make_comparison_page(runs, pairs)


def test_runs_without_any_pose():
    runs = [run(name, [row("a.png", None)]) for name in "ab"]
    pairs = compare_with_first(runs)
    assert differences_of(pairs[0])["position error, median of the differences"].value is None
    assert "infinite" in format_comparison(runs, pairs)
    assert_self_contained(make_comparison_page(runs, pairs))
