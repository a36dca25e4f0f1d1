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

"""The scores as a table for people."""

from test_scores import accepted, off_by, refused, scored

from vloc_ros.evaluation.scores import score_negatives
from vloc_ros.evaluation.table import format_scores, limit_text


def test_table_has_every_figure_of_accuracy():
    text = format_scores(
        scored([accepted(off_by(0.01, 1.0), times_ms={"features": 40.0}), accepted(off_by(0.04, 3.0))])
    )
    rows = dict(line.split("  ", 1) for line in text.splitlines())
    values = {name.strip(): value.strip() for name, value in rows.items()}
    assert values["accepted"] == "2 (100.0%)"
    assert values["median error of all queries"] == "2.50 cm, 2.00 deg"
    assert values["within 2 cm, 2 deg"] == "50.0% of all queries"
    assert values["false accepts"] == "0"
    assert "p50 40.0" in values["total ms"]


def test_table_states_an_infinite_median_and_why_queries_were_refused():
    text = format_scores(scored([accepted(off_by(0.01, 1.0)), refused()]))
    assert "infinite (half of the queries or more were refused)" in text
    assert "refused: too few matches" in text


def test_table_of_negatives_has_no_accuracy():
    text = format_scores(score_negatives([refused()], map_bytes=1_500_000))
    assert "0 (0.0%); negatives: all must be refused" in text
    assert "within" not in text
    assert "median" not in text
    assert "1.50 MB" in text


def test_what_is_left_out_and_taken_for_granted_is_said():
    scores = scored([accepted(off_by(0.01, 1.0))])
    assert "scale of the truth" not in format_scores(scores)
    text = format_scores({**scores, "left_out": 3, "assumed_scale": "lengths in sparse/0 are taken for metres"})
    assert "scale of the truth" in text
    assert "unknown: lengths in sparse/0 are taken for metres" in text
    assert "left out: without a true pose, or TF" in text


def test_limits_for_people():
    assert limit_text("5cm_5deg") == "5 cm, 5 deg"
    assert limit_text("5m_10deg") == "5 m, 10 deg"
