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

"""Is the calibration of some images wrong? That of the map's own images of the same size may fit them better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource

_TRIED_IMAGES, _LEAST_IMAGES = 8, 3
_TRIED_CAMERAS = 2
# of the size of the image or the focal length; calibrations of one camera differ by less
_SAME_CALIBRATION = 0.01
# a calibration that fits better has so many times the inliers, or localizes so many more of the tried images
_MORE_INLIERS, _MORE_IMAGES = 1.15, 2


def doubt_calibration(localizer: Localizer, sources: Sequence[QuerySource]) -> str:
    """Which calibration of the map's images of the same size fits some of these images better than their own.

    Empty where none does, and where none of that size is known or differs. A wrong focal length is else seen only by
    refusals, or by positions that are off along the line of sight.
    """
    if not localizer.map.keyframes.cameras:
        return ""
    queries = _sample(sources)
    if not all(query.views for query in queries):  # scans
        return ""
    if len(queries) < _LEAST_IMAGES or len({query.views[0].camera for query in queries}) != 1:
        return ""
    given = queries[0].views[0].camera
    others = _cameras_of_map(localizer, given)
    if not others:
        return ""
    accepted, inliers = _localize(localizer, queries, given)
    for camera in others:
        with_it, its_inliers = _localize(localizer, queries, camera)
        more = with_it >= accepted + _MORE_IMAGES
        if more or (with_it >= accepted and its_inliers >= max(1, _MORE_INLIERS * inliers)):
            return (
                f"images are given {_describe(given)}, the map's own images of the same size have {_describe(camera)}, "
                f"which fits better: of {len(queries)} images tried it localizes {with_it}, with {its_inliers} inliers "
                f"in all, that given {accepted}, with {inliers}; check that the calibration is that of these images"
            )
    return ""


def _sample(sources: Sequence[QuerySource]) -> list[Query]:
    """Some of the images of single cameras, evenly spaced."""
    queries = []
    for index in np.unique(np.linspace(0, len(sources) - 1, _TRIED_IMAGES).round().astype(int)) if sources else ():
        try:
            query = sources[index].read()
        except InputError:  # it is named where it is localized
            continue
        if len(query.views) == 1:
            queries.append(query)
    return queries


def _cameras_of_map(localizer: Localizer, given: Camera) -> list[Camera]:
    """Other calibrations for the same size, the most frequent first; none where one of them is the given one."""
    size = given.width, given.height
    counts = Counter(camera for camera in localizer.map.keyframes.cameras if (camera.width, camera.height) == size)
    if any(_are_same(camera, given) for camera in counts):
        return []
    return [camera for camera, _ in counts.most_common(_TRIED_CAMERAS)]


def _are_same(camera: Camera, other: Camera) -> bool:
    apart = np.abs(np.subtract(camera.intrinsics, other.intrinsics))
    scale = np.array([*camera.intrinsics[:2], camera.width, camera.height])
    return bool((apart <= _SAME_CALIBRATION * scale).all())


def _localize(localizer: Localizer, queries: Sequence[Query], camera: Camera) -> tuple[int, int]:
    """How many images are localized with a calibration, and their inliers in all."""
    results = [
        localizer.localize(replace(query, views=(replace(query.views[0], camera=camera),), prior=None))
        for query in queries
    ]
    return sum(result.ok for result in results), sum(result.inliers for result in results if result.ok)


def _describe(camera: Camera) -> str:
    fx, fy, cx, cy = camera.intrinsics
    focal = f"{fx:.1f}" if fx == fy else f"{fx:.1f} and {fy:.1f}"
    return f"a focal length of {focal} px and a principal point at {cx:.1f}, {cy:.1f}"
