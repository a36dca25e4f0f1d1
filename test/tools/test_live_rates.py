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

"""The table of live rates: its rows, its counts, and images of another size."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.live_robot import resize_images
from benchmarks.tables.robots import live_rates
from live_rates import Row, choose_rows, summarize

from vloc_ros.core.geometry.camera import Camera


def test_the_rows_are_both_transports_with_both_sizes_and_rates() -> None:
    rows = choose_rows()
    assert len(rows) == len(set(rows)) == 12
    assert {row.driver for row in rows if row.transport == "compressed"} == {"best_effort"}
    assert choose_rows("compressed", "reliable", "640x480", 30) == [Row("compressed", "reliable", "640x480", 30)]


@pytest.mark.parametrize(
    ("statuses", "enough"),
    [
        (["OK"] * 100, "yes"),
        (["OK"] * 50 + ["DROPPED"] * 45, "yes"),
        (["OK"] * 50 + ["DROPPED"] * 44, "no"),
        (["OK"] * 99 + ["NO_ODOMETRY"], "yes"),
        (["OK"] * 50 + ["NO_ODOMETRY"] + ["DROPPED"] * 49, "no"),
        ([], "no"),
    ],
)
def test_enough_is_a_status_for_most_images_and_odometry_for_almost_all(statuses: list[str], enough: str) -> None:
    line = summarize(range(100), dict(enumerate(statuses)), [10.0, 20.0] if statuses else [])
    assert (line["images"], line["statuses"], line["enough"]) == (100, len(statuses), enough)
    assert line["DROPPED"] == statuses.count("DROPPED")
    assert line["p50 ms"] == (15 if statuses else "none")


def test_statuses_of_other_images_do_not_count() -> None:
    assert summarize([1, 2], {1: "OK", 7: "OK", 8: "NO_ODOMETRY"}, [5.0])["statuses"] == 1


def test_the_table_has_what_was_counted() -> None:
    counts = summarize(range(4), {0: "OK", 1: "OK", 2: "DROPPED"}, [10.0, 20.0])
    line = {"transport": "raw", "driver": "best_effort", "size": "640x480", "Hz": 30} | counts
    table = live_rates({"live_rates": {"rows": [line | {"localizer %": 90, "robot %": 20}]}})
    cells = {name: table.cell("raw + best effort + 640x480 + 30", name) for name in table.header[4:]}
    assert list(cells.values()) == ["4", "3", "2", "1", "0", "15 / 20", "90", "20"]


def test_a_resized_image_shows_a_point_where_its_camera_projects_it() -> None:
    camera = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
    image = np.zeros((48, 64, 3), np.uint8)
    image[20, 40] = 255
    wide, (resized,) = resize_images(camera, [image], 128, 72)
    assert (wide.width, wide.height) == (128, 72)
    assert resized.shape == (72, 128, 3)
    u, v = wide.project(np.append((np.array([40.5, 20.5]) - [32.0, 24.0]) / 50.0, 1.0))[0]
    row, column = np.unravel_index(resized[:, :, 0].argmax(), resized.shape[:2])
    assert abs(column + 0.5 - u) <= 1.0
    assert abs(row + 0.5 - v) <= 1.0
