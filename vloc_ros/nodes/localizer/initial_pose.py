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

"""Initial pose of the robot, from the topic initialpose, carried on by odometry until an image is localized."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.covariance import raise_variances
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import PosePrior
from vloc_ros.core.tracking.fix import Fix
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of

# nobody points at a map more exactly; many senders leave the covariance at zero, which is not known
_LEAST_STD_M, _LEAST_STD_RAD = 0.1, 0.05


class InitialPose:
    """A prior that is used until an image is localized with it, or until it is too old.

    A callback writes it, the worker reads it.
    """

    def __init__(self, *, max_age_s: float) -> None:
        self._max_age_ns = int(max_age_s * 1e9)
        self._lock = threading.Lock()
        self._received: tuple[int, int, PosePrior] | None = None  # when it came, its stamp, the prior
        self._carried: tuple[PosePrior, FixFilter] | None = None  # a prior, and what follows it; the worker's

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
        covariance = raise_variances(covariance, _LEAST_STD_M, _LEAST_STD_RAD)
        prior, stamp_ns = PosePrior(pose_of(message.pose.pose), covariance, frame), stamp_ns_of(message)
        # a sender whose clock is another one, or that gives no stamp, means the present
        is_ours = 0 < stamp_ns <= now_ns < stamp_ns + self._max_age_ns
        with self._lock:
            self._received = (now_ns, stamp_ns if is_ours else now_ns, prior)

    def prior(self, now_ns: int) -> PosePrior | None:
        """Return the prior of the base, None if there is none or it is too old."""
        with self._lock:
            if self._received is None or now_ns - self._received[0] >= self._max_age_ns:
                return None
            return self._received[2]

    def carry(
        self,
        prior: PosePrior,
        config: FixFilterConfig,
        *,
        odom_from_base: Pose | None,
        stamp_ns: int,
        odometry_at: Callable[[int], Pose | None],
    ) -> PosePrior:
        """Return a prior of this object at the time of an image, carried on by odometry since it was given.

        It is carried from image to image, as the last fix is. Where odometry at its stamp is not known any more, it
        grows by what the robot may have moved; without odometry it stays as it is.

        Args:
            prior: that `prior` returned.
            config: how odometry drifts.
            odom_from_base: odometry at the time of the image.
            stamp_ns: that time.
            odometry_at: returns odometry at a time, None unless it is known.
        """
        with self._lock:
            if self._received is None or self._received[2] is not prior:  # replaced meanwhile
                return prior
            given_ns = self._received[1]
        if self._carried is None or self._carried[0] is not prior:
            if odom_from_base is None or stamp_ns <= given_ns:
                return prior
            track = FixFilter(replace(config, enabled=False))
            fix = Fix(prior.map_from_rig, prior.covariance, prior.frame_id, confidence=0.5)
            track.gate(fix, odometry_at(given_ns), given_ns)
            self._carried = prior, track
        moved = self._carried[1].carry(odom_from_base, stamp_ns)
        assert moved is not None
        return PosePrior(moved.map_from_base, moved.covariance, prior.frame_id)

    def consume(self, prior: PosePrior | None) -> None:
        """Remove the prior after an image was localized with it; keep it if a newer one has come."""
        with self._lock:
            if self._received is not None and self._received[2] is prior:
                self._received = None

    def clear(self) -> None:
        """Remove the prior."""
        with self._lock:
            self._received = None
