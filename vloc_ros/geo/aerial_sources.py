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

"""What aerial maps are made of: photographs with positions, GeoTIFF, or tiles with corners, as ground images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import MOST_FROM_DATUM_M, Datum, check_geodetic, mean_position
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress, silent
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.geo.photo_mosaic import Mosaic, Photo, render_mosaic, solve_mosaic
from vloc_ros.geo.position_tables import EarthPositions, column_of, read_table
from vloc_ros.storage.images import read_image

# a photograph that looks further away from straight down is none of the ground below
_MOST_OFF_NADIR_DEG = 10.0
_PITCH = "gimbal_pitch_deg"
_CORNERS = ("top_left_latitude", "top_left_longitude", "bottom_right_latitude", "bottom_right_longitude")
# sides of a pixel on the ground differ by more in no raster of square pixels, or of degrees at moderate latitudes
_MOST_ASPECT = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class AerialSource:
    """Ground images in one frame.

    Attributes:
        ground: the images.
        datum: of the frame, whose x axis points east.
        notes: lines for people: what was solved, and what was left out.
    """

    ground: tuple[GroundImage, ...]
    datum: Datum
    notes: tuple[str, ...] = ()


def read_photos(
    folder: Path,
    table: Path,
    positions: EarthPositions,
    *,
    focal_px: float | None,
    ground_height_m: float | None,
    ground_size_m: float | None = None,
    progress: Progress = silent,
) -> AerialSource:
    """A mosaic of photographs that look straight down.

    Args:
        folder: of the images.
        table: where the positions are from; a column `gimbal_pitch_deg` says where cameras looked.
        positions: of the images, by name.
        focal_px: of all of them; None where unknown.
        ground_height_m: of the ground above the level of the positions' heights; 0 for heights above the ground.
        ground_size_m: of the mosaic; None for twice that of the photographs.
        progress: shows how far it has come.

    Raises:
        InputError: an image is missing, none looks down, or they do not overlap.
    """
    if positions.altitude_m is not None and ground_height_m is None and not positions.relative:
        raise InputError(f"{table}: heights are not above the ground; give --ground-height, or leave out their column")
    looking = _look_down(table, positions)
    named = [k for k in range(len(positions.names)) if positions.names[k] and looking[k]]
    missing = [positions.names[k] for k in named if not (folder / positions.names[k]).is_file()]
    if missing or not named:
        found = (
            f"{len(missing)} of its images, such as {missing[0]}" if missing else "all images that look straight down"
        )
        raise InputError(f"{table}: {folder} lacks {found}; check the column name, or leave the rows out")
    middle = mean_position(positions.latitude[named], positions.longitude[named])
    datum = Datum(*middle, position_std_m=1.0, yaw_std_rad=math.radians(1.0))
    photos = []
    for k in named:
        height = None
        if positions.altitude_m is not None:
            height = float(positions.altitude_m[k]) - (ground_height_m or 0.0)
            if not height > 0:
                raise InputError(
                    f"{table}: {positions.names[k]} was taken {height:g} m above the ground, expected more than 0; "
                    "correct its height or --ground-height"
                )
        place = datum.local(positions.latitude[k], positions.longitude[k])[:2]
        _check_near(table, positions.names[k], place)
        photos.append(Photo(positions.names[k], read_image(folder / positions.names[k]), place, focal_px, height))
    mosaic = solve_mosaic(photos, progress=progress)
    size_m = ground_size_m or 2 * mosaic.ground_size_m
    ground = render_mosaic(photos, mosaic, ground_size_m=size_m)
    return AerialSource((ground,), datum, tuple(_describe(mosaic, photos, positions, looking)))


def _look_down(table: Path, positions: EarthPositions) -> Array:
    rows = read_table(table)
    if _PITCH not in rows[0]:
        return np.ones(len(rows), bool)
    return np.asarray(np.abs(column_of(table, rows, _PITCH) + 90.0) <= _MOST_OFF_NADIR_DEG)


def _check_near(table: Path, name: str, place: Array) -> None:
    if not np.abs(place).max() <= MOST_FROM_DATUM_M:
        raise InputError(
            f"{table}: {name} lies {np.abs(place).max() / 1000:.0f} km from the middle of all, expected at most "
            f"{MOST_FROM_DATUM_M / 1000:g} km; is its position right? Make maps of places that far apart"
        )


def _describe(mosaic: Mosaic, photos: Sequence[Photo], positions: EarthPositions, looking: Array) -> list[str]:
    residuals = mosaic.residuals_m
    notes = [
        f"{len(mosaic.placed)} photographs placed by {mosaic.pairs} overlaps, off their positions by "
        f"{np.median(residuals):.2f} m median, {residuals.max():.2f} m at most",
        f"ground size {mosaic.ground_size_m:.4f} m",
    ]
    used = [photos[k] for k in mosaic.placed]
    if all(one.height_m and one.focal_px for one in used):
        told = float(np.median([one.height_m / one.focal_px for one in used if one.height_m and one.focal_px]))
        notes[-1] += f", {told:.4f} m by height and focal length ({told / mosaic.ground_size_m - 1:+.1%})"
    if mosaic.left_out:
        notes.append(f"left out, without overlap: {', '.join(mosaic.left_out)}")
    if not looking.all():
        aside = ", ".join(name for name, ok in zip(positions.names, looking, strict=True) if not ok)
        notes.append(f"left out, not looking straight down: {aside}")
    return notes


def read_geotiff(path: Path, *, ground_size_m: float | None = None) -> AerialSource:
    """An orthophoto with its coordinate system, brought to metres east and north of its middle.

    Raises:
        InputError: it is no image with a coordinate system, or too large.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.transform import from_origin
    from rasterio.warp import Resampling, calculate_default_transform, reproject, transform

    try:
        with rasterio.open(path) as raster:
            if raster.crs is None or raster.transform.is_identity:
                raise InputError(f"{path}: has no coordinate system, expected a GeoTIFF; give its corners with --tiles")
            x, y = raster.xy(raster.height / 2 - 0.5, raster.width / 2 - 0.5)
            longitude, latitude = (float(values[0]) for values in transform(raster.crs, "EPSG:4326", [x], [y]))
            datum = Datum(latitude, longitude, position_std_m=0.0)
            # equidistant from the middle: a tangent plane to a centimetre within 10 km
            local = f"+proj=aeqd +lat_0={latitude!r} +lon_0={longitude!r} +datum=WGS84 +units=m"
            found, width, height = calculate_default_transform(
                raster.crs, local, raster.width, raster.height, *raster.bounds, resolution=ground_size_m
            )
            size_m, left, top = float(found.a), float(found.c), float(found.f)
            _check_size(path, width, height)
            bands = [min(3, raster.count), min(2, raster.count), 1]  # BGR
            image, shown = np.zeros((len(bands), height, width), np.uint8), np.zeros((height, width), np.uint8)
            to = {"dst_transform": from_origin(left, top, size_m, size_m), "dst_crs": local}
            of = {"src_transform": raster.transform, "src_crs": raster.crs}
            if any(raster.dtypes[band - 1] != "uint8" for band in bands):
                raise InputError(f"{path}: has pixels of {raster.dtypes[0]}, expected 8 bits; convert it first")
            for k, band in enumerate(bands):
                reproject(raster.read(band), image[k], **of, **to, resampling=Resampling.bilinear)
            reproject(raster.dataset_mask(), shown, **of, **to, resampling=Resampling.nearest)
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read as GeoTIFF ({error})") from error
    ground = GroundImage(np.ascontiguousarray(np.moveaxis(image, 0, -1)), shown > 0, left, top, size_m)
    return AerialSource((ground,), datum, (f"{width}x{height} pixels of {size_m:.3f} m",))


def read_tiles(folder: Path, table: Path) -> AerialSource:
    """Images with the latitude and longitude of their corners.

    The table has a column `name`, and latitude and longitude of the top left and the bottom right corner.

    Raises:
        InputError: an image is missing or damaged, or corners are swapped.
    """
    rows = read_table(table)
    if "name" not in rows[0]:
        raise InputError(f"{table}: has no column name, found {', '.join(rows[0])}; name the image files")
    top, left, bottom, right = (column_of(table, rows, name) for name in _CORNERS)
    try:
        check_geodetic(np.concatenate([top, bottom]), np.concatenate([left, right]))
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    datum = Datum(*mean_position(np.concatenate([top, bottom]), np.concatenate([left, right])))
    ground = []
    for row, *corners in zip(rows, top, left, bottom, right, strict=True):
        ground.append(_tile(folder / row["name"], table, datum, *(float(value) for value in corners)))
    sizes = ", ".join(f"{size:.3f}" for size in sorted({round(one.ground_size_m, 3) for one in ground}))
    return AerialSource(tuple(ground), datum, (f"{len(ground)} images with pixels of {sizes} m",))


def _tile(path: Path, table: Path, datum: Datum, top: float, left: float, bottom: float, right: float) -> GroundImage:
    image = read_image(path)
    corners = datum.local([top, bottom], [left, right])
    _check_near(table, path.name, corners[:, :2])
    width_m, height_m = float(corners[1, 0] - corners[0, 0]), float(corners[0, 1] - corners[1, 1])
    if not (width_m > 0 and height_m > 0):
        raise InputError(
            f"{table}: {path.name} is {width_m:.1f} m wide and {height_m:.1f} m high by its corners, expected the top "
            "left and the bottom right one; are they swapped?"
        )
    rows, columns = image.shape[:2]
    across, down = width_m / columns, height_m / rows
    if not 1 / _MOST_ASPECT < across / down < _MOST_ASPECT:
        raise InputError(f"{table}: pixels of {path.name} are {across:.3g} x {down:.3g} m; are its corners right?")
    size_m = max(across, down)  # no finer than the image is
    size = max(1, round(width_m / size_m)), max(1, round(height_m / size_m))
    square = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return GroundImage(square, np.ones(square.shape[:2], bool), float(corners[0, 0]), float(corners[0, 1]), size_m)


def _check_size(path: Path, width: int, height: int) -> None:
    if not 0 < width * height <= 400_000_000:
        raise InputError(f"{path}: would have {width}x{height} pixels; give a coarser --ground-size, or divide it")
