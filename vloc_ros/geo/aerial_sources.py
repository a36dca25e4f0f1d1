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
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import MOST_FROM_DATUM_M, Datum, check_geodetic, mean_position
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress, silent
from vloc_ros.geo.ground_images import SIZE_TOLERANCE, GroundImage, GroundRaster
from vloc_ros.geo.photo_mosaic import (
    MOST_MOSAIC_PX,
    Mosaic,
    Photo,
    check_mosaic_size,
    fit_layout,
    render_mosaic,
    solve_mosaic,
)
from vloc_ros.geo.position_tables import EarthPositions, Row, column_of, image_of, read_table
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import naming_file

# a photograph that looks further away from straight down is none of the ground below
_MOST_OFF_NADIR_DEG = 10.0
_PITCH = "gimbal_pitch_deg"
_CORNERS = ("top_left_latitude", "top_left_longitude", "bottom_right_latitude", "bottom_right_longitude")
# sides of a pixel on the ground differ by more in no raster of square pixels, or of degrees at moderate latitudes
_MOST_ASPECT = 5.0
# positions that fit so much better when they are exchanged are swapped
_CLEARLY_BETTER = 0.4
# ground sizes by positions and by heights: the ratio at which one is wrong, and the difference that is doubtful
_MOST_RATIO, _DOUBTFUL = 1.5, 0.15


@dataclass(frozen=True, slots=True, eq=False)
class AerialSource:
    """Ground images in one frame.

    Attributes:
        ground: rasters of it.
        datum: of the frame.
        notes: lines for people: what was solved, and what was left out.
    """

    ground: tuple[GroundRaster, ...]
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
        ground_height_m: of the ground on the level of `positions.altitude_m`, which is the ellipsoid unless they are
            relative; 0 for heights above the ground.
        ground_size_m: of the mosaic; None for twice that of the photographs.
        progress: shows how far it has come.

    Raises:
        InputError: there is no image, none looks down, they do not overlap, or the ground size is finer than theirs.
    """
    if positions.altitude_m is not None and ground_height_m is None and not positions.relative:
        raise InputError(f"{table}: heights are not above the ground; give --ground-height, or leave out their column")
    rows = read_table(table)
    looking = _look_down(table, rows)
    listed = [k for k in range(len(positions.names)) if positions.names[k] and looking[k]]
    paths = {k: image_of(table, rows[k], folder) for k in listed}
    named = [k for k in listed if paths[k].is_file()]
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected one of photographs; check its name")
    if not listed:
        raise InputError(f"{table}: none of its photographs looks straight down; give such photographs")
    if not named:
        raise InputError(
            f"{folder}: holds none of the {len(listed)} photographs that {table} lists, such as "
            f"{positions.names[listed[0]]}; give their folder, or correct the names in the column name"
        )
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
        rows_px, columns_px = read_image(paths[k]).shape[:2]
        read = partial(_read_colour, paths[k])
        photos.append(Photo(positions.names[k], (columns_px, rows_px), read, place, focal_px, height))
    check_mosaic_size(photos, ground_size_m)
    mosaic = solve_mosaic(photos, progress=progress)
    _check_not_swapped(table, mosaic, positions.latitude[named], positions.longitude[named])
    by_height_m = _ground_size_by_height(mosaic, photos)
    if by_height_m is not None:
        _check_focal_length(table, by_height_m, mosaic.ground_size_m)
    size_m = ground_size_m or 2 * mosaic.ground_size_m
    check_not_finer(table, size_m, mosaic.ground_size_m)
    ground = render_mosaic(photos, mosaic, ground_size_m=size_m)
    notes = _describe(mosaic, by_height_m, positions, looking)
    if len(named) < len(listed):
        absent = next(positions.names[k] for k in listed if not paths[k].is_file())
        notes.append(f"left out, without a photograph: {len(listed) - len(named)} of {table}, such as {absent}")
    return AerialSource((ground,), datum, tuple(notes))


def _read_colour(path: Path) -> Array:
    image = read_image(path)
    return image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))


def check_not_finer(path: Path, size_m: float, own_m: float) -> None:
    """Refuse a ground size that would show nothing more; what an image's own one is follows within a few percents."""
    if size_m < own_m / SIZE_TOLERANCE:
        raise InputError(
            f"{path}: --ground-size is {size_m:g} m, finer than the images' {own_m:.4g} m; give theirs or a coarser "
            "one, or leave it out"
        )


def _look_down(table: Path, rows: Sequence[Row]) -> Array:
    if _PITCH not in rows[0]:
        return np.ones(len(rows), bool)
    return np.asarray(np.abs(column_of(table, rows, _PITCH) + 90.0) <= _MOST_OFF_NADIR_DEG)


def _check_near(table: Path, name: str, place: Array) -> None:
    if not np.abs(place).max() <= MOST_FROM_DATUM_M:
        raise InputError(
            f"{table}: {name} lies {np.abs(place).max() / 1000:.0f} km from the middle of all, expected at most "
            f"{MOST_FROM_DATUM_M / 1000:g} km; is its position right? Make maps of places that far apart"
        )


def _check_not_swapped(table: Path, mosaic: Mosaic, latitude: Array, longitude: Array) -> None:
    """Refuse positions that mirror the layout of the photographs, as those with swapped columns do."""
    phi, lam = latitude[mosaic.placed], longitude[mosaic.placed]
    if np.abs(lam).max() > 90.0:
        return
    given_m, swapped_m = (
        fit_layout(mosaic, Datum(*mean_position(*pair)).local(*pair)[:, :2]) for pair in ((phi, lam), (lam, phi))
    )
    if swapped_m < _CLEARLY_BETTER * given_m:
        raise InputError(
            f"{table}: by their overlaps the photographs lie {given_m:.1f} m off their positions, {swapped_m:.1f} m "
            "with latitude and longitude exchanged; are the columns swapped?"
        )


def _ground_size_by_height(mosaic: Mosaic, photos: Sequence[Photo]) -> float | None:
    """Median size of a pixel on the ground by heights and focal lengths; None where these are unknown."""
    used = [photos[k] for k in mosaic.placed]
    sizes = [one.height_m / one.focal_px for one in used if one.height_m and one.focal_px]
    return float(np.median(sizes)) if len(sizes) == len(used) else None


def _check_focal_length(table: Path, by_height_m: float, ground_size_m: float) -> None:
    """Refuse a focal length that is not of these photographs, or heights that are not above the ground.

    Their tilt is computed with them, and whoever locates images in the map would give the same focal length.
    """
    if 1 / _MOST_RATIO < by_height_m / ground_size_m < _MOST_RATIO:
        return
    raise InputError(
        f"{table}: a pixel shows {ground_size_m:.4f} m of ground by the positions, {by_height_m:.4f} m by heights and "
        f"--focal-px ({by_height_m / ground_size_m - 1:+.0%}), expected a few percent; correct --focal-px, which is in "
        "pixels of these photographs (of resized ones their own), the heights or --ground-height, or leave out "
        "--height-column"
    )


def _describe(mosaic: Mosaic, by_height_m: float | None, positions: EarthPositions, looking: Array) -> list[str]:
    residuals = mosaic.residuals_m
    notes = [
        f"{len(mosaic.placed)} photographs placed by {mosaic.pairs} overlaps, off their positions by "
        f"{np.median(residuals):.2f} m median, {residuals.max():.2f} m at most",
        f"ground size {mosaic.ground_size_m:.4f} m",
    ]
    if by_height_m is not None:
        excess = by_height_m / mosaic.ground_size_m - 1
        notes[-1] += f", {by_height_m:.4f} m by height and focal length ({excess:+.1%})"
        if abs(excess) > _DOUBTFUL:
            notes.append(
                "warning: these differ by more than a few percent; check --focal-px, heights and --ground-height"
            )
    if mosaic.left_out:
        notes.append(f"left out, without overlap: {', '.join(mosaic.left_out)}")
    if not looking.all():
        aside = ", ".join(name for name, ok in zip(positions.names, looking, strict=True) if not ok)
        notes.append(f"left out, not looking straight down: {aside}")
    return notes


def read_geotiff(path: Path, *, ground_size_m: float | None = None) -> AerialSource:
    """An orthophoto with its coordinate system, brought to metres east and north of its middle.

    Raises:
        InputError: it is no image with a coordinate system, too large, or coarser than the ground size.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError  # GDAL's errors, which rasterio does not wrap everywhere
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # it is an error here
            with rasterio.open(path) as raster, naming_file(path):
                return _warp_raster(path, raster, ground_size_m)
    # before version 1.4 RasterioIOError is no RasterioError
    except (RasterioError, RasterioIOError, CRSError, CPLE_BaseError) as error:
        raise InputError(f"{path}: cannot be read as GeoTIFF ({error})") from error


def _warp_raster(path: Path, raster: Any, ground_size_m: float | None) -> AerialSource:
    """An open raster, in metres around its middle; GDAL reads it in blocks."""
    from rasterio.transform import from_origin
    from rasterio.vrt import WarpedVRT
    from rasterio.warp import Resampling, transform

    _check_georeference(raster)
    bands = _bands(raster)
    x, y = raster.xy(raster.height / 2 - 0.5, raster.width / 2 - 0.5)
    longitude, latitude = (float(values[0]) for values in transform(raster.crs, "EPSG:4326", [x], [y]))
    longitude = (longitude + 180.0) % 360.0 - 180.0
    datum = Datum(latitude, longitude, position_std_m=0.0)
    # equidistant from the middle: a tangent plane to a centimetre within 10 km
    local = f"+proj=aeqd +lat_0={latitude!r} +lon_0={longitude!r} +datum=WGS84 +units=m"
    source = raster.crs
    if source.is_geographic and (raster.bounds.left < -180.0 or raster.bounds.right > 180.0):
        source = {**source.to_dict(), "lon_wrap": float(x)}  # else GDAL ends it at the date line
    with WarpedVRT(raster, src_crs=source, crs=local) as whole:
        own_m, left, top = float(whole.transform.a), float(whole.bounds.left), float(whole.bounds.top)
        size_m = own_m if ground_size_m is None else ground_size_m
        width, height = (max(1, round(own_m / size_m * pixels)) for pixels in (whole.width, whole.height))
    check_not_finer(path, size_m, own_m)
    _check_size(path, width, height)
    to = {
        "src_crs": source,
        "crs": local,
        "transform": from_origin(left, top, size_m, size_m),
        "width": width,
        "height": height,
    }
    with WarpedVRT(raster, **to, resampling=Resampling.bilinear, add_alpha=not _has_alpha(raster)) as warped:
        image, shown = warped.read(bands), warped.dataset_mask() > 0
    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1)) if len(bands) > 1 else image[0]
    ground = GroundImage(pixels, shown, left, top, size_m)
    return AerialSource((ground,), datum, (f"{width}x{height} pixels of {size_m:.3f} m",))


def _check_georeference(raster: Any) -> None:
    lacks = [
        *(["coordinate system"] if raster.crs is None else []),
        *(["coordinates of its pixels"] if raster.transform.is_identity else []),
    ]
    if lacks:
        raise InputError(
            f"does not say where on Earth it lies: it has no {' and no '.join(lacks)}, expected a GeoTIFF with both; "
            "export it again with its georeference, or give the latitude and longitude of its corners with --tiles and "
            "--corners"
        )


def _has_alpha(raster: Any) -> bool:
    from rasterio.enums import ColorInterp

    return ColorInterp.alpha in raster.colorinterp


def _bands(raster: Any) -> list[int]:
    """Numbers of the bands blue, green and red, or of a grey one."""
    from rasterio.enums import ColorInterp

    if ColorInterp.palette in raster.colorinterp:
        raise InputError("has colours of a palette, expected bands red, green and blue, or grey; convert it first")
    bands = [3, 2, 1] if raster.count >= 3 else [1]
    if any(raster.dtypes[band - 1] != "uint8" for band in bands):
        raise InputError(f"has pixels of {raster.dtypes[0]}, expected 8 bits; convert it first")
    return bands


def read_tiles(folder: Path, table: Path, *, ground_size_m: float | None = None) -> AerialSource:
    """Images with the latitude and longitude of their corners.

    Args:
        folder: of the images.
        table: with a column `name`, and latitude and longitude of the top left and the bottom right corner.
        ground_size_m: which at least one of the images has to show; None for no such demand.

    Raises:
        InputError: an image is missing or damaged, corners are swapped, or all images are coarser.
    """
    rows = read_table(table)
    if "name" not in rows[0]:
        raise InputError(f"{table}: has no column name, found {', '.join(rows[0])}; name the image files")
    paths = [image_of(table, row, folder) for row in rows]
    top, left, bottom, right = (column_of(table, rows, name) for name in _CORNERS)
    try:
        check_geodetic(np.concatenate([top, bottom]), np.concatenate([left, right]))
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    datum = Datum(*mean_position(np.concatenate([top, bottom]), np.concatenate([left, right])))
    ground = []
    for path, *corners in zip(paths, top, left, bottom, right, strict=True):
        ground.append(_tile(path, table, datum, *(float(value) for value in corners)))
    if ground_size_m is not None:
        check_not_finer(table, ground_size_m, min(one.ground_size_m for one in ground))
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
            "left and the bottom right one; are they swapped, or latitude and longitude?"
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
    if not 0 < width * height <= MOST_MOSAIC_PX:
        raise InputError(
            f"{path}: would have {width}x{height} pixels, expected {MOST_MOSAIC_PX} at most in memory; give a coarser "
            "--ground-size, or make Web Mercator tiles of it (`gdal2tiles --xyz`) for --xyz, which are read in parts"
        )
