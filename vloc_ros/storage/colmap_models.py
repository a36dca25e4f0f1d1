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

"""COLMAP models: cameras, images and points in the text or binary files of a `sparse` folder.

Poses there are camera_from_world with a quaternion w x y z, pixel centres lie at integers + 0.5. Points are not read: a
map triangulates its own keypoints.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.camera_formats import COLMAP_MODELS, Calibrations, read_colmap_binary, read_colmap_text
from vloc_ros.storage.text import naming_file, number_of, read_lines, read_text

_NUMBER_OF_MODEL = {name: number for number, (name, _) in COLMAP_MODELS.items()}
_POSE = "<I7dI"
_IMAGE_WORDS = 10
_POINT_2D_BYTES = 24
# COLMAP's error of a point that nobody has measured
_UNKNOWN_ERROR = -1.0
NAMES = ("cameras.bin", "images.bin", "points3D.bin")
_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<u8")])


@dataclass(frozen=True, slots=True, eq=False)
class ColmapImage:
    """An image of a model.

    Attributes:
        name: its path below the folder of images.
        camera: its calibration.
        world_from_camera: its pose, of the optical frame.
    """

    name: str
    camera: Camera
    world_from_camera: Pose


@dataclass(frozen=True, slots=True, eq=False)
class ColmapPoints:
    """The points of a model to write, and who observes them.

    Attributes:
        xyz: (P, 3) float64.
        colours: (P, 3) uint8 red, green, blue.
        observed: for each image the (V,) indices of the points that it observes.
        pixels: for each image the (V, 2) pixels of these, in COLMAP's convention.
    """

    xyz: Array
    colours: Array
    observed: Sequence[Array]
    pixels: Sequence[Array]


def read_colmap_images(folder: Path, *, camera: Camera | None = None) -> tuple[ColmapImage, ...]:
    """The images of a model that have a pose, in the order of names; a camera takes the place of the model's.

    Cameras of no image may be of any model.

    Raises:
        InputError: the folder holds no model, a file is damaged, or the model of a camera is not known here.
    """
    folder = Path(folder)
    suffix = _suffix_of_model(folder)
    cameras_file, images_file = folder / f"cameras{suffix}", folder / f"images{suffix}"
    with naming_file(cameras_file):
        cameras = {} if camera else _cameras(cameras_file)
    with naming_file(images_file):
        rows = _binary_rows(images_file) if suffix == ".bin" else _text_rows(images_file)
        if not camera:
            _check_known(rows, cameras)
    used = dict.fromkeys(key for _, key, _ in rows)
    with naming_file(cameras_file):
        calibrations = {key: camera or cameras[key]() for key in used}
    with naming_file(images_file):
        images = [_image(name, calibrations[key], values) for name, key, values in rows]
    if not images:
        raise InputError(f"{images_file}: holds no image with a pose, expected those of a COLMAP model")
    return tuple(sorted(images, key=lambda image: image.name))


def _suffix_of_model(folder: Path) -> str:
    for suffix in (".bin", ".txt"):
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    below = [path.parent for name in ("images.bin", "images.txt") for path in sorted(folder.glob(f"**/{name}"))]
    remedy = f"{below[0]} holds one: name it" if below else "name the folder that COLMAP's mapper wrote, as sparse/0"
    raise InputError(f"{folder}: is no COLMAP model, expected cameras and images as .bin or .txt; {remedy}")


def _cameras(path: Path) -> Calibrations:
    return read_colmap_binary(path.read_bytes()) if path.suffix == ".bin" else read_colmap_text(read_text(path))


_Row = tuple[str, str, Sequence[float]]


def _text_rows(path: Path) -> list[_Row]:
    """Name, camera and pose of the images; the line after each, of its 2D points, may be empty."""
    numbered = ((number, line) for number, line in read_lines(path) if not line.lstrip().startswith("#"))
    rows = list[_Row]()
    for number, line in numbered:
        words = line.split(None, _IMAGE_WORDS - 1)
        if not words:
            continue
        try:
            if len(words) != _IMAGE_WORDS:
                raise ValueError
            rows.append((words[9].strip(), words[8], [number_of(word) for word in words[1:8]]))
        except ValueError:
            raise InputError(
                f"line {number} is {line[:60]!r}, expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, and a line of "
                "2D points after each, which may be empty"
            ) from None
        _check_points_2d(*next(numbered, (0, "")))
    return rows


def _check_points_2d(number: int, line: str) -> None:
    """Refuse the row of the next image in the place of 2D points: every second image would be lost."""
    words = line.split()
    if len(words) % 3 or (words and not words[-1].lstrip("-").isdigit()):
        raise InputError(
            f"line {number} is {line.strip()[:60]!r}, expected the 2D points of the image above it, X Y POINT3D_ID of "
            "each; where there are none, leave the line after every image empty"
        )


def _binary_rows(path: Path) -> list[_Row]:
    """The same; the 2D points of a large model are gigabytes, and are not read."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise InputError("is empty, expected the images.bin of COLMAP") from None
        with data:
            return _rows_of_mapped(data)


def _rows_of_mapped(data: mmap.mmap) -> list[_Row]:
    rows = list[_Row]()
    try:
        (count,), position = struct.unpack_from("<Q", data), 8
        for _ in range(count):
            _, *values, camera = struct.unpack_from(_POSE, data, position)
            start = position + struct.calcsize(_POSE)
            if (end := data.find(b"\0", start)) < 0:
                raise ValueError
            (points,) = struct.unpack_from("<Q", data, end + 1)
            rows.append((data[start:end].decode(), str(camera), values))
            position = end + 9 + _POINT_2D_BYTES * points
    except (struct.error, ValueError, OverflowError):
        raise InputError("is no whole images.bin of COLMAP; export the model again, or as text") from None
    if position != len(data):
        raise InputError(f"holds {len(rows)} images in {position} of {len(data)} bytes, expected all; copy it again")
    return rows


def _check_known(rows: Sequence[_Row], cameras: Calibrations) -> None:
    for name, key, _ in rows:
        if key not in cameras:
            raise InputError(f"{name} is of camera {key}, expected one of {', '.join(cameras)}")


def _image(name: str, camera: Camera, values: Sequence[float]) -> ColmapImage:
    try:
        return ColmapImage(name, camera, pose_from_wxyz(values[:4], values[4:]).inverse())
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def pose_from_wxyz(quaternion: Sequence[float], translation: Sequence[float]) -> Pose:
    """The pose of a quaternion w x y z and a translation, as COLMAP, NVM and the lists of benchmarks have it."""
    return Pose.from_quaternion([*quaternion[1:], quaternion[0]], translation)


def write_colmap_model(folder: Path, images: Sequence[ColmapImage], points: ColmapPoints) -> None:
    """Write a binary model, each file in one step; equal cameras become one.

    Raises:
        StorageError: the folder cannot be written.
    """
    ids = {camera: number for number, camera in enumerate(dict.fromkeys(image.camera for image in images), 1)}
    cameras, pictures, tracks = (folder / name for name in NAMES)
    write_bytes_atomically(cameras, struct.pack("<Q", len(ids)) + b"".join(map(_camera_bytes, ids, ids.values())))
    blocks = [_image_bytes(i, image, ids, points) for i, image in enumerate(images)]
    write_bytes_atomically(pictures, struct.pack("<Q", len(images)) + b"".join(blocks))
    write_bytes_atomically(tracks, _points_bytes(points))


def _camera_bytes(camera: Camera, identifier: int) -> bytes:
    head = struct.pack("<IiQQ", identifier, _NUMBER_OF_MODEL[camera.model], camera.width, camera.height)
    return head + np.array(camera.parameters, "<f8").tobytes()


def _image_bytes(index: int, image: ColmapImage, ids: Mapping[Camera, int], points: ColmapPoints) -> bytes:
    camera_from_world = image.world_from_camera.inverse()
    x, y, z, w = camera_from_world.quaternion
    head = struct.pack(_POSE, index + 1, w, x, y, z, *camera_from_world.translation, ids[image.camera])
    seen = np.zeros(len(points.observed[index]), _OBSERVATION)
    seen["x"], seen["y"] = points.pixels[index].T
    seen["point"] = points.observed[index] + 1
    return head + image.name.encode() + b"\0" + struct.pack("<Q", len(seen)) + seen.tobytes()


def _points_bytes(points: ColmapPoints) -> bytes:
    """Every point with its track, pairs of an image and the number of the 2D point there."""
    of_point = np.concatenate([*points.observed, np.zeros(0, np.int64)]).astype(np.int64)
    image_ids = np.repeat(np.arange(1, len(points.observed) + 1), [len(seen) for seen in points.observed])
    numbers = np.concatenate([np.arange(len(seen)) for seen in points.observed] or [np.zeros(0, np.int64)])
    order = np.argsort(of_point, kind="stable")
    tracks = np.column_stack([image_ids, numbers])[order].astype("<u4")
    ends = np.cumsum(np.bincount(of_point, minlength=len(points.xyz)))
    blocks, start = [struct.pack("<Q", len(points.xyz))], 0
    for i, end in enumerate(ends.tolist()):
        head = struct.pack("<Q3d3Bd", i + 1, *points.xyz[i], *points.colours[i].tolist(), _UNKNOWN_ERROR)
        blocks += [head, struct.pack("<Q", end - start), tracks[start:end].tobytes()]
        start = end
    return b"".join(blocks)
