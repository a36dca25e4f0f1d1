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
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain import CAMERA, SIZE_M, look_down, make_ground, photograph

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo.aerial_sources import read_geotiff, read_tiles
from vloc_ros.geo.photo_mosaic import Photo, render_mosaic, solve_mosaic
from vloc_ros.storage.maps import read_map

_GROUND = make_ground(3)
_HEIGHT_M = 60.0
_DATUM = Datum(46.84, -91.99)


def _poses() -> list[tuple[float, float, float]]:
    """Places and yaws of a flight in rows, a photograph turned round among them."""
    return [
        (x, y, 0.1 * k + np.pi * (k == 4)) for k, (x, y) in enumerate((x, y) for y in (-20, 12) for x in (-25, 5, 35))
    ]


def _photos(noise_m: float = 0.4) -> list[Photo]:
    rng = np.random.default_rng(6)
    return [
        Photo(
            f"{k}.png",
            photograph(_GROUND, look_down(x, y, _HEIGHT_M, yaw=yaw)),
            np.array([x, y]) + rng.normal(0.0, noise_m, 2),
            CAMERA.parameters[0],
            _HEIGHT_M,
        )
        for k, (x, y, yaw) in enumerate(_poses())
    ]


def test_photographs_are_placed_by_their_overlaps() -> None:
    water = Photo("water.png", np.full((360, 480, 3), 120, np.uint8), np.zeros(2), CAMERA.parameters[0], _HEIGHT_M)
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


def test_photographs_that_do_not_overlap_are_refused() -> None:
    with pytest.raises(InputError, match="overlap"):
        solve_mosaic(_photos()[:2])


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


def test_a_geotiff_is_brought_to_metres(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pyproj = pytest.importorskip("pyproj")
    easting, northing = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32615", always_xy=True).transform(
        _DATUM.longitude, _DATUM.latitude
    )
    profile = {"driver": "GTiff", "width": 900, "height": 900, "count": 3, "dtype": "uint8", "crs": "EPSG:32615"}
    place = rasterio.transform.from_origin(easting - 90.0, northing + 90.0, SIZE_M, SIZE_M)
    with rasterio.open(tmp_path / "a.tif", "w", transform=place, **profile) as raster:
        raster.write(np.moveaxis(_GROUND.image[..., ::-1], -1, 0))
    source = read_geotiff(tmp_path / "a.tif")
    assert source.datum.latitude == pytest.approx(_DATUM.latitude, abs=1e-7)
    assert source.ground[0].ground_size_m == pytest.approx(SIZE_M, rel=0.02)
    assert source.ground[0].shown.mean() > 0.9
    (tmp_path / "b.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match="GeoTIFF"):
        read_geotiff(tmp_path / "b.tif")
    with rasterio.open(tmp_path / "c.tif", "w", **{**profile, "crs": None}) as raster:
        raster.write(np.moveaxis(_GROUND.image, -1, 0))
    with pytest.raises(InputError, match="coordinate system"):
        read_geotiff(tmp_path / "c.tif")
