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
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain import CAMERA, SIZE_M, look_down, make_ground, photograph

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo.aerial_sources import read_geotiff, read_photos, read_tiles
from vloc_ros.geo.mosaic_adjustment import MosaicProblem, Overlap
from vloc_ros.geo.photo_mosaic import Mosaic, Photo, render_mosaic, solve_mosaic
from vloc_ros.geo.position_tables import column_of, read_positions, read_table
from vloc_ros.storage.maps import read_map

pytestmark = pytest.mark.usefixtures("each_image_once")

_GROUND = make_ground(3)
_HEIGHT_M = 60.0
_DATUM = Datum(46.84, -91.99)


def _poses() -> list[tuple[float, float, float]]:
    """Places and yaws of a flight in rows, a photograph turned round among them."""
    return [
        (x, y, 0.1 * k + np.pi * (k == 4)) for k, (x, y) in enumerate((x, y) for y in (-20, 12) for x in (-25, 5, 35))
    ]


def _photo(name: str, image: Array, position: Array) -> Photo:
    return Photo(name, (CAMERA.width, CAMERA.height), lambda: image, position, CAMERA.parameters[0], _HEIGHT_M)


@cache
def _photos() -> list[Photo]:
    rng = np.random.default_rng(6)
    return [
        _photo(
            f"{k}.png",
            photograph(_GROUND, look_down(x, y, _HEIGHT_M, yaw=yaw)),
            np.array([x, y]) + rng.normal(0.0, 0.4, 2),
        )
        for k, (x, y, yaw) in enumerate(_poses())
    ]


def test_photographs_are_placed_by_their_overlaps() -> None:
    water = _photo("water.png", np.full((360, 480, 3), 120, np.uint8), np.zeros(2))
    photos = [*_photos(), water]
    mosaic = solve_mosaic(photos)
    assert mosaic.left_out == ("water.png",)
    assert mosaic.ground_size_m == pytest.approx(_HEIGHT_M / CAMERA.parameters[0], rel=0.02)
    truth = np.array(_poses())
    assert np.linalg.norm(mosaic.positions - truth[:, :2], axis=1).max() < 1.0
    turns = np.angle(mosaic.turns * np.exp(-1j * truth[:, 2]))
    assert np.abs(turns).max() < np.radians(2.0)
    ground = render_mosaic(photos, mosaic, ground_size_m=SIZE_M)
    column, row = round((5.0 - ground.left_m) / SIZE_M), round((ground.top_m + 4.0) / SIZE_M)
    at = round((5.0 - _GROUND.left_m) / SIZE_M), round((_GROUND.top_m + 4.0) / SIZE_M)
    there, here = (
        cv2.GaussianBlur(image, (0, 0), 2.0)[y - 20 : y + 20, x - 20 : x + 20].astype(float)
        for image, (x, y) in ((ground.image, (column, row)), (_GROUND.image, at))
    )
    found = cv2.phaseCorrelate(there.mean(axis=2), here.mean(axis=2))[0]
    assert np.hypot(*found) * SIZE_M < 1.0


@pytest.mark.parametrize("coarser", [1.5, 2.7, 20.0])
def test_a_mosaic_may_be_much_coarser_than_its_photographs(coarser: float) -> None:
    size_m, image = 0.15, np.zeros((360, 480, 3), np.uint8)
    image[:, 180:] = 240
    transform = np.array([[size_m, 0.0, 0.0], [0.0, -size_m, 0.0], [0.0, 0.0, 1.0]])
    mosaic = Mosaic(
        np.array([0]), transform[None], np.zeros((1, 2)), np.array([size_m + 0j]), np.zeros(1), np.zeros(1), 0, ()
    )
    ground = render_mosaic([_photo("a.png", image, np.zeros(2))], mosaic, ground_size_m=coarser * size_m)
    middle = ground.image[ground.image.shape[0] // 2, :, 0].astype(float)
    dark = np.clip(1.0 - middle / 240, 0.0, 1.0)[ground.shown[ground.image.shape[0] // 2]].sum() * coarser
    assert dark == pytest.approx(180, abs=1.5 * coarser)  # but for pixels at the edge, which are not shown


@pytest.mark.parametrize(("focal_px", "height_m"), [(500.0, 60.0), (500.0, None), (None, None)])
def test_the_derivatives_of_a_mosaic_are_those_of_its_residuals(focal_px: float | None, height_m: float | None) -> None:
    rng = np.random.default_rng(4)
    overlaps = [
        Overlap(first, second, *(rng.normal(0, 100, (2, 5)) + 1j * rng.normal(0, 100, (2, 5))), (1.0, 0.0))
        for first, second in ((0, 1), (2, 1), (2, 0))
    ]
    problem = MosaicProblem.of(overlaps, [focal_px, 400.0, focal_px], [height_m] * 3)
    where, values = rng.normal(0, 9, 3) + 1j * rng.normal(0, 9, 3), rng.normal(0, 0.3, 19)
    steps = 1e-6 * np.eye(19)
    expected = [
        (problem.residuals(values + one, where) - problem.residuals(values - one, where)) / 2e-6 for one in steps
    ]
    np.testing.assert_allclose(problem.jacobian(values, where).toarray(), np.array(expected).T, atol=1e-5)


def test_photographs_that_do_not_overlap_are_refused() -> None:
    with pytest.raises(InputError, match="overlap"):
        solve_mosaic(_photos()[:2])


def _flight(folder: Path, *, height: float = 260.0) -> Path:
    """Three photographs, one of them grey, and their positions; one that looks aside, and one that is not there."""
    rows = ["name,latitude,longitude,msl,gimbal_pitch_deg"]
    rows += ["aside.png,46.84,-91.99,260,-45", "away.png,46.84,-91.99,260,-90"]
    for k, one in enumerate(_photos()[:3]):
        image = one.read()
        cv2.imwrite(str(folder / one.name), image if k else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        latitude, longitude, _ = _DATUM.geodetic(np.array([*one.position, 0.0]))
        rows.append(f"{one.name},{latitude},{longitude},{height},-90")
    path = folder / "exif.csv"
    path.write_text("\n".join(rows))
    return path


def _photo_command(folder: Path, table: Path, *more: str) -> list[str]:
    command = ["map", "aerial", "build", str(folder / "map"), "--photos", str(folder), "--exif", str(table)]
    heights = ["--height-column", "msl", "--height-reference", "orthometric", "--geoid-undulation", "-30"]
    return [*command, "--focal-px", f"{CAMERA.parameters[0]:g}", *heights, *more]


def test_the_command_makes_a_map_of_photographs(tmp_path: Path) -> None:
    assert main(_photo_command(tmp_path, _flight(tmp_path), "--ground-height", "200")) == 0
    read = read_map(tmp_path / "map")
    notes = str(read.provenance["aerial"])
    assert "3 photographs placed" in notes
    assert "aside.png" in notes
    assert "without a photograph: 1 of" in notes
    assert "away.png" in notes
    by_height, found = (_HEIGHT_M / CAMERA.parameters[0], min(read.places[AERIAL].extents[:, 0]) / 384 / 2)
    assert f"{by_height:.4f} m by height" in notes  # sea level for both, the ground and the photographs
    assert found == pytest.approx(by_height, rel=0.03)


@pytest.mark.parametrize("factor", [0.55, 1.25, 8.0])
def test_a_focal_length_of_other_photographs_is_told_by_the_positions(
    tmp_path: Path, factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    command = _photo_command(tmp_path, _flight(tmp_path), "--ground-height", "200")
    command[command.index("--focal-px") + 1] = str(factor * CAMERA.parameters[0])
    assert main(command) == (0 if factor == 1.25 else 1)
    said = capsys.readouterr()
    if factor == 1.25:
        assert "warning: these differ" in said.out
    else:
        assert ("--focal-px" if factor < 1 else "by height and focal length each shows") in said.err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--ground-height", "270"], "-10 m above the ground"),
        (["--ground-height=-inf"], "finite"),
        ([], "--ground-height"),
        (["--ground-height", "200", "--ground-size", "0.0001"], "coarser"),
    ],
)
def test_photographs_are_refused_before_they_are_matched(
    tmp_path: Path, more: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_photo_command(tmp_path, _flight(tmp_path), *more)) != 0
    assert reason in capsys.readouterr().err


def test_a_ground_size_finer_than_the_photographs_is_refused(tmp_path: Path) -> None:
    table = _flight(tmp_path)
    with pytest.raises(InputError, match="finer"):
        read_photos(
            tmp_path, table, read_positions(table), focal_px=None, ground_height_m=None, ground_size_m=SIZE_M / 2
        )


def test_a_folder_without_the_photographs_is_named(tmp_path: Path) -> None:
    table = _flight(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, reason in (("nowhere", "nowhere: is no folder"), ("empty", "empty: holds none of the 4 photographs")):
        with pytest.raises(InputError, match=reason):
            read_photos(tmp_path / name, table, read_positions(table), focal_px=None, ground_height_m=200.0)


def test_swapped_columns_of_positions_are_told_by_the_overlaps(tmp_path: Path) -> None:
    datum = Datum(48.1, 11.5)
    for swapped in (False, True):
        rows = ["name,longitude,latitude" if swapped else "name,latitude,longitude"]
        for one in _photos()[:4]:  # of three, a similarity says too little
            cv2.imwrite(str(tmp_path / one.name), one.read())
            latitude, longitude, _ = datum.geodetic(np.array([*one.position, 0.0]))
            rows.append(f"{one.name},{latitude},{longitude}")
        table = tmp_path / f"{swapped}.csv"
        table.write_text("\n".join(rows))
        settings = {"focal_px": CAMERA.parameters[0], "ground_height_m": None}
        if not swapped:
            assert len(read_photos(tmp_path, table, read_positions(table), **settings).notes) == 2
            continue
        with pytest.raises(InputError, match=r"latitude and longitude exchanged; are the columns swapped\?"):
            read_photos(tmp_path, table, read_positions(table), **settings)


@pytest.mark.parametrize(
    "option",
    [["--focal-px", "9"], ["--crs", "EPSG:32615"], ["--height-column", "z"], ["--ground-height", "3"]],
)
def test_options_of_photographs_are_refused_with_a_geotiff(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", "aerial", "build", str(tmp_path / "map"), "--geotiff", "a.tif", *option]) != 0
    assert f"{option[0]}: of --photos" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "b/../../a.png", "a\0.png", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    # before Python 3.11 the csv module refuses NUL itself
    with pytest.raises(InputError, match=r"line 2: (name|is not comma-separated .*NUL)"):
        read_tiles(tmp_path, _corners(f"{name},46.85,-92.0,46.84,-91.99", tmp_path))
    table = tmp_path / "exif.csv"
    table.write_text(f"# positions\nname,latitude,longitude\n\n{name or '../a.png'},46.84,-91.99\n")
    with pytest.raises(InputError, match=r"line 4: (name|is not comma-separated .*NUL)"):
        read_photos(tmp_path, table, read_positions(table), focal_px=None, ground_height_m=None)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("x\n# a\n\n1,2\n", "line 4: 2 columns"),
        ("x\n\n1_0\n", "line 3: x is '1_0'"),
        ("x,y,x\n1,2,3\n", "several columns x"),
        (f"x\n{'a' * 200_000}\n", "line 2: is not comma-separated"),
        ("x\n", "no rows"),
    ],
)
def test_damaged_tables_are_refused_with_the_line(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=where):
        column_of(path, read_table(path), "x")


def _corners(text: str, folder: Path) -> Path:
    path = folder / "corners.csv"
    header = "name,top_left_latitude,top_left_longitude,bottom_right_latitude,bottom_right_longitude"
    path.write_text(f"{header}\n{text}\n")
    return path


def test_tiles_with_corners_make_a_map(tmp_path: Path) -> None:
    half_m = SIZE_M * 450
    top, left, _ = _DATUM.geodetic(np.array([-half_m, half_m, 0.0]))
    bottom, right, _ = _DATUM.geodetic(np.array([half_m, -half_m, 0.0]))
    cv2.imwrite(str(tmp_path / "a.png"), _GROUND.image)
    table = _corners(f"a.png,{top},{left},{bottom},{right}", tmp_path)
    source = read_tiles(tmp_path, table)
    assert source.ground[0].ground_size_m == pytest.approx(SIZE_M, rel=1e-3)
    assert source.datum.latitude == pytest.approx(_DATUM.latitude, abs=1e-6)
    command = ["map", "aerial", "build", str(tmp_path / "map"), "--tiles", str(tmp_path), "--corners", str(table)]
    assert main(command) == 0
    read: LandmarkMap = read_map(tmp_path / "map")
    assert len(read.places[AERIAL]) > 10
    for wrong in (f"{bottom},{right},{top},{left}", f"{left},{top},{right},{bottom}", f"{top},{left},nan,{right}"):
        with pytest.raises(InputError):
            read_tiles(tmp_path, _corners(f"a.png,{wrong}", tmp_path))


def test_swapped_columns_of_corners_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), _GROUND.image)
    with pytest.raises(InputError, match="or latitude and longitude"):
        read_tiles(tmp_path, _corners("a.png,11.5,48.1016,11.5024,48.1", tmp_path))


def test_a_tile_across_the_date_line_is_as_wide_as_elsewhere(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), _GROUND.image)
    source = read_tiles(tmp_path, _corners("a.png,-16.4992,179.99916,-16.5008,-179.99916", tmp_path))
    assert source.ground[0].ground_size_m == pytest.approx(SIZE_M, rel=0.01)
    assert abs(source.datum.longitude) == pytest.approx(180.0, abs=1e-6)


def test_water_makes_no_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    water = np.full((900, 900, 3), (120, 90, 60), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), water)
    table = _corners("a.png,48.1016,11.5,48.1,11.5024", tmp_path)
    command = ["map", "aerial", "build", str(tmp_path / "map"), "--tiles", str(tmp_path), "--corners", str(table)]
    assert main(command) == 1
    assert "expected ground with texture" in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


def _write_raster(path: Path, pixels: Array, **settings: object) -> Path:
    """A GeoTIFF of (bands, H, W) pixels around the datum."""
    rasterio = pytest.importorskip("rasterio")
    pyproj = pytest.importorskip("pyproj")
    easting, northing = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32615", always_xy=True).transform(
        _DATUM.longitude, _DATUM.latitude
    )
    count, height, width = pixels.shape
    place = rasterio.transform.from_origin(easting - width / 2 * SIZE_M, northing + height / 2 * SIZE_M, SIZE_M, SIZE_M)
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "uint8"}
    with rasterio.open(path, "w", **{**profile, "crs": "EPSG:32615", "transform": place, **settings}) as raster:
        raster.write(pixels)
    return path


_RGB = np.moveaxis(_GROUND.image[..., ::-1], -1, 0)


def test_a_geotiff_is_brought_to_metres(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    source = read_geotiff(_write_raster(tmp_path / "a.tif", _RGB))
    assert source.datum.latitude == pytest.approx(_DATUM.latitude, abs=1e-7)
    ground = source.ground[0]
    assert ground.ground_size_m == pytest.approx(SIZE_M, rel=0.02)
    assert ground.shown.mean() > 0.9
    middle = ground.image.shape[0] // 2
    blue, _, red = ground.image[middle - 9 : middle + 9, middle - 9 : middle + 9].mean(axis=(0, 1))
    here = _GROUND.image[441:459, 441:459].mean(axis=(0, 1))
    assert [blue, red] == pytest.approx([here[0], here[2]], abs=8)
    (tmp_path / "b.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match="GeoTIFF"):
        read_geotiff(tmp_path / "b.tif")
    with pytest.raises(InputError, match=r"no coordinate system, expected.* --corners"):
        read_geotiff(_write_raster(tmp_path / "c.tif", _RGB, crs=None))
    bare = _write_raster(tmp_path / "d.tif", _RGB, crs=None, transform=None)
    recwarn.clear()
    with pytest.raises(InputError, match="no coordinates of its pixels"):
        read_geotiff(bare)
    assert "NotGeoreferencedWarning" not in {one.category.__name__ for one in recwarn}, "the error says it"
    with pytest.raises(InputError, match="finer"):
        read_geotiff(tmp_path / "a.tif", ground_size_m=SIZE_M / 2)


@pytest.mark.parametrize("middle", [180.0, -180.0, 190.0])
def test_a_geotiff_of_degrees_goes_on_across_the_date_line(tmp_path: Path, middle: float) -> None:
    rasterio = pytest.importorskip("rasterio")
    degrees = SIZE_M / 111_320
    place = rasterio.transform.from_origin(middle - 150 * degrees, 150 * degrees, degrees, degrees)
    path = _write_raster(tmp_path / "a.tif", _RGB[:, 300:600, 300:600], crs="EPSG:4326", transform=place)
    source = read_geotiff(path)
    assert Datum(0.0, middle - 360.0 * (middle > 180.0)).local(0.0, source.datum.longitude)[0] == pytest.approx(
        0, abs=0.1
    )
    image, shown = source.ground[0].read(slice(5, -5), slice(5, -5))
    assert shown.all()
    for columns in (slice(20, 100), slice(200, 280)):  # on both sides
        assert image[20:280, columns].mean() == pytest.approx(_GROUND.image[320:580, 300:600][:, columns].mean(), abs=3)


def test_ground_that_a_geotiff_does_not_show_is_left_out(tmp_path: Path) -> None:
    pixels = _RGB[:, :300, :300].copy()
    mask = np.full((1, 300, 300), 255, np.uint8)
    pixels[:, :, :100], mask[:, :, :100] = 0, 0
    grey = np.concatenate([_RGB[:1, :300, :300], mask])
    rgba = np.concatenate([_RGB[:, :300, :300], mask])
    for name, data, settings in (
        ("nodata", pixels, {"nodata": 0}),
        ("grey and alpha", grey, {"alpha": "YES"}),
        ("rgba", rgba, {"photometric": "RGB", "alpha": "YES"}),
    ):
        ground = read_geotiff(_write_raster(tmp_path / f"{name}.tif", data, **settings)).ground[0]
        assert ground.shown.mean() == pytest.approx(2 / 3, abs=0.02), name
        assert ground.image.ndim == (2 if len(data) == 2 else 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"crs": "+proj=eqc +R=1737400 +units=m"},
        {"crs": 'LOCAL_CS["x",UNIT["metre",1]]'},
        {"transform": (0.2, 0.0, 1e12, 0.0, -0.2, 1e12)},
        {"dtype": "uint16"},
        {"photometric": "PALETTE"},
    ],
)
def test_rasters_of_no_known_ground_are_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    if "transform" in settings:
        settings = {"transform": pytest.importorskip("rasterio").Affine(*settings["transform"])}
    path = _write_raster(tmp_path / "a.tif", _RGB[:1, :60, :60], **settings)
    with pytest.raises(InputError, match=r"a\.tif: "):
        read_geotiff(path)


def test_the_command_makes_a_map_of_a_geotiff(tmp_path: Path) -> None:
    path = _write_raster(tmp_path / "a.tif", _RGB[:, :300, :300])
    assert main(["map", "aerial", "build", str(tmp_path / "map"), "--geotiff", str(path)]) == 0
    assert len(read_map(tmp_path / "map").places[AERIAL]) > 3
