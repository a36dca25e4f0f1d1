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

"""The table of a benchmark: scenes by poses of one kind have one mean."""

from __future__ import annotations

from vloc_ros.evaluation.benchmark_results import format_results


def _result(scene: str, poses: str, recall: float) -> dict[str, object]:
    median = {"median_translation_m": 0.01, "median_rotation_deg": 0.1}
    counts = {"map_images": 1, "queries": 2, "localized": 2}
    scores = {"recall": {"5cm_5deg": recall}, **median}
    return {"status": "done", "scene": scene, "poses": poses, "scores": scores, "groups": {}, **counts}


def test_a_mean_of_every_kind_of_poses() -> None:
    results = [
        _result(scene, poses, recall)
        for scene, poses, recall in (
            ("chess", "published", 0.5),
            ("chess", "sfm", 0.9),
            ("fire", "published", 0.7),
            ("fire", "sfm", 1.0),
        )
    ]
    rows = [line.split() for line in format_results(results, limits=["5cm_5deg"]).splitlines()]
    assert [row for row in rows if row[0] == "mean"] == [["mean", "published", "60.0%"], ["mean", "sfm", "95.0%"]]
    single = format_results(results[:2], limits=["5cm_5deg"])
    assert "mean" not in single
