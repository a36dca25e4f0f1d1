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

"""How rough a simulated recording is, drawn anew for each drive and each map: from clean to worse than one expects.

The ranges are those of data sheets and of common calibration, not those of any recording that is reported on. One level
scales all errors of a drive, so that clean drives and rough ones are among them, and each error is drawn below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.lidar import LidarPattern, Rosette, Spinning
from vloc_ros.simulation.lidar_noise import ScanErrors
from vloc_ros.simulation.lighting import Lighting
from vloc_ros.simulation.odometry import CameraDrift

# of a drive at the worst level, by whether it is outdoors where they differ; errors are signed and reach as far
_EXTRINSICS_RAD, _EXTRINSICS_M, _FOCAL, _CENTRE_PX, _CLOCK_S = np.radians(1.0), 0.02, 0.01, 3.0, 0.03
_SCALE, _YAW_PER_M, _TILT = 0.02, np.radians(0.3), np.radians(0.5)
_SPEED_M_S, _MOVING = {True: (4.0, 14.0), False: (0.3, 1.2)}, {True: 6, False: 3}
_JPEG = (95, 55)
# of a map at the worst level
_RANGE_STD_M, _RANGE_STD_PER_M, _DROP_OUT, _DARK, _MIXED = 0.03, 0.002, 0.3, 0.4, 0.7
_POSED_M, _POSED_RAD = {True: 0.06, False: 0.025}, np.radians(0.3)
_MOVING_AT_MAP, _CHANGED = {True: 5, False: 2}, {True: 12, False: 5}
_PATTERNS: dict[bool, tuple[LidarPattern, ...]] = {
    True: (Spinning(32, -0.43, 0.18, 900), Spinning(64, -0.43, 0.035, 900), Spinning(16, -0.26, 0.26, 900)),
    False: (Spinning(16, -0.26, 0.26, 900), Spinning(64, -0.39, 0.39, 512), Rosette(20_000, 0.6)),
}
# metres from place to place that are drawn
_PLACE_M = {True: (6.0, 10.0), False: (0.8, 1.4)}


@dataclass(frozen=True, slots=True, eq=False)
class CameraQuality:
    """Of one drive of a camera.

    Attributes:
        lighting: light, lens and sensor, with blur and exposure.
        jpeg: quality of the compression, 0 to 100.
        odometry_from_true: the error of the extrinsics, in the optical frame.
        focal: factor of the focal length that calibration has.
        centre_px: (2,) error of the principal point.
        clock_s: by how much odometry is ahead of the images.
        speed_m_s: of the camera.
        drift: of odometry.
        moving: cars and people around it.
        changed: things that stand elsewhere than when the map was made.
    """

    lighting: Lighting
    jpeg: int
    odometry_from_true: Pose
    focal: float
    centre_px: Array
    clock_s: float
    speed_m_s: float
    drift: CameraDrift
    moving: int
    changed: int

    def calibrate(self, camera: Camera) -> Camera:
        """The camera as its calibration has it."""
        fx, fy, cx, cy = camera.parameters
        right, down = self.centre_px
        parameters = (fx * self.focal, fy * self.focal, cx + float(right), cy + float(down))
        return Camera(camera.model, camera.width, camera.height, parameters)

    def compress(self, image: Array) -> Array:
        """(H, W) uint8 grey image after its compression."""
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))


@dataclass(frozen=True, slots=True, eq=False)
class MapQuality:
    """Of the scans of one map.

    Attributes:
        pattern: of the beams.
        errors: of distances and returns.
        place_m: from place to place.
        posed_m: standard deviation of each axis of a scan's position in the map.
        posed_rad: standard deviation of its rotation about each axis.
        moving: cars and people around each scan.
        changed: things that stood elsewhere when the map was made.
        glass: whether panes return nothing.
    """

    pattern: LidarPattern
    errors: ScanErrors
    place_m: float
    posed_m: float
    posed_rad: float
    moving: int
    changed: int
    glass: bool


def draw_camera_quality(rng: np.random.Generator, *, outdoors: bool) -> CameraQuality:
    """Draw the quality of a drive."""
    level = float(rng.uniform())

    def some(most: float) -> float:
        return float(most * level * rng.uniform(0.3, 1.0))

    def off(most: float, count: int) -> Array:
        return np.asarray(most * level * rng.uniform(-1.0, 1.0, count))

    lighting = Lighting(
        daylight=float(rng.uniform(0.5, 1.0)) if outdoors else 0.72,
        exposure=1.0 + float(off(0.35, 1)[0]),
        exposure_jitter=0.02 + some(0.13),
        gamma=1.0 + float(off(0.3, 1)[0]),
        vignetting=0.1 + some(0.35),
        noise=3.0 + some(15.0),
        read_noise=2.0 + some(8.0),
        blur_px=0.4 + some(0.9),
        motion_blur_px=0.3 + some(3.0),
    )
    return CameraQuality(
        lighting,
        round(_JPEG[0] - level * (_JPEG[0] - _JPEG[1])),
        Pose.from_rotation_vector(off(_EXTRINSICS_RAD / np.sqrt(3), 3), off(_EXTRINSICS_M / np.sqrt(3), 3)),
        1.0 + float(off(_FOCAL, 1)[0]),
        off(_CENTRE_PX, 2),
        float(off(_CLOCK_S, 1)[0]),
        float(rng.uniform(*_SPEED_M_S[outdoors])),
        CameraDrift(some(_SCALE), some(_YAW_PER_M), some(_TILT)),
        round(some(_MOVING[outdoors])),
        round(some(_CHANGED[outdoors])),
    )


def draw_map_quality(rng: np.random.Generator, *, outdoors: bool) -> MapQuality:
    """Draw the quality of a map."""
    level, patterns = float(rng.uniform()), _PATTERNS[outdoors]
    pattern = patterns[int(rng.integers(len(patterns)))]

    def some(most: float) -> float:
        return float(most * level * rng.uniform(0.3, 1.0))

    # a cone that does not turn stands for depth cameras
    by_square = some(_RANGE_STD_PER_M) if isinstance(pattern, Rosette) else 0.0
    return MapQuality(
        pattern,
        ScanErrors(0.01 + some(_RANGE_STD_M), by_square, some(_DROP_OUT), some(_DARK), some(_MIXED)),
        float(rng.uniform(*_PLACE_M[outdoors])),
        some(_POSED_M[outdoors]),
        some(_POSED_RAD),
        round(some(_MOVING_AT_MAP[outdoors])),
        round(some(_CHANGED[outdoors])),
        bool(rng.random() < level),
    )
