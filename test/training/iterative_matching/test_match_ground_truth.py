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

"""True matches of two views follow from depth, from homographies, and from epipolar lines where depth is unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from matcher_views import make_points, see, see_plane, step_aside

from training.iterative_matching.ground_truth import UNKNOWN, UNMATCHED, label_pair, label_strangers, shown_share
from training.iterative_matching.views import PosedGeometry, View, load_view, sample_depth, save_view
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose


def label(first: View, second: View):
    return label_pair(first, second, positive_px=1.0, negative_px=2.0)


def test_keypoints_of_one_point_match() -> None:
    points, descriptors = make_points(0, 60)
    (first, rows), (second, others) = (
        see(points, descriptors, pose, seed=k) for k, pose in enumerate((Pose.identity(), step_aside()))
    )
    found = label(first, second)
    matched = found.first >= 0
    assert matched.sum() > 30
    assert (rows[matched] == others[found.first[matched]]).all()
    assert (found.second[found.first[matched]] == np.flatnonzero(matched)).all()
    alone = ~np.isin(rows, others)
    assert (found.first[alone] < 0).all()


def test_what_is_hidden_has_no_match() -> None:
    """A nearer point appears at the same pixel of the second view: the projections agree in one direction alone."""
    points, descriptors = make_points(0, 40)
    first, _ = see(points, descriptors, Pose.identity(), seed=0)
    second, _ = see(points, descriptors, step_aside(), seed=1)
    assert isinstance(second.geometry, PosedGeometry)
    hidden = replace(second, geometry=replace(second.geometry, depth=second.geometry.depth * np.float32(0.5)))
    assert label(first, hidden).matches == 0
    assert shown_share(first, second) > 0.5 > shown_share(first, hidden)


def test_where_depth_is_unknown_only_epipolar_lines_exclude_a_match() -> None:
    points, descriptors = make_points(0, 60)
    first, rows = see(points, descriptors, Pose.identity(), seed=0)
    second, others = see(points, descriptors, step_aside(1.5), seed=1)
    assert isinstance(first.geometry, PosedGeometry)
    blind = replace(first, geometry=replace(first.geometry, depth=np.full(len(first), np.nan, np.float32)))
    found = label(blind, second)
    assert found.matches == 0
    seen_by_both = np.isin(rows, others)
    assert (found.first[seen_by_both] == UNKNOWN).all()
    assert (found.first == UNMATCHED).any()


def test_versions_of_an_image_match_by_their_homographies() -> None:
    shift = np.array([[1.0, 0.0, 30.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = label(see_plane(np.eye(3)), see_plane(shift))
    assert (found.first[found.first >= 0] == np.flatnonzero(found.first >= 0)).all()
    assert 30 < found.matches < 60
    with pytest.raises(InputError, match="no common scene"):
        label(see_plane(shift), see(*make_points(0), Pose.identity(), seed=0)[0])


def test_different_places_have_no_matches() -> None:
    found = label_strangers(see_plane(np.eye(3)), see_plane(np.eye(3), seed=1))
    assert (found.first == UNMATCHED).all()
    assert found.matches == 0
    view = see_plane(np.eye(3))
    none = label(view, view.select(np.arange(0)))
    assert (len(none.first), len(none.second)) == (60, 0)


def test_depth_at_an_edge_is_unknown() -> None:
    depth = np.full((10, 10), 2.0, np.float32)
    depth[:, 6:], depth[0], depth[9] = 4.0, np.inf, 0.0
    found = sample_depth(depth, np.array([[2.5, 4.5], [5.5, 4.5], [2.5, 0.5], [2.5, 9.5], [8.5, 4.5]], np.float32))
    assert found[[0, 4]] == pytest.approx([2.0, 4.0])
    assert np.isposinf(found[2])
    assert np.isnan(found[[1, 3]]).all()


def test_a_view_is_read_as_it_was_written(tmp_path) -> None:
    for number, view in enumerate((see(*make_points(0), step_aside(), seed=0)[0], see_plane(np.eye(3)))):
        save_view(tmp_path / f"{number}.npz", view)
        read = load_view(tmp_path / f"{number}.npz")
        assert np.array_equal(read.xy, view.xy)
        assert np.array_equal(read.descriptors, view.descriptors)
        assert type(read.geometry) is type(view.geometry)
    (tmp_path / "0.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="remove the cache"):
        load_view(tmp_path / "0.npz")
