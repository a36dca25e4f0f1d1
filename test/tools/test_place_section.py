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

"""The tables on place recognition, from figures as `vloc place test --json` has them."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.place_training import BASE, TRAININGS
from benchmarks.tables.places import TABLES


def share(hits: int) -> dict[str, Any]:
    return {"hits": hits, "of": 10, "share": hits / 10, "interval_95": (0.1, 0.9)}


def scores(hits: int) -> dict[str, Any]:
    recall = {f"R@{n}": share(hits) for n in (1, 5)}
    return {"recall": recall, "chance": {"R@1": 0.02}, "aupr": 0.5}


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("place_indices", ["GeM, street, day", "60.0% (10.0% to 90.0%)", "2.0%", "320"]),
        ("place_rerankings", ["60.0%", "70.0%", "refused", "2 of 3, 1.00 m"]),
        ("place_variants", ["--scales 0.71,1,1.41", "50.0% (10.0% to 90.0%)"]),
    ],
)
def test_a_table_has_recall_rerankings_and_metres(name: str, cells: list[str]) -> None:
    rerankings = [
        {"name": "pose:10", "ms": 12.0, "scores": scores(7), "position_errors_m": [0.5, None, 1.5]},
        {"name": "qe:5", "ms": 0.0, "scores": None, "refused": "few"},
    ]
    row = {"scores": scores(6), "rerankings": rerankings, "variants": {"--scales 0.71,1,1.41": share(5)}}
    row |= {"bytes_in_a_map": 320, "describe_ms": 20.0}
    table = TABLES[name].write({"place_recognition": {"rows": {"GeM, street, day": row}}})
    written = [cell for one in table.rows for cell in one]
    assert all(cell in written for cell in cells)


def trained(hits: int) -> dict[str, Any]:
    tested = {"scores": scores(hits), "bytes_in_a_map": 256, "describe_ms": 8.0}
    return {"day": tested, "night": tested, "cost": {"parameters": 0.7, "gmac": 0.1}, "train_cpu_s": 60.0}


def test_trainings_of_several_seeds_are_one_row() -> None:
    rows = {"GeM, seed 0": trained(4), "GeM, seed 1": trained(8), "NetVLAD, seed 0": trained(5)}
    table = TABLES["place_trainings"].write({"place_training": {"rows": rows}})
    assert [row[:3] for row in table.rows] == [
        ["GeM", "2", "60.0%, 40.0% to 80.0%"],
        ["NetVLAD", "1", "50.0% (10.0% to 90.0%)"],
    ]


def test_the_settings_of_every_training_are_parameters() -> None:
    pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")
    from training.place_recognition.geolocalization.config import build_config

    for one in TRAININGS.values():
        config = build_config("small", [f"{name}={value}" for name, value in {**BASE, **one.settings}.items()])
        assert set(one.teachers) <= {*TRAININGS, "xfeat"}
        assert config.fit.kept == "last"
