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

"""Matches in two halves that share no keypoint, to be triangulated at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vloc_ros.core.geometry.pose import Array
from vloc_ros.mapping.sfm.pairs import Pair


def split_matches(matches: Mapping[Pair, Array], keypoints: Sequence[int]) -> list[dict[Pair, Array]]:
    """The matches in two halves of about as many keypoints; keypoints that matches connect stay together.

    A track never leaves the keypoints that are connected to its own, so that points are the same in halves.

    Args:
        matches: (M, 2) keypoint indices by pair of images.
        keypoints: number of keypoints of each image.

    Returns:
        Halves with a match each: fewer than two where all keypoints are connected, or there are no matches.
    """
    starts = np.concatenate([[0], np.cumsum(keypoints)])
    ends = {pair: found + starts[list(pair)] for pair, found in matches.items()}
    first, second = np.concatenate([np.zeros((0, 2), np.int64), *ends.values()]).T
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(starts[-1], starts[-1]))
    _, component = connected_components(edges, directed=False)
    matched = np.zeros(starts[-1], bool)
    matched[first], matched[second] = True, True
    sizes = np.bincount(component, matched)
    largest_first = np.argsort(-sizes, kind="stable")
    is_first = np.empty(len(sizes), bool)
    is_first[largest_first] = np.cumsum(sizes[largest_first]) <= max(sizes.sum() / 2, sizes.max(initial=0.0))
    halves = []
    for half in (is_first, ~is_first):
        mine = {pair: matches[pair][half[component[of_pair[:, 0]]]] for pair, of_pair in ends.items()}
        halves.append({pair: found for pair, found in mine.items() if len(found)})
    return [half for half in halves if half]
