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

"""Models of VisualSFM (`NVM_V3`): the images, with focal length, pose and radial distortion.

The quaternion w x y z is of camera_from_world, the position that of the camera. An image point m, relative to the
centre and divided by the focal length, is undistorted by m (1 + d |m|^2), so that COLMAP's k1 is -d to first order, as
COLMAP's own export to NVM has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.text import naming_file, numbers_of, read_lines

_COLUMNS = 11


@dataclass(frozen=True, slots=True, eq=False)
class NvmImage:
    """An image of a model.

    Attributes:
        name: of the image.
        focal_px: focal length.
        distortion: d, see above.
        world_from_camera: its pose.
    """

    name: str
    focal_px: float
    distortion: float
    world_from_camera: Pose

    def camera(self, width: int, height: int) -> Camera:
        """Its calibration; the principal point is in the middle."""
        return Camera("SIMPLE_RADIAL", width, height, (self.focal_px, width / 2, height / 2, -self.distortion))


def read_nvm(path: Path) -> dict[str, NvmImage]:
    """The images of a model by their names; its points are not read.

    Raises:
        InputError: it is none, or a row is no image; the message names the line.
    """
    rows = ((number, words) for number, line in read_lines(path) if (words := line.split()))
    head = [words[0] for _, words in islice(rows, 2)]
    if len(head) < 2 or head[0] != "NVM_V3" or not head[1].isdigit():
        raise InputError(f"{path}: does not begin with NVM_V3 and a number of images, expected a model of VisualSFM")
    count = int(head[1])
    images = {}
    for number, words in islice(rows, count):
        with naming_file(path, line=number):
            if len(words) != _COLUMNS:
                raise InputError(f"{len(words)} columns, expected 11: an image of a model of VisualSFM")
            values = numbers_of(words[1:])
            pose = pose_from_centre(values[1:5], values[5:8])
        images[words[0]] = NvmImage(words[0], values[0], values[8], pose)
    if len(images) != count:
        raise InputError(f"{path}: holds {len(images)} of {count} images, expected all; copy it again")
    return images


def pose_from_centre(quaternion: Sequence[float], centre: Sequence[float]) -> Pose:
    """world_from_camera from a quaternion w x y z of camera_from_world and the position of the camera."""
    camera_from_world = Pose.from_quaternion([*quaternion[1:], quaternion[0]], np.zeros(3))
    return Pose(camera_from_world.rotation.T, np.array(centre))
