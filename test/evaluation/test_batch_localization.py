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

"""Queries are localized in order, after one that only warms up."""

import numpy as np
import pytest

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.evaluation.batch_localization import localize_all, localize_sequence

CAMERA = Camera("SIMPLE_PINHOLE", 4, 3, (4.0, 2.0, 1.5))


class CountingLocalizer:
    """Returns the number of queries so far."""

    def __init__(self) -> None:
        self.queried_ns: list[int] = []
        self.on_request: list[bool] = []

    def localize(self, query: Query, *, on_request: bool = False) -> LocalizationResult:
        self.queried_ns.append(query.stamp_ns)
        self.on_request.append(on_request)
        return LocalizationResult(Status.NO_FEATURES, keypoints=len(self.queried_ns))


def source(stamp_ns: int) -> QuerySource:
    image = np.zeros((3, 4), np.uint8)
    return QuerySource(f"{stamp_ns}.png", lambda: Query.single(image, CAMERA, stamp_ns=stamp_ns))


def test_the_first_image_warms_up_and_its_result_is_dropped():
    localizer, shown = CountingLocalizer(), []
    records = list(localize_all(localizer, [source(s) for s in (5, 6, 7)], progress=lambda q: shown.extend(q) or q))
    assert localizer.queried_ns == [5, 5, 6, 7]
    assert localizer.on_request == [False, True, True, True]
    assert [(r.image, r.stamp_ns, r.result.keypoints) for r in records] == [
        ("5.png", 5, 2),
        ("6.png", 6, 3),
        ("7.png", 7, 4),
    ]
    assert len(shown) == 3


def test_in_sequence_and_for_a_comparison_with_the_node_nobody_requests_a_result() -> None:
    localizer, sources = CountingLocalizer(), [source(s) for s in (5, 6)]
    list(localize_sequence(localizer, sources, [None, None], FixFilter(FixFilterConfig()), progress=lambda q: q))
    list(localize_all(localizer, sources, progress=lambda q: q, on_request=False))
    assert localizer.on_request == [False] * 6


def test_without_sources_there_are_no_results():
    assert list(localize_all(CountingLocalizer(), [], progress=lambda q: q)) == []


def fail() -> Query:
    raise InputError("cut short")


@pytest.mark.parametrize("in_sequence", [False, True])
def test_an_image_that_cannot_be_used_is_refused_with_the_reason(in_sequence: bool) -> None:
    localizer, sources = CountingLocalizer(), [QuerySource("bad.png", fail, 3), source(4)]
    if in_sequence:
        fixes = FixFilter(FixFilterConfig())
        found = localize_sequence(localizer, sources, [None, None], fixes, progress=lambda q: q)
    else:
        found = localize_all(localizer, sources, progress=lambda q: q)
    bad, good = list(found)
    assert (bad.image, bad.stamp_ns, bad.usable, bad.result.reason) == ("bad.png", 3, False, "cut short")
    assert (good.stamp_ns, good.usable) == (4, True)
    assert localizer.queried_ns == [4]
