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

"""An orthomosaic of photographs that look straight down, placed by their overlaps and positions.

The heading and the ground size of every photograph follow from what it shares with others and from where all were
taken: the yaw of a gimbal is often reversed at nadir, and a ground size by altitude is off by percents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.nearest_neighbours import nearest_neighbours
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress, silent
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.geo.mosaic_adjustment import MosaicProblem, Overlap, adjust_mosaic, fit_similarity

_KEYPOINTS, _RATIO = 4000, 0.85
_AGREE_PX, _LEAST_INLIERS, _INLIERS_USED = 6.0, 14, 30
# two photographs of one flight do not differ more in their ground sizes
_MOST_SCALE = 1.5
_LEAST_PHOTOS = 3
# positions are not exact
_REACH = 1.1
MOST_MOSAIC_PX = 400_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photograph that looks straight down.

    Attributes:
        name: for people.
        size: width and height, pixels.
        read: returns (H, W, 3) uint8 BGR; called whenever the pixels are needed, since not all of them fit in memory.
        position: (2,) metres east and north of where it was taken.
        focal_px: focal length; None where it is unknown, so that the photograph is taken to look straight down exactly.
        height_m: above a level that all photographs share, such as that of take-off; None where it is unknown.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], Array]
    position: Array
    focal_px: float | None = None
    height_m: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Photographs laid on the ground.

    Attributes:
        placed: indices of the photographs that were placed.
        transforms: (P, 3, 3) homography of each, from pixels (centre of the first at 0.5) to metres east and north.
        positions: (P, 2) of the cameras, metres east and north.
        turns: (P,) complex, metres of a pixel to the right of the middle, east and north.
        layout: (P,) complex places of the photographs by their overlaps alone, in pixels of one of them, y up.
        residuals_m: (P,) how far each lies from where it was taken, by its position.
        pairs: number of pairs that overlap.
        left_out: names of the photographs that overlap with none of the others.
    """

    placed: Array
    transforms: Array
    positions: Array
    turns: Array
    layout: Array
    residuals_m: Array
    pairs: int
    left_out: tuple[str, ...]

    @property
    def ground_size_m(self) -> float:
        """Median size of a pixel on the ground."""
        return float(np.median(np.abs(self.turns)))


def solve_mosaic(photos: Sequence[Photo], *, progress: Progress = silent) -> Mosaic:
    """Place photographs by their overlaps and positions.

    Raises:
        InputError: fewer than three photographs overlap with each other, or all were taken at one place.
    """
    extractor = RootSift(RootSiftConfig(max_keypoints=_KEYPOINTS, min_keypoints=_KEYPOINTS))
    features = [extractor.extract(one.read()) for one in progress(photos, description="photographs")]
    overlaps = _find_overlaps(photos, features)
    group = _largest_group(len(photos), overlaps)
    if len(group) < _LEAST_PHOTOS:
        raise InputError(
            f"{len(group)} of {len(photos)} photographs overlap with each other, expected {_LEAST_PHOTOS} at least; "
            f"take them closer together, looking straight down on ground with texture{_doubt_reach(photos)}"
        )
    chosen = [photos[k] for k in group]
    where = np.array([one.position @ [1, 1j] for one in chosen])
    within = _of_group(overlaps, group)
    layout = _chain(within, len(group))
    problem = MosaicProblem.of(within, [one.focal_px for one in chosen], [one.height_m for one in chosen])
    solution = adjust_mosaic(problem, *layout, where)
    left_out = tuple(one.name for k, one in enumerate(photos) if k not in group)
    return Mosaic(
        np.array(group),
        np.array([_homography(one, *values) for one, values in zip(chosen, solution.T, strict=True)]),
        np.column_stack([solution[1].real, solution[1].imag]),
        solution[0],
        layout[1],
        np.abs(solution[1] - where),
        len(within),
        left_out,
    )


def fit_layout(mosaic: Mosaic, where: Array) -> float:
    """How well the overlaps alone agree with (P, 2) positions of the placed photographs: metres, root mean square."""
    positions = where @ [1, 1j]
    turn, shift = fit_similarity(mosaic.layout, positions)
    return float(np.sqrt((np.abs(turn * mosaic.layout + shift - positions) ** 2).mean()))


def _of_group(overlaps: Sequence[Overlap], group: Sequence[int]) -> list[Overlap]:
    """The overlaps within a group, by the numbers in it."""
    number = {photo: k for k, photo in enumerate(group)}
    return [replace(one, first=number[one.first], second=number[one.second]) for one in overlaps if one.first in number]


def _find_overlaps(photos: Sequence[Photo], features: Sequence[Features]) -> list[Overlap]:
    found = []
    for first in range(len(photos)):
        for second in range(first + 1, len(photos)):
            if _may_overlap(photos[first], photos[second]) and (overlap := _overlap(photos, first, second, features)):
                found.append(overlap)
    return found


def _may_overlap(first: Photo, second: Photo) -> bool:
    """Whether their positions and heights allow it; always where heights or focal lengths are unknown."""
    reaches = [
        float(np.hypot(*one.size)) / 2 * one.height_m / one.focal_px
        for one in (first, second)
        if one.height_m and one.focal_px
    ]
    away_m = float(np.linalg.norm(first.position - second.position))
    return len(reaches) < 2 or away_m < _REACH * sum(reaches)


def _doubt_reach(photos: Sequence[Photo]) -> str:
    """What to check where focal lengths and heights say which photographs may overlap; empty where they do not."""
    reaches_m = [
        float(np.hypot(*one.size)) * one.height_m / one.focal_px for one in photos if one.height_m and one.focal_px
    ]
    if not reaches_m:
        return ""
    return (
        f"; by height and focal length each shows {np.median(reaches_m):.0f} m from corner to corner: correct these if "
        "it is more"
    )


def _overlap(photos: Sequence[Photo], first: int, second: int, features: Sequence[Features]) -> Overlap | None:
    a, b, a_photo, b_photo = features[first], features[second], photos[first], photos[second]
    if min(len(a), len(b)) < _LEAST_INLIERS:
        return None
    distances, columns = nearest_neighbours(a.descriptors, b.descriptors, 2)
    back = nearest_neighbours(b.descriptors, a.descriptors, 1)[1][:, 0]
    rows = np.flatnonzero(
        (distances[:, 0] < _RATIO**2 * distances[:, 1]) & (back[columns[:, 0]] == np.arange(len(columns)))
    )
    if len(rows) < _LEAST_INLIERS:
        return None
    xy_a, xy_b = a.xy[rows].astype(float), b.xy[columns[rows, 0]].astype(float)
    matrix, inliers = cv2.estimateAffinePartial2D(xy_a, xy_b, ransacReprojThreshold=_AGREE_PX, maxIters=5000)
    if matrix is None or inliers.sum() < _LEAST_INLIERS:
        return None
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not 1 / _MOST_SCALE < scale < _MOST_SCALE:
        return None
    kept = np.flatnonzero(inliers.ravel())[:_INLIERS_USED]
    at_first, at_second = (_up(xy[kept] - np.array(one.size) / 2.0) for xy, one in ((xy_a, a_photo), (xy_b, b_photo)))
    return Overlap(first, second, at_first, at_second, fit_similarity(at_first, at_second))


def _up(xy: Array) -> Array:
    """(N,) complex numbers of (N, 2) pixels, y up."""
    return np.asarray(xy[:, 0] - 1j * xy[:, 1])


def _largest_group(count: int, overlaps: Sequence[Overlap]) -> list[int]:
    group = list(range(count))
    for one in overlaps:
        old, new = group[one.first], group[one.second]
        group = [new if of == old else of for of in group]
    largest = max(set(group), key=group.count)
    return [k for k in range(count) if group[k] == largest]


def _chain(overlaps: Sequence[Overlap], count: int) -> tuple[Array, Array]:
    """Turns and shifts into the first photograph's pixels, along the overlaps with most matches."""
    turns, shifts = np.zeros(count, complex), np.zeros(count, complex)
    turns[0] = 1.0
    for _ in range(count - 1):
        ready = [one for one in overlaps if (turns[one.first] == 0) != (turns[one.second] == 0)]
        best = max(ready, key=lambda one: len(one.at_first))
        turn, shift = best.second_from_first
        if turns[best.first] == 0:
            turns[best.first] = turns[best.second] * turn
            shifts[best.first] = turns[best.second] * shift + shifts[best.second]
        else:
            turns[best.second] = turns[best.first] / turn
            shifts[best.second] = shifts[best.first] - turns[best.second] * shift
    return turns, shifts


def _homography(photo: Photo, turn: complex, position: complex, tilt: complex) -> Array:
    """(3, 3) from pixels to metres, see `MosaicProblem.on_ground`."""
    width, height = photo.size
    from_middle = np.array([[1.0, 0.0, -width / 2], [0.0, -1.0, height / 2], [0.0, 0.0, 1.0]])
    level = np.eye(3)
    if photo.focal_px:
        level[:2, 2] = photo.focal_px * np.array([tilt.real, tilt.imag])
        level[2, :2] = -np.array([tilt.real, tilt.imag]) / photo.focal_px
    metres = np.array([[turn.real, -turn.imag, position.real], [turn.imag, turn.real, position.imag], [0.0, 0.0, 1.0]])
    return np.asarray(metres @ level @ from_middle)


def render_mosaic(photos: Sequence[Photo], mosaic: Mosaic, *, ground_size_m: float) -> GroundImage:
    """The mosaic as one image: every pixel is of the photograph whose middle is nearest.

    Raises:
        InputError: it would be larger than this holds in memory.
    """
    corners = [
        _corners(photos[k].size, transform) for k, transform in zip(mosaic.placed, mosaic.transforms, strict=True)
    ]
    low, high = np.concatenate(corners).min(axis=0), np.concatenate(corners).max(axis=0)
    width, height = (int(np.ceil(size / ground_size_m)) for size in high - low)
    check_raster_size(width, height)
    image, nearest = np.zeros((height, width, 3), np.uint8), np.full((height, width), np.inf, np.float32)
    for k, transform, corner in zip(mosaic.placed, mosaic.transforms, corners, strict=True):
        _lay(image, nearest, photos[k].read(), transform, corner, (low[0], high[1]), ground_size_m)
    return GroundImage(image, np.isfinite(nearest), float(low[0]), float(high[1]), ground_size_m)


def check_mosaic_size(photos: Sequence[Photo], ground_size_m: float | None) -> None:
    """Refuse, before anything is solved, photographs whose positions alone span more than a mosaic may have.

    Args:
        photos: all of them.
        ground_size_m: of the mosaic; None for twice that by heights and focal lengths, where these are known.
    """
    if ground_size_m is None:
        sizes = [one.height_m / one.focal_px for one in photos if one.height_m and one.focal_px]
        if not sizes:
            return
        ground_size_m = 2 * float(np.median(sizes))
    width, height = np.ptp([one.position for one in photos], axis=0) / ground_size_m
    check_raster_size(int(width), int(height))


def check_raster_size(width: int, height: int) -> None:
    """Raise InputError where a mosaic would not fit into memory."""
    if width * height > MOST_MOSAIC_PX:
        raise InputError(
            f"the mosaic would have {width}x{height} pixels, expected {MOST_MOSAIC_PX} at most; give a coarser ground "
            "size, or leave out photographs far from the others"
        )


def _corners(size: tuple[int, int], transform: Array) -> Array:
    width, height = size
    pixels = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    found = pixels @ transform.T
    return np.asarray(found[:, :2] / found[:, 2:])


def _reduce(photo: Array, transform: Array, size_m: float) -> tuple[Array, Array]:
    """A photograph reduced by a whole factor, where a mosaic is coarser by more than that, and its homography."""
    height, width = photo.shape[:2]
    own_m = float(np.sqrt(abs(np.linalg.det(transform[:2, :2] / transform[2, 2]))))
    factor = min(int(size_m / own_m), width, height)
    if factor < 2:  # a blur does, and a wide one of all pixels would take longer
        return photo, transform
    size = width // factor, height // factor
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small), np.asarray(transform @ np.diag([width / size[0], height / size[1], 1.0]))


def _lay(
    image: Array,
    nearest: Array,
    photo: Array,
    transform: Array,
    corner: Array,
    origin: tuple[float, float],
    size_m: float,
) -> None:
    """Warp a photograph into the part of the mosaic that it covers."""
    left, top = origin
    x0, y0 = int((corner[:, 0].min() - left) / size_m), int((top - corner[:, 1].max()) / size_m)
    x1 = min(int(np.ceil((corner[:, 0].max() - left) / size_m)), image.shape[1])
    y1 = min(int(np.ceil((top - corner[:, 1].min()) / size_m)), image.shape[0])
    photo, transform = _reduce(photo, transform, size_m)
    metres_to_pixels = np.array([[1 / size_m, 0, -left / size_m - x0], [0, -1 / size_m, top / size_m - y0], [0, 0, 1]])
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # OpenCV's pixel centres are whole numbers
    matrix = np.linalg.inv(half) @ metres_to_pixels @ transform @ half
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2]))))
    if shrink < 1.0:  # what is sampled finer than it is drawn would alias
        photo = cv2.GaussianBlur(photo, (0, 0), 0.5 * np.sqrt(max(1 / shrink**2 - 1, 1e-4)))
    warped = cv2.warpPerspective(photo, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    covered = cv2.warpPerspective(np.full(photo.shape[:2], 255, np.uint8), matrix, (x1 - x0, y1 - y0)) == 255
    middle = matrix @ [photo.shape[1] / 2, photo.shape[0] / 2, 1]
    middle = middle[:2] / middle[2]
    y, x = np.mgrid[: y1 - y0, : x1 - x0]
    distance = np.hypot(x - middle[0], y - middle[1]).astype(np.float32)
    part = nearest[y0:y1, x0:x1]
    wins = covered & (distance < part)
    part[wins] = distance[wins]
    image[y0:y1, x0:x1][wins] = warped[wins]
