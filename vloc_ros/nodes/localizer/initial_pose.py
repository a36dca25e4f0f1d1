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

"""Initial pose of the robot, from the topic initialpose."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.query import PosePrior
from vloc_ros.nodes.rclpy_support.conversion import pose_of


class InitialPose:
    """A prior that is used until an image is localized with it, or until it is too old.

    A callback writes it, the worker reads it.
    """

    def __init__(self, *, max_age_s: float) -> None:
        self._max_age_ns = int(max_age_s * 1e9)
        self._lock = threading.Lock()
        self._received: tuple[int, PosePrior] | None = None

    def set_pose(self, message: Any, *, map_frames: Sequence[str], now_ns: int) -> None:
        """Take a PoseWithCovarianceStamped of the base as the prior.

        Raises:
            InputError: its frame is not one of the map, or its pose or covariance is invalid.
        """
        frame = message.header.frame_id.lstrip("/")
        if frame not in map_frames:
            expected = " or ".join(map_frames) or "but none is loaded"
            raise InputError(f"initialpose is in frame {frame!r}, expected the frame of the map, {expected}")
        covariance = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
        if not np.isfinite(covariance).all() or (np.diag(covariance) < 0).any():
            raise InputError("initialpose has a covariance with values that are not finite, or negative variances")
        prior = PosePrior(pose_of(message.pose.pose), covariance, frame)
        with self._lock:
            self._received = (now_ns, prior)

    def prior(self, now_ns: int) -> PosePrior | None:
        """Return the prior of the base, None if there is none or it is too old."""
        with self._lock:
            if self._received is None or now_ns - self._received[0] >= self._max_age_ns:
                return None
            return self._received[1]

    def consume(self, prior: PosePrior | None) -> None:
        """Remove the prior after an image was localized with it; keep it if a newer one has come."""
        with self._lock:
            if self._received is not None and self._received[1] is prior:
                self._received = None

    def clear(self) -> None:
        """Remove the prior."""
        with self._lock:
            self._received = None
