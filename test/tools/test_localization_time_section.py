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

"""The section about the time from an image to a pose."""

from __future__ import annotations

import json

import numpy as np
from benchmarks.localization_time import _enlarge, _figures
from benchmarks.tables.robots import localization_time

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.storage.results import ResultRecord

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))


def test_enlarged_images_have_the_stated_size_and_even_sides() -> None:
    query = Query.single(np.zeros((48, 64, 3), np.uint8), CAMERA, stamp_ns=7)
    (source,) = _enlarge([QuerySource("image", lambda: query, 7)], 0.1)
    enlarged = source.read()
    camera = enlarged.views[0].camera
    assert abs(camera.width * camera.height - 1e5) < 2e3
    assert camera.width % 2 == camera.height % 2 == 0
    assert (enlarged.stamp_ns, source.stamp_ns) == (7, 7)


def test_the_rest_is_all_that_is_not_of_the_features() -> None:
    far = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    times = {"features": 30.0, "matching": 4.0, "verification": 6.0}
    poses = (Pose.identity(), far)
    results = [LocalizationResult(Status.OK, map_from_rig=pose, covariance=np.eye(6), times_ms=times) for pose in poses]
    refused = LocalizationResult.refused(Status.NO_CANDIDATES, "no evidence")
    records = [ResultRecord("image", 0, result) for result in [*results, refused]]
    found = _figures(records, [Pose.identity()] * 3)
    assert json.loads(json.dumps(found)) == found
    assert (found["queries"], found["right"]) == (3, 1)
    assert (found["features_ms"][0], found["rest_ms"][0], found["total_ms"][0]) == (30.0, 10.0, 40.0)


def test_times_are_compared_with_single_images_of_the_same_extractor_and_threads() -> None:
    row = {"queries": 80, "right": 79, "features_ms": [30.0, 33.0], "rest_ms": [10.0, 15.0]}
    rows = [
        {**row, "extractor": extractor, "threads": 1, "images": images, "total_ms": [ms, 60.0]}
        for extractor, images, ms in (
            ("rootsift", "single", 100.0),
            ("rootsift", "tracking", 30.0),
            ("xfeat", "single", 40.0),
        )
    ]
    table = localization_time({"localization_time": {"rows": rows}})
    assert table.rows[0] == ["rootsift", "1", "single", "79/80", "30 / 33", "10 / 15", "100 / 60", "100%"]
    assert [cells[-1] for cells in table.rows] == ["100%", "30%", "100%"]
