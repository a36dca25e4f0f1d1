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

"""Pairs of images with their true motion, in the format of SuperGlue's evaluation (Sarlin et al. 2020).

A line has 38 fields: two names, the exif rotation of each as quarter turns, two camera matrices of 9 values, and the 16
of second_from_first. The pairs of YFCC100M and ScanNet are published so, those of MegaDepth-1500 are converted so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import integer_of, number_of, read_text

_FIELDS = 38


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """A line of a file of pairs.

    Attributes:
        first: path of the first image, below a folder.
        second: path of the second image.
        quarter_turns: by which each image is turned counter-clockwise before it is used.
        matrices: (3, 3) camera matrix of each image before it is turned, OpenCV's pixels.
        second_from_first: the true motion of the cameras before the images are turned.
    """

    first: str
    second: str
    quarter_turns: tuple[int, int]
    matrices: tuple[Array, Array]
    second_from_first: Pose


def read_pairs(path: Path) -> list[ImagePair]:
    """The pairs of a file.

    Raises:
        InputError: a line has another form, or there is none.
    """
    lines = [(number, line.split()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    pairs = [_parse(path, number, fields) for number, fields in lines]
    if not pairs:
        raise InputError(f"{path}: holds no pairs, expected a line of {_FIELDS} fields for each")
    return pairs


@dataclass(frozen=True, slots=True, eq=False)
class TurnedImage:
    """An image as an evaluation has it.

    Attributes:
        pixels: (H, W) or (H, W, 3) uint8.
        camera: of these pixels.
        turned_from_camera: rotation about the optical axis from the camera's frame to that of the turned image.
    """

    pixels: Array
    camera: Camera
    turned_from_camera: Pose


def load_image(folder: Path, name: str, quarter_turns: int, matrix: Array, longest_px: int) -> TurnedImage:
    """An image, turned, and its longer side reduced to a length.

    Args:
        folder: of the images.
        name: of the image.
        quarter_turns: counter-clockwise.
        matrix: (3, 3) of the image before it is turned, OpenCV's pixels.
        longest_px: length of the longer side; images that are smaller stay so, 0 leaves all.
    """
    pixels, turns = read_image(folder / name), quarter_turns % 4
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5
    for _ in range(turns):
        # x, y of a pixel become y, width - x
        width = pixels.shape[1]
        pixels, (fx, fy, cx, cy) = np.rot90(pixels), (fy, fx, cy, width - cx)
    height, width = pixels.shape[:2]
    camera = Camera("PINHOLE", width, height, (fx, fy, cx, cy))
    turned = Pose(np.rint(cv2.Rodrigues(np.array([0.0, 0.0, -np.pi / 2 * turns]))[0]), np.zeros(3))
    scale = longest_px / max(width, height)
    if longest_px and scale < 1:
        size = round(width * scale), round(height * scale)
        pixels, camera = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), camera.scaled(*size)
    return TurnedImage(np.ascontiguousarray(pixels), camera, turned)


def _parse(path: Path, number: int, fields: Sequence[str]) -> ImagePair:
    if len(fields) != _FIELDS:
        raise InputError(
            f"{path}:{number}: has {len(fields)} fields, expected {_FIELDS}: two names, two rotations, two camera "
            "matrices of 9 values and a pose of 16"
        )
    try:
        turns = integer_of(fields[2]), integer_of(fields[3])
        values = np.array([number_of(field) for field in fields[4:]])
    except ValueError as error:
        raise InputError(f"{path}:{number}: {error}, expected numbers after the two names") from error
    matrices, pose = values[:18].reshape(2, 3, 3), values[18:].reshape(4, 4)
    if not np.isfinite(values).all() or (matrices[:, (0, 1), (0, 1)] <= 0).any():
        raise InputError(f"{path}:{number}: a focal length is not positive, or a value is not finite")
    if np.linalg.norm(pose[:3, 3]) == 0:
        raise InputError(f"{path}:{number}: the translation is zero, which has no direction to compare with")
    u, _, vt = np.linalg.svd(pose[:3, :3])
    if np.abs(u @ vt - pose[:3, :3]).max() > 1e-2 or np.linalg.det(pose[:3, :3]) < 0:
        raise InputError(f"{path}:{number}: the pose's matrix is not a rotation")
    return ImagePair(fields[0], fields[1], turns, (matrices[0], matrices[1]), Pose(u @ vt, pose[:3, 3]))
