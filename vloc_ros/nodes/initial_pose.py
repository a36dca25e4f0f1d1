"""Where somebody says that the robot is, on the topic initialpose."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.query import PosePrior
from vloc_ros.nodes.conversion import pose_of


class InitialPose:
    """Believed until an image is localized, or for a while. Filled by a callback, asked by the worker."""

    def __init__(self, *, max_age_s: float) -> None:
        self._max_age_ns = int(max_age_s * 1e9)
        self._lock = threading.Lock()
        self._told: tuple[int, PosePrior] | None = None

    def tell(self, message: Any, *, map_frames: Sequence[str], now_ns: int) -> None:
        """A PoseWithCovarianceStamped of the base.

        Raises:
            InputError: it is of another frame, or no pose with a covariance.
        """
        frame = message.header.frame_id.lstrip("/")
        if frame not in map_frames:
            expected = " or ".join(map_frames) or "and none is loaded"
            raise InputError(f"initialpose is in frame {frame!r}, expected the map's, {expected}")
        covariance = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
        if not np.isfinite(covariance).all() or (np.diag(covariance) < 0).any():
            raise InputError("initialpose has a covariance with values that are not finite, or negative variances")
        prior = PosePrior(pose_of(message.pose.pose), covariance, frame)
        with self._lock:
            self._told = (now_ns, prior)

    def prior(self, now_ns: int) -> PosePrior | None:
        """What is believed of the base now."""
        with self._lock:
            if self._told is None or now_ns - self._told[0] >= self._max_age_ns:
                return None
            return self._told[1]

    def localized(self, prior: PosePrior | None) -> None:
        """An image asked with this prior, or without one, was localized."""
        with self._lock:
            if self._told is not None and self._told[1] is prior:
                self._told = None

    def forget(self) -> None:
        """Believe nothing."""
        with self._lock:
            self._told = None
