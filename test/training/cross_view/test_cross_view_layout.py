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

"""University-1652's layout: which images are read, positions, overlap, what inspect counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cross_view_world import write_dataset

from training.cross_view.inspect import inspect_dataset
from training.cross_view.layout import POSITIONS, hold_out, read_views
from vloc_ros.core.errors import InputError


def test_places_are_names_of_folders(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    queries = read_views(tmp_path, "test", "drone", is_query=True)
    gallery = read_views(tmp_path, "test", "satellite", is_query=False)
    assert (len(queries), len(gallery)) == (18, 6)
    assert (queries.overlap(gallery).sum(axis=1) == 1).all()
    assert not queries.has_positions


def test_overlap_of_positions_is_intersection_over_union(tmp_path: Path) -> None:
    write_dataset(tmp_path, positions=True)
    gallery = read_views(tmp_path, "test", "satellite", is_query=False)
    # squares of 40 m, 30 m apart: 10 * 40 of 2 * 1600 - 400
    assert gallery.overlap(gallery)[0, :3] == pytest.approx([1.0, 400 / 2800, 0.0])
    assert gallery.is_shown_by(gallery)[0].tolist() == [True] + 5 * [False]
    queries = read_views(tmp_path, "test", "drone", is_query=True)
    near = replace(queries, ground=np.add(queries.ground, [9.0, 0, 0]))  # 9, 10 and 11 m beside the first place
    assert near.is_shown_by(gallery)[:3, 0].tolist() == [True, True, False]
    assert gallery.distance_m(gallery)[0, 2] == pytest.approx(60.0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("40.0,r0", "0,r0"),
        ("40.0,r0", "inf,r0"),
        ("40.0,r0", "4_0,r0"),
        ("file,", "name,"),
        ("query_drone/0000/day-0.jpg", "other.jpg"),
    ],
)
def test_a_bad_table_of_positions_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write_dataset(tmp_path, positions=True)
    path = tmp_path / "test" / POSITIONS
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError):
        read_views(tmp_path, "test", "drone", is_query=True)


def test_headings_are_an_optional_column(tmp_path: Path) -> None:
    assert np.isnan(read_views(write_dataset(tmp_path / "a"), "train", "drone", is_query=True).headings_deg).all()
    write_dataset(tmp_path / "b", positions=True, headings=True)
    path = tmp_path / "b" / "train" / POSITIONS
    path.write_text(path.read_text().replace(",s1,10.0", ",s1,", 1))
    found = read_views(tmp_path / "b", "train", "drone", is_query=True).headings_deg
    np.testing.assert_equal(found[:7], [0, 0, 0, np.nan, 10, 10, 20])
    path.write_text(path.read_text().replace(",s1,10.0", ",s1,north", 1))
    with pytest.raises(InputError, match="north"):
        read_views(tmp_path / "b", "train", "drone", is_query=True)


def test_a_view_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="street"):
        read_views(write_dataset(tmp_path), "test", "street", is_query=True)


def test_a_view_that_has_one_role_has_both(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    paths = [read_views(tmp_path, "test", "drone", is_query=role).paths for role in (True, False)]
    assert paths[0] == paths[1] != ()


def test_inspect_counts_and_names_what_is_missing_and_damaged(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "train" / "satellite" / "0003" / "day-0.jpg").unlink()
    (tmp_path / "test" / "query_drone" / "0000" / "day-0.jpg").write_bytes(b"")
    found = inspect_dataset(tmp_path)
    assert found["views"]["train/drone"] == {"places": 6, "images": 18, "images_per_place": [3, 3, 3]}
    assert found["missing"] == {"train/satellite": ["0003"]}
    assert len(found["damaged"]) == 1


def test_whole_groups_are_held_out() -> None:
    held = hold_out(np.array(["a", "a", "b", "b", "c"]), 0.3)
    assert held.tolist() == [False, False, False, False, True]
    assert not hold_out(np.array(["a", "a"]), 0.3).any()
