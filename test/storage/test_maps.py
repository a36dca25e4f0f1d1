"""Map folders: exact round trips, deterministic content, and every kind of damage refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vloc_ros.core.camera import Camera
from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.descriptors import DescriptorCodec
from vloc_ros.core.errors import MapError
from vloc_ros.core.landmark_map import CovarianceCalibration, Keyframes, LandmarkMap, LandmarkTable, PlaceIndex, Scene
from vloc_ros.storage import map_folders, maps
from vloc_ros.storage.arrays import encoded_array
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.manifests import manifest_bytes
from vloc_ros.storage.maps import map_bytes, map_files, map_hash, read_manifest, read_map, write_map

_POINTS, _KEYFRAMES = 500, 6


def _map(seed: int = 0, points: int = _POINTS) -> LandmarkMap:
    generator = np.random.default_rng(seed)
    seen = [np.sort(generator.choice(points, points // 3, replace=False)) for _ in range(_KEYFRAMES)]
    rotations = np.stack([cv2.Rodrigues(generator.normal(size=3))[0] for _ in range(_KEYFRAMES)])
    places = generator.normal(size=(_KEYFRAMES, 32)).astype(np.float32)
    return LandmarkMap(
        name="kitchen",
        scenes=(Scene("map", range(points), range(_KEYFRAMES), CovarianceCalibration(1.5, np.arange(6) * 1e-4, 40)),),
        points=generator.normal(size=(points, 3)).astype(np.float32),
        landmark_ids=generator.integers(0, 20, points).astype(np.int32),
        landmarks=LandmarkTable(generator.permutation(20) - 7, (np.arange(20) // 6).astype(np.int32)),
        codes=generator.integers(0, 256, (points, 16)).astype(np.uint8),
        codec=DescriptorCodec.fit(generator.normal(size=(100, 24)).astype(np.float32), 16),
        keyframes=Keyframes(
            tuple(f"frame-{k}.jpg" for k in range(_KEYFRAMES)),
            rotations,
            generator.normal(size=(_KEYFRAMES, 3)),
            np.cumsum([0, *(len(s) for s in seen)]),
            np.concatenate(seen).astype(np.int32),
        ),
        extractor=ExtractorConfig(max_keypoints=800),
        places={"vlad": PlaceIndex("abc", places, {"words": generator.normal(size=(4, 16)).astype(np.float32)})},
        metric=False,
        provenance={"images": 6, "from": "a test", "steps": [1, 2]},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_map(_map(), tmp_path / "map")
    return tmp_path / "map"


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it the right hash again: what only the checks behind the hash can find."""
    manifest = read_manifest(folder)
    change(manifest)
    content = {key: value for key, value in manifest.items() if key not in ("format", "version", "hash")}
    (folder / "manifest.json").write_bytes(manifest_bytes(content)[0])


def _swap(folder: Path, name: str, array: np.ndarray) -> None:
    """Put another, well-formed array in the place of one."""
    entry, data = encoded_array(name, array)
    (folder / entry["file"]).write_bytes(data)
    _edit(folder, lambda manifest: manifest["arrays"].update({name: entry}))


def _array_file(folder: Path, name: str) -> Path:
    return folder / str(read_manifest(folder)["arrays"][name]["file"])


def test_round_trip(folder: Path) -> None:
    written, read = _map(), read_map(folder)
    for name in ("points", "landmark_ids", "codes"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name in ("names", "rotations", "translations", "point_offsets", "point_indices"):
        np.testing.assert_array_equal(getattr(read.keyframes, name), getattr(written.keyframes, name))
    np.testing.assert_array_equal(read.descriptors, written.descriptors)
    np.testing.assert_array_equal(read.scene().calibration.floor, written.scene().calibration.floor)
    assert (read.scene().calibration.scale, read.scene().calibration.samples) == (1.5, 40)
    assert (read.name, read.frame_ids, read.metric) == ("kitchen", ("map",), False)
    assert (read.extractor, read.provenance) == (written.extractor, written.provenance)


def test_place_descriptors_keep_eight_bits(folder: Path) -> None:
    written, read = _map().places["vlad"], read_map(folder).places["vlad"]
    step = np.abs(written.descriptors).max() / 127
    assert np.abs(read.descriptors - written.descriptors).max() <= step * 0.501
    assert read.encoder == "abc"
    np.testing.assert_array_equal(read.encoder_arrays["words"], written.encoder_arrays["words"])


def test_the_same_content_gives_the_same_files_wherever_it_comes_from(folder: Path, tmp_path: Path) -> None:
    again = write_map(_map(), tmp_path / "again")
    copy = write_map(read_map(folder), tmp_path / "copy")
    assert again == copy == map_hash(folder)
    assert _contents(folder) == _contents(tmp_path / "again") == _contents(tmp_path / "copy")


def test_other_content_gives_another_hash(folder: Path, tmp_path: Path) -> None:
    assert write_map(_map(seed=1), tmp_path / "other") != map_hash(folder)
    assert write_map(replace(_map(), name="other"), tmp_path / "named") != map_hash(folder)


def test_files_and_bytes(folder: Path, tmp_path: Path) -> None:
    files = map_files(folder)
    assert files[-1][0] == "manifest.json"
    assert dict(files) == {name: len(data) for name, data in _contents(folder).items()}
    assert map_bytes(folder) == sum(size for _, size in files)
    for name, _ in files:  # as the map server hands them out
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert len(read_map(tmp_path).points) == _POINTS


def test_no_places(tmp_path: Path) -> None:
    write_map(replace(_map(), places={}), tmp_path / "map")
    assert read_map(tmp_path / "map").places == {}


def test_no_keyframes_is_no_map() -> None:
    with pytest.raises(MapError, match="no keyframes"):
        Keyframes((), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(1, np.int64), np.zeros(0, np.int32))


def test_a_big_map_is_small_on_disk(tmp_path: Path) -> None:
    """Sorted observations take about a byte each, and codes no more than their bytes."""
    landmark_map = _map(points=5000)
    write_map(landmark_map, tmp_path)
    assert _array_file(tmp_path, "keyframes/point_indices").stat().st_size < len(landmark_map.keyframes.point_indices)
    assert map_bytes(tmp_path) < 5000 * (16 + 12 + 4) + 20_000


def test_writing_over_a_map_sweeps_the_old_arrays(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / ".manifest.json.1.part").write_text("left by a killed build")
    write_map(_map(seed=1), folder)
    assert set(_contents(folder)) == {name for name, _ in map_files(folder)} | {"notes.txt"}
    np.testing.assert_array_equal(read_map(folder).points, _map(seed=1).points)


def test_a_full_disk_leaves_the_old_map(folder: Path, full_disk: int) -> None:
    before = _contents(folder)
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(_map(seed=1, points=full_disk), folder)
    assert _contents(folder) == before


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, full_disk: int) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(_map(points=full_disk), tmp_path / "map")
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("writes", range(13))
def test_an_interruption_at_any_moment_leaves_the_old_map(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """The power goes: not even the sweeping happens."""
    before, write, left = map_hash(folder), maps.write_bytes_atomically, [writes]

    def interrupted(path: Path, data: bytes) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, data)

    monkeypatch.setattr(maps, "write_bytes_atomically", interrupted)
    monkeypatch.setattr(map_folders, "_sweep", lambda _: None)
    names = len(map_files(folder))
    if writes < names:
        with pytest.raises(KeyboardInterrupt):
            write_map(_map(seed=1), folder)
        assert map_hash(folder) == before
        np.testing.assert_array_equal(read_map(folder).points, _map().points)
    else:
        write_map(_map(seed=1), folder)
        np.testing.assert_array_equal(read_map(folder).points, _map(seed=1).points)


def test_two_writers(folder: Path) -> None:
    with map_folders.writing(folder), pytest.raises(StorageError, match="another process is writing"):
        write_map(_map(), folder)
    write_map(_map(), folder)


def test_never_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(StorageError, match=r"holds photo\.jpg and no map"):
        write_map(_map(), tmp_path)
    assert _contents(tmp_path) == {"photo.jpg": b"precious"}
    with pytest.raises(StorageError, match="cannot be written"):
        write_map(_map(), tmp_path / "photo.jpg")


def test_never_over_somebody_elses_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "web page"}')
    with pytest.raises(MapError, match="is not the manifest of a map"):
        write_map(_map(), tmp_path)
    assert _contents(tmp_path) == {"manifest.json": b'{"name": "web page"}'}


def _refused(folder: Path, reason: str) -> None:
    with pytest.raises(MapError, match=reason) as error:
        read_map(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_map(tmp_path: Path) -> None:
    _refused(tmp_path, "holds no map")
    _refused(tmp_path / "none", "holds no map")


def test_every_truncated_file(folder: Path) -> None:
    for name, size in map_files(folder):
        whole = (folder / name).read_bytes()
        for kept in (0, size // 2, size - 3):
            (folder / name).write_bytes(whole[:kept])
            _refused(folder, "cut short|damaged|cannot hold")
        (folder / name).write_bytes(whole)
    read_map(folder)


def test_every_altered_file(folder: Path) -> None:
    for name, size in map_files(folder):
        whole = (folder / name).read_bytes()
        for position in (3, size // 2, size - 6):
            altered = bytearray(whole)
            altered[position] ^= 0x10
            (folder / name).write_bytes(altered)
            with pytest.raises(MapError):
                read_map(folder)
        (folder / name).write_bytes(whole)
    read_map(folder)


def test_every_missing_file(folder: Path) -> None:
    for name, _ in map_files(folder):
        (folder / name).rename(folder / "away")
        _refused(folder, "cannot be read|holds no map")
        (folder / "away").rename(folder / name)


def test_a_well_formed_file_with_other_values(folder: Path) -> None:
    values = read_map(folder).points.copy()
    values[3, 1] += 1
    _array_file(folder, "points").write_bytes(encoded_array("points", values)[1])
    _refused(folder, "was altered, its checksum differs")


def test_a_manifest_edited_by_hand(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"kitchen"', '"bathroom"'))
    _refused(folder, "was altered, its hash does not fit")


@pytest.mark.parametrize("version", [2, 4, "3", None, 3.5])
def test_another_format(folder: Path, version: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    _refused(folder, "has format version .*, this installation reads 3; update")


@pytest.mark.parametrize("file", ["../secret-0123456789abcdef.z", "/etc/passwd", "manifest.json", "", None, "a/b"])
def test_file_names_that_lead_out(folder: Path, file: object) -> None:
    _edit(folder, lambda manifest: manifest["arrays"]["points"].update(file=file))
    _refused(folder, "expected a plain file name")


@pytest.mark.parametrize(
    "shape", [[10**12, 3], [2**62, 2**62], [-1, 3], [500.0, 3], "x", [], [1] * 9, [True, 3], [0, 3], [500, 4]]
)
def test_absurd_shapes_are_refused_before_any_memory_is_taken(folder: Path, shape: object) -> None:
    _edit(folder, lambda manifest: manifest["arrays"]["points"].update(shape=shape))
    _refused(folder, "points")


@pytest.mark.parametrize("dtype", ["object", "O", "complex64", "float16", 3, None, ">f4"])
def test_other_types(folder: Path, dtype: object) -> None:
    _edit(folder, lambda manifest: manifest["arrays"]["points"].update(dtype=dtype))
    _refused(folder, "points")


def test_links_and_devices_are_not_followed(folder: Path) -> None:
    path = _array_file(folder, "points")
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    _refused(folder, "cannot be read")
    path.unlink()
    os.mkfifo(path)
    _refused(folder, "no regular file")


def test_a_file_too_large_for_its_array(folder: Path) -> None:
    path = next(folder.glob("points-*.z"))
    os.truncate(path, 2 * 1024**3)
    _refused(folder, "has 2147483648 bytes, expected at most")


@pytest.mark.parametrize("key", ["arrays", "codec", "keyframes", "extractor", "places", "scenes"])
@pytest.mark.parametrize("value", [None, 3, "x", ["x"], {"a": 1}])
def test_manifests_that_do_not_describe_a_map(folder: Path, key: str, value: object) -> None:
    _edit(folder, lambda manifest: manifest.update({key: value}))
    _refused(folder, ".")


@pytest.mark.parametrize(
    "changes",
    [
        *({"points": n} for n in (0, -1, 10**30, 2**63, 500.5, "500", True, None)),
        *({"keyframes": n} for n in (0, 7, 10**30, "6")),
        *({"frame_id": frame} for frame in ("", "/map", "a b", None, 3, ["map"])),
        *({"calibration": {"scale": s, "floor": [0.0] * 6, "samples": 3}} for s in (-1.0, 0.0, "x")),
    ],
)
def test_scenes_that_cannot_be(folder: Path, changes: dict[str, object]) -> None:
    _edit(folder, lambda manifest: manifest["scenes"][0].update(changes))
    _refused(folder, ".")


@pytest.mark.parametrize("key", ["points", "codec/basis", "keyframes/rotations", "places/vlad/encoder/words"])
def test_arrays_that_are_not_listed(folder: Path, key: str) -> None:
    _edit(folder, lambda manifest: manifest["arrays"].pop(key))
    _refused(folder, f"lists no array {key}")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("points", np.full((_POINTS, 3), np.nan, np.float32), "not finite"),
        ("points", np.zeros((_POINTS, 3)), "points holds float64, expected float32"),
        ("points", np.zeros((_POINTS, 2), np.float32), "do not fit together"),
        ("points", np.zeros((0, 3), np.float32), "no points"),
        ("landmark_ids", np.full(_POINTS, -1, np.int32), "landmark"),
        ("codes", np.zeros((_POINTS, 15), np.uint8), "codes"),
        ("codec/basis", np.zeros((24, 15), np.float32), "basis of shape"),
        ("codec/mean", np.full(24, np.inf, np.float32), "not finite"),
        ("keyframes/point_offsets", np.arange(7)[::-1].copy(), "observations"),
        ("keyframes/point_indices", np.full(996, _POINTS, np.int32), "points that it does not hold"),
        ("keyframes/rotations", np.ones((_KEYFRAMES, 3, 3)), "rotation"),
        ("keyframes/translations", np.full((_KEYFRAMES, 3), np.nan), "not finite"),
        ("places/vlad/descriptors", np.zeros((_KEYFRAMES - 1, 32), np.int8), "one per keyframe"),
    ],
)
def test_arrays_that_do_not_fit(folder: Path, name: str, array: np.ndarray, reason: str) -> None:
    _swap(folder, name, array)
    _refused(folder, reason)


def test_cameras_come_back_each_stored_once(tmp_path: Path) -> None:
    wide, narrow = (Camera("PINHOLE", 640, 480, (f, f, 320.0, 240.0)) for f in (300.0, 900.5))
    cameras = (wide, narrow, wide, wide, narrow, wide)
    write_map(replace(_map(), keyframes=replace(_map().keyframes, cameras=cameras)), tmp_path / "map")
    assert read_map(tmp_path / "map").keyframes.cameras == cameras
    assert len(read_manifest(tmp_path / "map")["cameras"]["calibrations"]) == 2
    _edit(tmp_path / "map", lambda manifest: manifest["cameras"]["of_keyframe"].__setitem__(0, 2))
    _refused(tmp_path / "map", "names a camera beyond")


def test_landmarks_come_back(folder: Path) -> None:
    read, written = read_map(folder).landmarks, _map().landmarks
    np.testing.assert_array_equal(read.keys, written.keys)
    np.testing.assert_array_equal(read.parents, written.parents)
    _swap(folder, "landmarks/keys", np.zeros(20, np.int64))
    _refused(folder, "same key")
