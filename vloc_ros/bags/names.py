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

"""Names of topics and frames in the bags that are written here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of a bag. A compressed image goes to `<image>/compressed`, as image_transport has it."""

    image: str = "/camera/image"
    camera_info: str = "/camera/camera_info"
    odometry: str = "/odom"
    truth: str = "/truth"
    fix: str = "/fix"
    imu: str = "/imu"
    tf: str = "/tf"
    tf_static: str = "/tf_static"

    @property
    def compressed_image(self) -> str:
        """Topic of the compressed image."""
        return f"{self.image}/compressed"


@dataclass(frozen=True, slots=True)
class FrameNames:
    """Coordinate frames of a bag, as REP-105 names them."""

    map: str = "map"
    odom: str = "odom"
    base: str = "base_link"
    camera: str = "camera_optical_frame"
