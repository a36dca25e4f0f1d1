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

import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain import SIZE_M, make_ground

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo import xyz_ground
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.geo.ground_tiles import lay_blocks
from vloc_ros.geo.xyz_folders import open_xyz_folder, read_tile
from vloc_ros.geo.xyz_ground import XyzGround, read_xyz
from vloc_ros.storage.maps import read_map

_GROUND = make_ground(5, side_px=700)
_DATUM = Datum(46.84, -91.99)
_ZOOM = 19  # 0.2043 m at that latitude


def _project(latitude: Array, longitude: Array, zoom: int) -> tuple[Array, Array]:
    """Columns and rows of the world in tiles of a zoom, by the formulas of OpenStreetMap's wiki."""
    column = (longitude + 180.0) / 360.0 * 2**zoom
    phi = np.radians(latitude)
    row = (1.0 - np.log(np.tan(phi) + 1.0 / np.cos(phi)) / np.pi) / 2.0 * 2**zoom
    return column, row


def _write(folder: Path, ground: GroundImage, datum: Datum, zoom: int, *, transparent: bool = False) -> Path:
    """The tiles of some ground around a datum; beyond its edges they are black or transparent."""
    half_m = ground.ground_size_m * ground.shown.shape[0] / 2
    corners = [datum.geodetic(np.array([x * half_m, y * half_m, 0.0])) for x, y in ((-1, 1), (1, -1))]
    (left, right), (top, bottom) = _project(*np.array(corners)[:, :2].T, zoom)
    if right < left:  # across the date line
        right += 2**zoom
    inner = (np.arange(256) + 0.5) / 256
    for x in range(int(left), int(right) + 1):
        for y in range(int(top), int(bottom) + 1):
            column, row = np.meshgrid(x + inner, y + inner)
            latitude = np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * row / 2**zoom))))
            place = datum.local(latitude, column / 2**zoom * 360.0 - 180.0)
            u = ((place[..., 0] - ground.left_m) / ground.ground_size_m - 0.5).astype(np.float32)
            v = ((ground.top_m - place[..., 1]) / ground.ground_size_m - 0.5).astype(np.float32)
            pixels = cv2.remap(ground.image, u, v, cv2.INTER_LINEAR)
            if transparent:
                inside = cv2.remap(ground.shown.astype(np.uint8) * 255, u, v, cv2.INTER_LINEAR)
                pixels = np.dstack([pixels, np.where(inside == 255, 255, 0).astype(np.uint8)])
            file = folder / str(zoom) / str(x % 2**zoom) / f"{y}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), pixels)
    return folder


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("xyz"), _GROUND, _DATUM, _ZOOM, transparent=True)


@pytest.fixture
def own_tiles(tiles: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return Path(shutil.copytree(tiles, tmp_path / "own"))


def _shift_m(source_at: Array, ground: GroundImage, place: Array, size_m: float) -> float:
    """How far a part of a raster lies from the same part of the true ground around (2,) metres of its frame."""
    side, x, y = source_at.shape[0], (place[0] - ground.left_m), (ground.top_m - place[1])
    offset = (np.arange(side) - (side - 1) / 2) * size_m
    u, v = np.meshgrid((x + offset) / ground.ground_size_m - 0.5, (y + offset) / ground.ground_size_m - 0.5)
    true = cv2.remap(ground.image, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    one, other = (np.ascontiguousarray(image.mean(axis=2, dtype=np.float64)) for image in (source_at, true))
    found, response = cv2.phaseCorrelate(one, other, cv2.createHanningWindow((side, side), cv2.CV_64F))
    assert response > 0.5
    return float(np.hypot(*found)) * size_m


@pytest.mark.parametrize(
    ("datum", "zoom"),
    [
        (_DATUM, 19),
        (Datum(0.0, 12.0), 19),  # pixels of a sphere: 0.7 % longer from west to east than from south to north
        (Datum(69.65, 18.96), 20),
        (Datum(-16.5, 179.9998), 19),
    ],
)
def test_every_place_is_where_the_ellipsoid_has_it(tmp_path: Path, datum: Datum, zoom: int) -> None:
    source = read_xyz(_write(tmp_path, _GROUND, datum, zoom))
    raster = source.ground[0]
    assert raster.ground_size_m == pytest.approx(
        2 * np.pi * 6378137.0 * np.cos(np.radians(datum.latitude)) / (256 << zoom), rel=0.004
    )
    width, height = raster.size
    for column, row in ((width // 2, height // 2), (width // 4, height // 4), (3 * width // 4, height // 3)):
        part, shown = raster.read(slice(row - 48, row + 48), slice(column - 48, column + 48))
        assert shown.all()
        size_m = raster.ground_size_m
        place = np.array([raster.left_m + size_m * column, raster.top_m - size_m * row, 0.0])
        on_ground = datum.local(*source.datum.geodetic(place)[:2])
        assert _shift_m(part, _GROUND, on_ground, size_m) < 0.2 * size_m


def test_coarser_pixels_are_means_of_the_finer_ones(tiles: Path) -> None:
    fine = read_xyz(tiles).ground[0]
    for factor in (1.7, 2.0, 5.0):
        raster = fine.resample(factor * fine.ground_size_m)
        side = int(400 / factor)
        coarse, shown = raster.read(slice(int(150 / factor), int(150 / factor) + side), slice(0, None))
        assert coarse.shape[1] == raster.size[0]
        assert not shown.all()  # the edges of the ground are transparent
        middle = raster.size[0] // 2
        part = coarse[:, middle - side // 2 : middle + side // 2]
        exact = fine.read(
            slice(int(150 / factor * factor), int(150 / factor * factor) + int(side * factor)),
            slice(int((middle - side // 2) * factor), int((middle + side // 2) * factor)),
        )[0]
        mean = cv2.resize(exact, part.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(part.astype(float) - mean).mean() < 8.0


def test_missing_tiles_are_holes_and_counted(own_tiles: Path) -> None:
    whole = open_xyz_folder(own_tiles)
    hole = (whole.west + 1, whole.north + 1)
    whole.files[hole].rename(own_tiles / "hole.png")
    found = open_xyz_folder(own_tiles)
    assert f"1 of their rectangle of {whole.columns}x{whole.rows} missing" in found.notes[0]
    everything = slice(0, None), slice(0, None)
    _, shown = read_xyz(own_tiles).ground[0].read(*everything)
    assert not shown[300:450, 300:450].any()
    (own_tiles / "hole.png").rename(whole.files[hole])
    _, before = read_xyz(own_tiles).ground[0].read(*everything)
    assert before[300:450, 300:450].all()
    assert (before & ~shown).sum() == pytest.approx(256**2, rel=0.02)


def test_blocks_without_tiles_are_not_read(tmp_path: Path) -> None:
    _write(tmp_path, _GROUND, _DATUM, _ZOOM)
    latitude, longitude, _ = _DATUM.geodetic(np.array([700.0, 500.0, 0.0]))
    _write(tmp_path, _GROUND, Datum(latitude, longitude), _ZOOM)
    ground = read_xyz(tmp_path).ground[0]
    sizes_m = [ground.ground_size_m, 2 * ground.ground_size_m]
    laid = {(block.name, block.squares) for block in lay_blocks([ground], sizes_m, tile_px=256)}
    shown = set()
    for size_m in sizes_m:
        raster = ground.resample(size_m)
        for block in lay_blocks([GroundImage(*raster.read(slice(0, None), slice(0, None)), 0.0, 0.0, size_m)], [size_m],
                                tile_px=256):  # fmt: skip
            shown.add((block.name, block.squares))
    assert shown <= laid
    assert len(laid) <= 1.5 * len(shown)


def test_tiles_that_repeat_one_picture_show_no_ground(own_tiles: Path) -> None:
    files = open_xyz_folder(own_tiles).files
    sign = cv2.putText(np.full((256, 256, 3), 200, np.uint8), "no imagery", (20, 120), 0, 1.0, (0, 0, 0))
    some = sorted(files)[:2]
    for tile in some:
        cv2.imwrite(str(files[tile]), sign)
    found = open_xyz_folder(own_tiles)
    assert not set(some) & set(found.files)
    assert "2 of them since they repeat one picture" in found.notes[0]
    for file in found.files.values():
        cv2.imwrite(str(file), sign)
    with pytest.raises(InputError, match=r"all .* show the same"):
        open_xyz_folder(own_tiles)


def _rename(folder: Path, to: Path, *, transpose: bool = False, south: bool = False) -> Path:
    """The same files numbered in another order."""
    for file in (folder / str(_ZOOM)).glob("*/*.png"):
        x, y = int(file.parent.name), int(file.stem)
        y = 2**_ZOOM - 1 - y if south else y
        x, y = (y, x) if transpose else (x, y)
        new = to / str(_ZOOM) / str(x) / f"{y}.png"
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, new)
    return to


def test_rows_that_count_from_the_south_are_told_by_the_seams(tiles: Path, tmp_path: Path) -> None:
    south = _rename(tiles, tmp_path / "tms", south=True)
    with pytest.raises(InputError, match=r"count from the south .*--tms"):
        open_xyz_folder(south)
    with pytest.raises(InputError, match=r"count from the north .*leave out --tms"):
        open_xyz_folder(tiles, tms=True)
    assert open_xyz_folder(south, tms=True).files.keys() == open_xyz_folder(tiles).files.keys()


def test_rows_before_columns_are_told_by_the_seams(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="z/y/x"):
        open_xyz_folder(_rename(tiles, tmp_path / "zyx", transpose=True))


def test_what_cannot_be_checked_is_said(own_tiles: Path) -> None:
    for number, file in enumerate(open_xyz_folder(own_tiles).files.values()):
        grey = np.full((256, 256), 90, np.uint8)
        grey[100, number] = 91  # water: no two tiles are the same, none has texture
        cv2.imwrite(str(file), grey)
    found = open_xyz_folder(own_tiles)
    assert "not known" in found.notes[1]
    out = own_tiles / "map"
    assert main(["map", "aerial", "build", str(out), "--xyz", str(own_tiles)]) == 1
    assert not out.exists()


def test_a_single_row_says_that_no_seam_was_compared(own_tiles: Path) -> None:
    whole = open_xyz_folder(own_tiles)
    for (_, y), file in whole.files.items():
        if y != whole.north:
            file.unlink()
    assert "no tile has a neighbour" in open_xyz_folder(own_tiles).notes[1]


def test_tiles_of_formats_that_are_not_read_are_counted(own_tiles: Path) -> None:
    files = open_xyz_folder(own_tiles).files
    first, second, third = list(files.values())[:3]
    first.rename(first.with_suffix(".webp"))
    second.rename(second.with_suffix(".TIF"))
    third.with_suffix(".pgw").write_text("0.2\n")  # beside the tile that it describes
    notes = open_xyz_folder(own_tiles).notes
    assert [note for note in notes if "passed over" in note] == [
        f"1 .{suffix} tiles of zoom {_ZOOM} are passed over: convert them to .png" for suffix in ("tif", "webp")
    ]
    for file in list(files.values())[2:]:
        file.unlink()
    with pytest.raises(InputError, match=r"found 1 \.pgw files .*, 1 \.tif files .*, 1 \.webp files of zoom 19"):
        open_xyz_folder(own_tiles)


def test_two_files_of_one_tile_are_refused(own_tiles: Path) -> None:
    file = next(iter(open_xyz_folder(own_tiles).files.values()))
    for other in (file.with_suffix(".jpg"), file.with_stem(f"0{file.stem}")):
        cv2.imwrite(str(other), _GROUND.image[:256, :256])
        with pytest.raises(InputError, match="is the same tile as"):
            open_xyz_folder(own_tiles)
        other.unlink()
    again = own_tiles / f"0{_ZOOM}" / file.parent.name
    shutil.copytree(file.parent, again)
    with pytest.raises(InputError, match="is the same tile as"):
        open_xyz_folder(own_tiles)


def test_tiles_that_are_no_files_are_refused(own_tiles: Path) -> None:
    file = next(iter(open_xyz_folder(own_tiles).files.values()))
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match="expected a file with a tile"):
        open_xyz_folder(own_tiles)
    file.rmdir()
    file.symlink_to(own_tiles / "nothing.png")
    with pytest.raises(InputError, match="expected a file with a tile"):
        open_xyz_folder(own_tiles)


def test_the_zoom_follows_from_what_is_wanted(own_tiles: Path) -> None:
    coarser = make_ground(5, side_px=700)
    _write(own_tiles, coarser, _DATUM, _ZOOM - 1)
    assert open_xyz_folder(own_tiles).zoom == _ZOOM
    assert open_xyz_folder(own_tiles, ground_size_m=0.41).zoom == _ZOOM - 1
    assert open_xyz_folder(own_tiles, ground_size_m=0.3).zoom == _ZOOM
    assert open_xyz_folder(own_tiles, zoom=_ZOOM - 1).ground_size_m == pytest.approx(0.4092, rel=1e-3)
    with pytest.raises(InputError, match="no tiles of zoom 15, found 18, 19"):
        open_xyz_folder(own_tiles, zoom=15)
    with pytest.raises(InputError, match="finer"):
        read_xyz(own_tiles, ground_size_m=0.1)
    for file in sorted((own_tiles / str(_ZOOM)).iterdir())[1:]:
        shutil.rmtree(file)
    assert f"--zoom {_ZOOM - 1}" in open_xyz_folder(own_tiles).notes[-1]


def test_a_zoom_of_few_tiles_does_not_win_over_a_finer_one_that_shows_more(own_tiles: Path) -> None:
    whole = open_xyz_folder(own_tiles)
    inside, far = (
        own_tiles / f"{_ZOOM - 1}/{whole.west // 2}/{whole.north // 2}.png",
        own_tiles / f"{_ZOOM + 1}/0/0.png",
    )
    for file in (inside, far):
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), _GROUND.image[:256, :256])
    assert open_xyz_folder(own_tiles, ground_size_m=0.41).zoom == _ZOOM
    assert f"tiles of zoom {_ZOOM} show other ground" in open_xyz_folder(own_tiles, zoom=_ZOOM - 1).notes[-1]
    assert f"1 of 1 tiles of zoom {_ZOOM + 1} show other" in open_xyz_folder(own_tiles, ground_size_m=0.41).notes[-1]


@pytest.mark.parametrize(
    ("profile", "ok"), [("mercator", True), ("global-mercator", True), ("geodetic", False), ("raster", False)]
)
def test_tiles_of_another_projection_are_refused(own_tiles: Path, profile: str, ok: bool) -> None:
    (own_tiles / "tilemapresource.xml").write_text(
        f'<TileMap>\n <TileSets profile="{profile}">\n </TileSets></TileMap>'
    )
    if ok:
        open_xyz_folder(own_tiles)
        return
    with pytest.raises(InputError, match=profile):
        open_xyz_folder(own_tiles)


def test_damaged_folders_are_refused(own_tiles: Path, tmp_path: Path) -> None:
    files = open_xyz_folder(own_tiles).files
    for path, reason in (
        (tmp_path / "nothing", "cannot be listed"),
        (own_tiles / str(_ZOOM), "columns of one zoom"),
        (next(iter(files.values())).parent, "holds no tiles"),
    ):
        with pytest.raises(InputError, match=reason):
            open_xyz_folder(path)
    beyond = own_tiles / "3" / "9" / "1.png"
    beyond.parent.mkdir(parents=True)
    shutil.copy(next(iter(files.values())), beyond)
    with pytest.raises(InputError, match="expected numbers below 8"):
        open_xyz_folder(own_tiles)
    shutil.rmtree(own_tiles / "3")
    far = own_tiles / str(_ZOOM) / "0" / "0.png"
    far.parent.mkdir(parents=True)
    cv2.imwrite(str(far), _GROUND.image[:256, :256])
    with pytest.raises(InputError, match="km from their middle"):
        read_xyz(own_tiles)
    far.unlink()
    last = files[max(files)]
    cv2.imwrite(str(last), _GROUND.image[:128, :128])
    raster = read_xyz(own_tiles).ground[0]
    with pytest.raises(InputError, match="has 128x128 pixels, expected 256x256"):
        raster.read(slice(0, None), slice(0, None))
    last.write_bytes(last.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        read_xyz(own_tiles).ground[0].read(slice(0, None), slice(0, None))


def _png_of(width: int, height: int) -> bytes:
    """A PNG file of zeros, of a few bytes for a million pixels."""
    rows = zlib.compress(bytes((width + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("side", [0, 2049])
def test_tiles_of_sizes_that_none_has_are_named_and_not_decoded(
    own_tiles: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    first = own_tiles / "1" / "0" / "0.png"  # alone in its zoom: its size is that of all
    first.parent.mkdir(parents=True)
    first.write_bytes(_png_of(side, side))
    with pytest.raises(InputError, match="expected 1 to 2048 each way"):
        read_tile(first)
    with pytest.raises(InputError, match=f"0.png: has {side}x{side} pixels"):
        open_xyz_folder(own_tiles, zoom=1)


def test_seams_hold_two_tiles_in_memory_at_a_time(own_tiles: Path) -> None:
    side = 1024
    files = open_xyz_folder(own_tiles).files
    for number, file in enumerate(files.values()):
        cv2.imwrite(str(file), np.full((side, side, 3), number, np.uint8))
    tracemalloc.start()
    open_xyz_folder(own_tiles)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(files) > 12
    assert peak < 12 * side**2 * 3


def test_kept_tiles_have_a_budget_in_bytes(own_tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xyz_ground, "_KEPT_BYTES", 3 * 4 * 256**2)
    fine = XyzGround.of(open_xyz_folder(own_tiles), _DATUM)
    coarse = fine.resample(2 * fine.ground_size_m)
    kept = []
    for raster in (fine, coarse):
        raster.read(slice(0, None), slice(0, None))
        kept.append(raster._read_tile.cache_info().currsize)
    assert kept == [3, 12]


def test_the_command_makes_a_map_of_xyz_tiles(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "aerial", "build", str(tmp_path / "map"), "--xyz", str(tiles), "--datum-std", "2.5"]) == 0
    assert "zoom 19" in capsys.readouterr().out
    read = read_map(tmp_path / "map")
    datum = read.scenes[0].datum
    assert datum is not None
    assert datum.position_std_m == 2.5
    assert np.abs(_DATUM.local(datum.latitude, datum.longitude)).max() < 60.0
    assert len(read.places[AERIAL]) > 10
    assert min(read.places[AERIAL].extents[:, 0]) == pytest.approx(384 * SIZE_M, rel=0.03)
    assert main(["map", "aerial", "build", str(tmp_path / "b"), "--geotiff", "a.tif", "--tms"]) == 1
    assert "go with --xyz" in capsys.readouterr().err
    for std in ("-1", "nan"):
        assert main(["map", "aerial", "build", str(tmp_path / "b"), "--xyz", str(tiles), "--datum-std", std]) == 1
        assert "--datum-std is" in capsys.readouterr().err
    words = ["map", "aerial", "build", str(tmp_path / "b"), "--photos", "a", "--exif", "b", "--datum-std", "1"]
    assert main(words) == 1
    assert "--datum-std goes with" in capsys.readouterr().err
