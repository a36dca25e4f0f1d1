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

"""A fix that is carried on by odometry, with a covariance that grows on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.tracking.fix import Fix

# odometry was reset when a step is longer, or turns further, than this plus so many times what the robot's speed allows
_RESET_M, _RESET_RAD, _RESET_SPEEDS = 0.5, 0.5, 5.0
# the maximum speed is this many standard deviations of the speed without odometry
_SPEED_SIGMAS = 2.0
# a fix that is wrong once in ten times counts as one, a more doubtful one as half of one, a certain one as 1.25
_ORDINARY_CONFIDENCE, _LIGHTEST, _HEAVIEST = 0.9, 0.5, 1.25


@dataclass(slots=True, eq=False)
class Track:
    """A fix that is carried on by odometry.

    Attributes:
        fix: the fix at its start.
        map_from_base: the current pose.
        odom_from_base: odometry at the last update; None before the first.
        stamp_ns: time of the last update.
        travelled_m: length of the way by odometry.
        turned_rad: sum of the turns by odometry.
        without_odometry_s: time over which odometry was missing or reset.
        fixes: number of fixes that agree on this track.
        weight: their sum of weights, see `confirmation_weight`.
        sensor: that the fix at its start is of.
        supporters: the sensors whose fixes agree on this track.
    """

    fix: Fix
    map_from_base: Pose
    odom_from_base: Pose | None
    stamp_ns: int
    travelled_m: float = 0.0
    turned_rad: float = 0.0
    without_odometry_s: float = 0.0
    fixes: int = 1
    weight: float = 1.0
    sensor: str = ""
    supporters: frozenset[str] = frozenset()

    @staticmethod
    def begin(fix: Fix, odom_from_base: Pose | None, stamp_ns: int, sensor: str) -> Track:
        """Start a track at a fix."""
        weight = confirmation_weight(fix)
        supporters = frozenset({sensor})
        return Track(
            fix, fix.map_from_base, odom_from_base, stamp_ns, weight=weight, sensor=sensor, supporters=supporters
        )

    def advance(self, config: FixFilterConfig, odom_from_base: Pose | None, stamp_ns: int) -> None:
        """Carry the track on. The way adds up: odometry that returns to its start has drifted all the same."""
        if odom_from_base is None:
            return
        seconds = abs(stamp_ns - self.stamp_ns) * 1e-9
        step = None if self.odom_from_base is None else self.odom_from_base.inverse() @ odom_from_base
        self.odom_from_base, self.stamp_ns = odom_from_base, stamp_ns
        metres, radians = (0.0, 0.0) if step is None else step.distance_to(Pose.identity())
        if step is None or is_odometry_reset(step, seconds, config):
            self.without_odometry_s += seconds
            return
        self.map_from_base = self.map_from_base @ step
        self.travelled_m += metres
        self.turned_rad += radians

    def predict(self, config: FixFilterConfig, stamp_ns: int) -> Fix:
        """The pose at a time with its covariance, which grows with the way and with the time without odometry."""
        without_odometry_s = self.without_odometry_s + abs(stamp_ns - self.stamp_ns) * 1e-9
        turn_std = config.odometry_turn_drift * self.turned_rad + config.odometry_heading_drift * self.travelled_m
        # a heading error displaces the robot in proportion to the distance travelled
        metres_std = (config.odometry_position_drift + turn_std) * self.travelled_m
        metres_std += config.max_speed_m_s * without_odometry_s / _SPEED_SIGMAS
        turn_std += config.max_turn_rate_rad_s * without_odometry_s / _SPEED_SIGMAS
        then_from_now = self.fix.map_from_base.inverse() @ self.map_from_base
        of_frame = self.fix.frame_covariance
        carried = carry_covariance(self.fix.covariance - of_frame, self.fix.map_from_base, then_from_now)
        covariance = carried + variances(metres_std, turn_std) + of_frame
        return Fix(self.map_from_base, covariance, self.fix.frame_id, self.fix.confidence, of_frame)

    @property
    def way(self) -> float:
        """The way by odometry, in metres plus radians."""
        return self.travelled_m + self.turned_rad


def is_odometry_reset(step: Pose, seconds: float, config: FixFilterConfig) -> bool:
    """Whether odometry moved or turned further in some seconds than the robot can."""
    metres, radians = step.distance_to(Pose.identity())
    is_far = metres > _RESET_M + _RESET_SPEEDS * config.max_speed_m_s * seconds
    return is_far or radians > _RESET_RAD + _RESET_SPEEDS * config.max_turn_rate_rad_s * seconds


def carry_fix(fix: Fix, config: FixFilterConfig, odom_then: Pose, then_ns: int, odom_now: Pose, now_ns: int) -> Fix:
    """Carry a pose of the base on by odometry, as the filter carries its last one; errors of the map's frame stay."""
    track = Track.begin(fix, odom_then, then_ns, "")
    track.advance(config, odom_now, now_ns)
    return track.predict(config, now_ns)


def confirmation_weight(fix: Fix) -> float:
    """What a fix counts for: the logarithm of the odds against it, relative to those of an ordinary one."""
    weight = np.log(max(1.0 - fix.confidence, 1e-9)) / np.log(1.0 - _ORDINARY_CONFIDENCE)
    return float(np.clip(weight, _LIGHTEST, _HEAVIEST))


def variances(metres: float, radians: float) -> Array:
    """(6, 6) covariance of a pose with these standard deviations along and about every axis."""
    return np.diag(np.repeat([metres**2, radians**2], 3))
