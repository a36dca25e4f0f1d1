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

"""The images that a comparison shows are those of the folders that its runs name, and no other files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from plane_scene import SceneFolder
from test_comparison import row, run

from vloc_ros.evaluation.comparison_images import MOST_DIFFERENT, SAMPLED, find_query_images
from vloc_ros.storage.runs import Run


def _in_folder(one: Run, folder: Path) -> Run:
    return replace(one, scores={**one.scores, "run": {"images": str(folder)}})


def test_images_are_found_below_the_folder_of_either_run(scene_folder: SceneFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes((scene_folder.images / "frame-000.png").read_bytes())
    names = ["frame-000.png", "frame-001.png", str(outside), "gone.png", "../camera.yaml"]
    rows = [row(name, 0.01) for name in names]
    runs = [run("before", rows), _in_folder(run("after", rows), scene_folder.images)]
    found = find_query_images(runs, [[one, one] for one in rows])
    assert sorted(found) == [0, 1]
    assert found[0].startswith("data:image/jpeg;base64,")
    assert find_query_images(runs[:1], [[one] for one in rows]) == {}, "it names no folder"


def test_those_that_differ_most_are_shown(scene_folder: SceneFolder, tmp_path: Path) -> None:
    count = 3 * (MOST_DIFFERENT + SAMPLED)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(count):
        (folder / f"{i}.png").hardlink_to(scene_folder.images / "frame-000.png")
    before = [row(f"{i}.png", 0.01) for i in range(count)]
    after = [replace(one, accepted=False, translation_m=None) if i == 100 else one for i, one in enumerate(before)]
    runs = [_in_folder(run(name, rows), folder) for name, rows in (("before", before), ("after", after))]
    found = find_query_images(runs, list(zip(before, after, strict=True)))
    assert 100 in found
    assert len(found) <= MOST_DIFFERENT + SAMPLED
