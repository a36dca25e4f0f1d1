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

"""Keypoints from a score map: non-maximum suppression, the strongest, sub-pixel positions."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.model_export.detection import fit_peaks, gather_patches, max_pool, select_strongest


def strongest(score_map, count, *, is_candidate=None):
    every = torch.ones_like(score_map, dtype=torch.bool) if is_candidate is None else is_candidate
    scores, pixels = select_strongest(score_map, every, count=torch.tensor([count]))
    return scores.tolist(), pixels.tolist()


def test_the_maximum_is_over_a_square() -> None:
    score_map = torch.zeros(7, 9)
    score_map[3, 4] = 1
    expected = torch.zeros(7, 9)
    expected[1:6, 2:7] = 1
    assert torch.equal(max_pool(score_map, 2), expected)


def test_the_strongest_come_in_order_as_x_and_y() -> None:
    score_map = torch.zeros(3, 5)
    score_map[2, 1], score_map[0, 4], score_map[1, 0] = 0.5, 0.75, 0.25
    assert strongest(score_map, 2) == ([0.75, 0.5], [[4, 0], [1, 2]])
    assert strongest(score_map, 9) == ([0.75, 0.5, 0.25], [[4, 0], [1, 2], [0, 1]])


def test_there_may_be_no_keypoint_and_more_may_be_wanted_than_there_are_pixels() -> None:
    assert strongest(torch.ones(2, 3), 0) == ([], [])
    assert strongest(torch.ones(2, 3), -1) == ([], [])
    assert strongest(torch.ones(2, 3), 100, is_candidate=torch.zeros(2, 3, dtype=torch.bool)) == ([], [])
    assert len(strongest(torch.ones(2, 3), 100)[0]) == 6


def test_patches_are_centred_and_replicated_at_the_border() -> None:
    score_map = torch.arange(12.0).reshape(3, 4)
    inner, corner = gather_patches(score_map, torch.tensor([[1, 1], [3, 2]]), radius=1)
    assert inner.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    assert corner.tolist() == [[6, 7, 7], [10, 11, 11], [10, 11, 11]]


@given(x=st.floats(-0.49, 0.49), y=st.floats(-0.49, 0.49), sigma=st.floats(0.6, 3))
def test_the_peak_of_a_gaussian_is_found_exactly(x: float, y: float, sigma: float) -> None:
    columns, rows = np.meshgrid(np.arange(-1, 2), np.arange(-1, 2))
    peak = 0.3 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    found = fit_peaks(torch.from_numpy(peak[None].astype(np.float32)))
    assert np.allclose(found, [[x, y]], atol=1e-3)


def test_a_flat_patch_and_one_without_scores_have_their_peak_in_the_centre() -> None:
    patches = torch.stack((torch.full((3, 3), 0.2), torch.zeros(3, 3)))
    assert torch.equal(fit_peaks(patches), torch.zeros(2, 2))
