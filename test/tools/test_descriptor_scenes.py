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

"""Maps and images of benchmarks are made once, and again when their constants changed or the run was interrupted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks import descriptor_scenes, real
from benchmarks.descriptor_scenes import Place

from vloc_ros.simulation.lighting import NIGHT
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map


class Killed(BaseException):
    """The process ended here."""


def write_image(path: Path, *, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(grey).integers(0, 255, (48, 64), np.uint8)
    cv2.imwrite(str(path), cv2.resize(image, (256, 192)))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was written, in order; the images are random."""
    names: list[str] = []

    def write(place: Place, name: str, *_: object) -> None:
        names.append(name)
        place.map.mkdir(parents=True)
        write_image(place.queries / "0.png")

    def relight_folder(images: Path, folder: Path, *_: object) -> None:
        names.append("night")
        write_image(folder / "0.png")

    monkeypatch.setattr(descriptor_scenes, "_write", write)
    monkeypatch.setattr(descriptor_scenes, "relight_folder", relight_folder)
    return names


def test_a_building_is_made_again_when_its_constants_change(
    written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*, rooms: int = 4, seed: int = 1) -> list[str]:
        written.clear()
        descriptor_scenes.building(tmp_path, "house", rooms, seed)
        return list(written)

    assert build() == ["house", "night"]
    assert build() == []
    assert build(rooms=5) == build(rooms=5, seed=2) == ["house", "night"]
    monkeypatch.setattr(descriptor_scenes, "NIGHT", replace(NIGHT, lamps=0.1))
    assert build(rooms=5, seed=2) == ["night"]
    assert build(rooms=5, seed=2) == []


def test_other_places_are_made_again_when_their_constants_change(
    written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptor_scenes, "kitchen", lambda out: Place(out, out, out, ()))
    for _ in range(2):
        descriptor_scenes.other_places(tmp_path)
    monkeypatch.setattr(descriptor_scenes, "OTHER_FRAMES", 41)
    descriptor_scenes.other_places(tmp_path)
    assert written == ["other-places"] * 2


def test_an_interrupted_corridor_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    for k in range(4):
        write_image(data / "images" / f"{k}.png", grey=k)
    (data / "same_place.csv").write_text("query_image,map_image\n2.png,0.png\n3.png,2.png\n")
    monkeypatch.setattr(descriptor_scenes, "scene", lambda _: data)
    monkeypatch.setattr(descriptor_scenes, "CORRIDOR_LAP", 2)

    def killed(_: object, folder: Path) -> None:
        folder.mkdir(parents=True)  # without a manifest
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(descriptor_scenes, "write_map", killed)
        with pytest.raises(Killed):
            descriptor_scenes.corridor(tmp_path)
    place = descriptor_scenes.corridor(tmp_path)
    assert read_map(place.map).keyframes.names == ("0.png", "1.png")
    assert [path.name for path in list_images(place.queries)] == ["2.png", "3.png"]
    assert place.truth[1].read_text() == "query_image,map_image\n2.png,0.png\n"
    first = place.map.stat().st_ctime_ns
    assert descriptor_scenes.corridor(tmp_path).map.stat().st_ctime_ns == first
    monkeypatch.setattr(descriptor_scenes, "CORRIDOR_LAP", 3)
    assert len(read_map(descriptor_scenes.corridor(tmp_path).map).keyframes) == 3


def test_a_map_of_an_earlier_format_is_built_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "build", lambda out, name, *_, **__: (out / "built", 1.0))
    assert real.build_once(tmp_path, "wall") == tmp_path / "built"
    wall = shutil.copytree(place.map, tmp_path / "maps" / "wall")
    assert real.build_once(tmp_path, "wall") == wall
    manifest = wall / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 2}))
    assert real.build_once(tmp_path, "wall") == tmp_path / "built"
