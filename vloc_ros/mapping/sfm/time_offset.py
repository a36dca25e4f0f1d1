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

"""How much later than images the poses of another clock are stamped, by how both say that the camera turned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import VerifiedPair
from vloc_ros.mapping.sfm.pairs import Pair

CameraPath = Callable[[int], Pose | None]

_MAX_OFFSET_S, _STEP_S = 0.2, 0.01
# pairs of images so soon after each other tell, where there are enough
_SOON, _MIN_PAIRS = 3, 10
# of the rotation between two images, and of the Cauchy loss in standard deviations
_STD_RAD, _WIDTH = 0.004, 2.0
# an offset counts where it is so many standard deviations from none, and no less than a clock is good to
_SIGNIFICANT, _LEAST_S = 4.0, 0.002


def estimate_time_offset(
    stamps_ns: Sequence[int], camera_path: CameraPath | None, geometries: Mapping[Pair, VerifiedPair]
) -> float | None:
    """Seconds to add to the images' stamps to ask a trajectory for their poses.

    The rotations between images are compared with those between their times, shifted by up to 0.2 s; how steeply they
    part tells how well the offset is known.

    Args:
        stamps_ns: of the images.
        camera_path: map_from_camera by the other clock, None outside its times.
        geometries: relative poses of pairs of images.

    Returns:
        The offset, 0 where none can be told from the noise; None where nothing shows it.

    Raises:
        MapError: the offset is larger.
    """
    pairs = [pair for pair in geometries if pair[1] - pair[0] <= _SOON]
    if camera_path is None or len(pairs) < _MIN_PAIRS:
        return None
    steps = round(_MAX_OFFSET_S / _STEP_S)
    offsets_s = _STEP_S * np.arange(-steps, steps + 1)
    found = np.stack([geometries[pair].first_from_second.rotation for pair in pairs])
    errors = np.array([_errors(stamps_ns, camera_path, found, np.array(pairs), offset_s) for offset_s in offsets_s])
    known = np.isfinite(errors).all(axis=0)
    if known.sum() < _MIN_PAIRS:
        return None
    costs = _WIDTH**2 * np.log1p((errors[:, known] / (_WIDTH * _STD_RAD)) ** 2).sum(axis=1)
    best = int(np.argmin(costs))
    # between two poses of noisy odometry their noise averages out, whichever way the images are shifted
    if costs[len(costs) - 1 - best] <= costs[steps]:
        return 0.0
    if best in (0, len(costs) - 1):
        return _at_the_end(offsets_s[best], costs[steps] - costs[best], costs[best] / known.sum())
    before, least, after = costs[best - 1 : best + 2]
    curvature = float(before - 2.0 * least + after)
    offset_s = float(offsets_s[best] + 0.5 * _STEP_S * (before - after) / curvature)
    std_s = _STEP_S * np.sqrt(2.0 * max(least / known.sum(), 1.0) / curvature)
    return offset_s if abs(offset_s) > max(_SIGNIFICANT * std_s, _LEAST_S) else 0.0


def _at_the_end(offset_s: float, gain: float, scatter: float) -> float:
    """No offset where the gain of the largest one is noise.

    Raises:
        MapError: it is not.
    """
    if gain > _SIGNIFICANT**2 * max(scatter, 1.0):
        raise MapError(
            f"the clocks of images and poses are more than {abs(offset_s):g} s apart, as the camera's turns show, "
            f"expected less; set the clocks, or add an offset to the stamps ({offset_s:g} s or more)"
        )
    return 0.0


def _errors(stamps_ns: Sequence[int], camera_path: CameraPath, found: Array, pairs: Array, offset_s: float) -> Array:
    """(P,) angles between the rotations of pairs by their images and by the trajectory; NaN where that ends.

    Args:
        stamps_ns: of the images.
        camera_path: map_from_camera by the other clock, None outside its times.
        found: (P, 3, 3) rotations first_from_second by the images.
        pairs: (P, 2) images.
        offset_s: added to the stamps.
    """
    rotations = np.full((len(stamps_ns), 3, 3), np.nan)
    for image in np.unique(pairs):
        pose = camera_path(stamps_ns[image] + round(1e9 * offset_s))
        if pose is not None:
            rotations[image] = pose.rotation
    expected = rotations[pairs[:, 0]].swapaxes(1, 2) @ rotations[pairs[:, 1]]
    chords = np.linalg.norm(found - expected, axis=(1, 2))  # 2 sqrt(2) times the sine of half the angle
    return np.asarray(2.0 * np.arcsin(np.minimum(chords / np.sqrt(8.0), 1.0)))
