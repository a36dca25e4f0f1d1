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
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from training.iterative_matching.config import DataConfig
from training.iterative_matching.ground_truth import shown_share
from training.iterative_matching.sources import JoinedViews
from training.iterative_matching.views import PlanarGeometry, PosedGeometry, View
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress

# keypoints of a view that tell how much another one shows of it
_SOME = 64
_KNOWN = -1
# views of a large scene that each is compared with, drawn among the nearest
_TRIED, _NEAREST = 100, 400


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
    for pair, overlap in progress(_measure_overlaps(views, scenes), description="pairs"):
        if data.least_overlap <= overlap.share and (overlap.planar or overlap.share <= data.most_overlap):
            found.append(pair)
    if not found:
        raise InputError(
            f"no two images overlap by {data.least_overlap:g} to {data.most_overlap:g}; give more images, or set "
            "data.least_overlap and data.most_overlap"
        )
    return np.array(found, np.int64)


class _Overlap(NamedTuple):
    """Of two views: the less of their shares, since what is shown of a distant view may be but a corner of it.

    Versions of an image (`planar`) may overlap wholly: their light and perspective differ.
    """

    share: float
    planar: bool


def _measure_overlaps(views: JoinedViews, scenes: Array) -> Iterator[tuple[tuple[int, int], _Overlap]]:
    """The candidate pairs of each scene, in order."""
    for scene in np.unique(scenes[scenes != _KNOWN]):
        members = np.flatnonzero(scenes == scene).tolist()
        of_scene = {index: view for index in members if len(view := views.view(index))}
        parts = {index: view.select(_spread(len(view))) for index, view in of_scene.items()}
        for first, second in _list_candidates(parts):
            share = min(shown_share(parts[first], of_scene[second]), shown_share(parts[second], of_scene[first]))
            yield (first, second), _Overlap(share, isinstance(parts[first].geometry, PlanarGeometry))


def _list_candidates(parts: Mapping[int, View]) -> list[tuple[int, int]]:
    """All pairs of a small scene; of a large one, for each view some of those whose keypoints have the nearest middle.

    They are drawn: all nearest ones of a dense sequence would be views that overlap too much.
    """
    if len(parts) <= _TRIED + 1:
        return list(itertools.combinations(parts, 2))
    middles = {index: _middle(part) for index, part in parts.items()}
    known = [index for index, middle in middles.items() if np.isfinite(middle).all()]
    if len(known) < 2:
        return []
    points = np.array([middles[index] for index in known])
    _, nearest = cKDTree(points).query(points, k=min(len(known), _NEAREST + 1))
    rng, found = np.random.default_rng(0), set()
    for row, neighbours in enumerate(nearest):
        drawn = rng.permutation(neighbours[neighbours != row])[:_TRIED]
        found |= {(min(row, other), max(row, other)) for other in drawn.tolist()}
    return [(known[first], known[second]) for first, second in sorted(found)]


def _middle(view: View) -> Array:
    """(3,) median of the points that keypoints of known depth show, in the scene; NaN without any."""
    geometry = view.geometry
    assert isinstance(geometry, PosedGeometry), "versions of an image are few"
    known = np.isfinite(geometry.depth)
    if not known.any():
        return np.full(3, np.nan)
    points = geometry.camera.unproject(view.xy[known]) * geometry.depth[known, None]
    return np.asarray(np.median(geometry.scene_from_camera.apply(points), axis=0))


def _spread(count: int) -> Array:
    return np.arange(0, count, max(1, count // _SOME))
