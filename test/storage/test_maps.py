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

"""Maps come back from their folders exactly, and the same content gives the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stored_map import ORIGIN, POINTS, array_file, assert_equal_places, contents, edit, make_map, refused, swap

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.scene import SelfSimilarity
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.maps import map_bytes, map_files, map_hash, read_manifest, read_map, write_map


def test_round_trip(folder: Path) -> None:
    written, read = make_map(), read_map(folder)
    for name in ("points", "landmark_ids", "codes"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name in ("names", "rotations", "translations", "point_offsets", "point_indices"):
        np.testing.assert_array_equal(getattr(read.keyframes, name), getattr(written.keyframes, name))
    every = np.arange(POINTS)
    np.testing.assert_array_equal(read.descriptors_of(every), written.descriptors_of(every))
    np.testing.assert_array_equal(read.scene().origin, ORIGIN)
    np.testing.assert_array_equal(read.scene().calibration.floor, written.scene().calibration.floor)
    assert (read.scene().calibration.scale, read.scene().calibration.samples) == (1.5, 40)
    read_frame, written_frame = read.scene().frame_uncertainty, written.scene().frame_uncertainty
    np.testing.assert_array_equal(read_frame.covariance, written_frame.covariance)
    np.testing.assert_array_equal(read_frame.centre, written_frame.centre)
    np.testing.assert_array_equal(read_frame.bending, written_frame.bending)
    assert read.scene().self_similarity == written.scene().self_similarity != SelfSimilarity()
    assert (read.name, read.frame_ids, read.metric) == ("kitchen", ("map",), False)
    assert read.scene().frame_is_arbitrary
    assert (read.extractor, read.provenance) == (written.extractor, written.provenance)
    assert read.descriptor_statistics == written.descriptor_statistics


@pytest.mark.parametrize(("name", "encoder", "modality"), [("vlad", "abc", "image"), ("scan", "def", "lidar")])
def test_retrieval_indices_keep_eight_bits(folder: Path, name: str, encoder: str, modality: str) -> None:
    written, read = make_map().retrieval[name], read_map(folder).retrieval[name]
    step = np.abs(written.descriptors).max() / 127
    assert np.abs(read.descriptors - written.descriptors).max() <= step * 0.501
    assert (read.name, read.encoder, read.modality) == (name, encoder, modality)
    np.testing.assert_array_equal(read.items, written.items)
    assert set(read.encoder_arrays) == set(written.encoder_arrays)
    for part, array in written.encoder_arrays.items():
        np.testing.assert_array_equal(read.encoder_arrays[part], array)


def test_places_come_back(folder: Path) -> None:
    written, read = make_map().places["lidar"], read_map(folder).places["lidar"]
    assert_equal_places(read, written)
    np.testing.assert_array_equal(read.payloads["points"].of(2), written.payloads["points"].of(2))


def test_cameras_come_back_each_stored_once(tmp_path: Path) -> None:
    wide, narrow = (Camera("PINHOLE", 640, 480, (f, f, 320.0, 240.0)) for f in (300.0, 900.5))
    cameras = (wide, narrow, wide, wide, narrow, wide)
    write_map(replace(make_map(), keyframes=replace(make_map().keyframes, cameras=cameras)), tmp_path / "map")
    assert read_map(tmp_path / "map").keyframes.cameras == cameras
    assert len(read_manifest(tmp_path / "map")["cameras"]["calibrations"]) == 2
    edit(tmp_path / "map", lambda manifest: manifest["cameras"]["of_keyframe"].__setitem__(0, 2))
    refused(tmp_path / "map", "names a camera beyond")


def test_landmarks_come_back(folder: Path) -> None:
    read, written = read_map(folder).landmarks, make_map().landmarks
    np.testing.assert_array_equal(read.keys, written.keys)
    np.testing.assert_array_equal(read.parents, written.parents)
    swap(folder, "landmarks/keys", np.zeros(20, np.int64))
    refused(folder, "same key")


def test_the_same_content_gives_the_same_files_wherever_it_comes_from(folder: Path, tmp_path: Path) -> None:
    again = write_map(make_map(), tmp_path / "again")
    copy = write_map(read_map(folder), tmp_path / "copy")
    assert again == copy == map_hash(folder)
    assert contents(folder) == contents(tmp_path / "again") == contents(tmp_path / "copy")


def test_other_content_gives_another_hash(folder: Path, tmp_path: Path) -> None:
    assert write_map(make_map(seed=1), tmp_path / "other") != map_hash(folder)
    assert write_map(replace(make_map(), name="other"), tmp_path / "named") != map_hash(folder)


def test_only_the_map_that_was_meant_is_replaced(tmp_path: Path) -> None:
    first = write_map(make_map(), tmp_path / "map")
    second = write_map(replace(make_map(), name="other"), tmp_path / "map", replacing=first)
    before = contents(tmp_path / "map")
    with pytest.raises(StorageError, match=f"holds the map {second[:12]} now, expected {first[:12]}"):
        write_map(make_map(), tmp_path / "map", replacing=first)
    assert contents(tmp_path / "map") == before
    with pytest.raises(MapError, match="holds no map"):
        write_map(make_map(), tmp_path / "gone", replacing=first)
    assert not (tmp_path / "gone").exists()


def test_files_and_bytes(folder: Path, tmp_path: Path) -> None:
    files = map_files(folder)
    assert files[-1][0] == "manifest.json"
    assert dict(files) == {name: len(data) for name, data in contents(folder).items()}
    assert map_bytes(folder) == sum(size for _, size in files)
    for name, _ in files:  # as the map server hands them out
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert len(read_map(tmp_path).points) == POINTS


def test_no_places_and_no_retrieval_indices(tmp_path: Path) -> None:
    write_map(replace(make_map(), retrieval={}, places={}), tmp_path / "map")
    assert read_map(tmp_path / "map").retrieval == read_map(tmp_path / "map").places == {}


def test_no_keyframes_is_no_map() -> None:
    with pytest.raises(MapError, match="no keyframes"):
        replace(make_map(), retrieval={}, places={}, keyframes=Keyframes.empty())


def test_a_big_map_is_small_on_disk(tmp_path: Path) -> None:
    """Sorted observations take about a byte each, and codes no more than their bytes."""
    landmark_map = make_map(points=5000)
    write_map(landmark_map, tmp_path)
    assert array_file(tmp_path, "keyframes/point_indices").stat().st_size < len(landmark_map.keyframes.point_indices)
    assert map_bytes(tmp_path) < 5000 * (16 + 12 + 4) + 20_000
