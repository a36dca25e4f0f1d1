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

"""Pairs of views of one scene that overlap as much as a training wants."""

from __future__ import annotations

import itertools

import numpy as np

from training.iterative_matching.config import DataConfig
from training.iterative_matching.ground_truth import shown_share
from training.iterative_matching.sources import JoinedViews
from training.iterative_matching.views import PlanarGeometry
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress

# keypoints of a view that tell how much another one shows of it
_SOME = 64
_KNOWN = -1


def find_pairs(views: JoinedViews, data: DataConfig, *, progress: Progress) -> Array:
    """(P, 2) int64 pairs of views, the one with the lower number first.

    Raises:
        InputError: no two views overlap that much.
    """
    found: list[tuple[int, int]] = []
    scenes = views.scenes.copy()
    for known, pairs in views.known_pairs():
        scenes[known.start : known.stop] = _KNOWN
        found += [(first, second) for first, second in pairs.tolist()]
    for scene in progress(np.unique(scenes[scenes != _KNOWN]), description="pairs"):
        members = np.flatnonzero(scenes == scene).tolist()
        of_scene = {index: view for index in members if len(view := views.view(index))}
        parts = {index: view.select(_spread(len(view))) for index, view in of_scene.items()}
        for first, second in itertools.combinations(of_scene, 2):
            planar = isinstance(parts[first].geometry, PlanarGeometry)
            # the less of the two: what is shown of a distant view may be but a corner of it
            share = min(shown_share(parts[first], of_scene[second]), shown_share(parts[second], of_scene[first]))
            # versions of an image may overlap wholly: their light and perspective differ
            if data.least_overlap <= share and (planar or share <= data.most_overlap):
                found.append((first, second))
    if not found:
        raise InputError(
            f"no two images overlap by {data.least_overlap:g} to {data.most_overlap:g}; give more images, or set "
            "data.least_overlap and data.most_overlap"
        )
    return np.array(found, np.int64)


def _spread(count: int) -> Array:
    return np.arange(0, count, max(1, count // _SOME))
