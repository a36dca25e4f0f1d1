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

"""Gating of fixes between images: a fix must lie where odometry carries the last one, and a jump must be confirmed.

The filter never alters a fix. It decides which ones to publish, and predicts where the next one should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.covariance import carry_covariance, squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.tracking.fix import Fix

# gate of the squared Mahalanobis distance: the 0.9999 quantile of chi-squared with six degrees of freedom
_GATE = 27.856
# odometry was reset when a step is longer than this plus so many times what the robot's speed allows
_RESET_M, _RESET_SPEEDS = 0.5, 5.0
# the maximum speed is this many standard deviations of the speed without odometry
_SPEED_SIGMAS = 2.0
# the robot is lost when the standard deviation of its position exceeds this; where that of its fix does so already,
# when it has grown by this factor
_LOST_M, _LOST_GROWTH = 1.0, 2.0
# a coarse fix moves the robot at once within this squared Mahalanobis distance: 95.4 % in three dimensions, two sigma
_NEAR = 8.02
# the covariance of a fix does not widen the gate when its standard deviation is more than so many times the predicted
_VAGUE = 2.0
# the reference is renewed after this way by odometry, in metres plus radians
_REFERENCE_WAY = 1.0
# fixes follow odometry when they moved by at least this share of its motion
_FOLLOWED = 0.5
# a fix that is wrong once in ten times counts as one, a more doubtful one as half of one, a certain one as 1.25
_ORDINARY_CONFIDENCE, _LIGHTEST, _HEAVIEST = 0.9, 0.5, 1.25
# without odometry the fixes moved when they are more than so many standard deviations apart
_SCATTER_SIGMAS = 5.0
# a sensor that agreed with the current pose speaks for it so long against what other sensors agree on
_VOUCHES_NS = 5_000_000_000


class GateResult(Enum):
    """The outcome of gating one fix.

    Attributes:
        AGREES: the fix is published; it lies where it is expected, or it starts a track.
        HELD: the fix is not published.
        JUMPED: the fix is published; enough fixes in a row confirm that the robot is at another place.
    """

    AGREES = "agrees"
    HELD = "held"
    JUMPED = "jumped"


@dataclass(frozen=True, slots=True)
class GatingDecision:
    """The outcome of gating one fix, and why.

    Attributes:
        result: the outcome.
        reason: for people; empty when the fix agrees.
        first: no pose was known when the fix came, at the start or because the robot was lost.
        less_certain: the fix agrees with a pose of another sensor that is better known, which stays: the last fix of
            that sensor, carried by odometry.
    """

    result: GateResult
    reason: str = ""
    first: bool = False
    less_certain: bool = False

    @property
    def publish(self) -> bool:
        """Whether the fix may move the robot."""
        return self.result is not GateResult.HELD


class _Motion(Enum):
    """How the robot moved since the alternative's first fix."""

    STANDING = auto()
    MOVED = auto()
    CONTRADICTS_ODOMETRY = auto()


@dataclass(slots=True, eq=False)
class _Track:
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
        weight: their sum of weights, see `_confirmation_weight`.
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
    def begin(fix: Fix, odom_from_base: Pose | None, stamp_ns: int, sensor: str) -> _Track:
        """Start a track at a fix."""
        weight = _confirmation_weight(fix)
        supporters = frozenset({sensor})
        return _Track(
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
        covariance = carried + _variances(metres_std, turn_std) + of_frame
        return Fix(self.map_from_base, covariance, self.fix.frame_id, self.fix.confidence, of_frame)

    @property
    def way(self) -> float:
        """The way by odometry, in metres plus radians."""
        return self.travelled_m + self.turned_rad


def is_odometry_reset(step: Pose, seconds: float, config: FixFilterConfig) -> bool:
    """Whether odometry moved further in some seconds than the robot can."""
    metres, _ = step.distance_to(Pose.identity())
    return metres > _RESET_M + _RESET_SPEEDS * config.max_speed_m_s * seconds


def carry_fix(fix: Fix, config: FixFilterConfig, odom_then: Pose, then_ns: int, odom_now: Pose, now_ns: int) -> Fix:
    """Carry a pose of the base on by odometry, as the filter carries its last one; errors of the map's frame stay."""
    track = _Track.begin(fix, odom_then, then_ns, "")
    track.advance(config, odom_now, now_ns)
    return track.predict(config, now_ns)


class FixFilter:
    """Gates the fixes of one robot in the order of their images. Not thread-safe: one worker owns it.

    A fix passes the gate when its squared Mahalanobis distance from two predictions is small: from the last fix, and
    from a reference fix about a metre ago. The reference rejects fixes that creep, or that stand still while the robot
    drives. A fix outside the gate is held and starts an alternative hypothesis, one a sensor. It takes over when
    `confirmations` fixes in a row agree on it: the robot was moved (kidnapped), or the last fix was wrong. While the
    robot stands its images are no independent evidence, so `confirmations_standing` are needed. Doubtful fixes count
    less than one, certain ones more; one fix alone never suffices where two are required. Where a sensor agreed with
    the current pose a few seconds ago, only an alternative that it agrees with takes over: rates decide nothing.

    Coarse fixes, as above aerial tiles, compare with fixes of other sensors by their whole covariance, and with each
    other without the part that they have in common. One that is vaguer than the prediction changes nothing.
    """

    def __init__(self, config: FixFilterConfig) -> None:
        self._config = config
        self._current: _Track | None = None
        self._reference: _Track | None = None
        self._alternatives: dict[str, _Track] = {}  # by the sensor that began each
        self._agreed_ns: dict[str, int] = {}  # when each sensor last agreed with the current pose

    @property
    def config(self) -> FixFilterConfig:
        """The limits."""
        return self._config

    def set_config(self, config: FixFilterConfig) -> None:
        """Change the limits; the tracks stay."""
        self._config = config

    def reset(self) -> None:
        """Drop all tracks, as for another map, a jump in time, or on request."""
        self._current = self._reference = None
        self._alternatives, self._agreed_ns = {}, {}

    def carry(self, odom_from_base: Pose | None, stamp_ns: int) -> Fix | None:
        """Carry all tracks on to an image's time and predict the pose within the map; None when no pose is known."""
        for track in (self._current, self._reference, *self._alternatives.values()):
            if track is not None:
                track.advance(self._config, odom_from_base, stamp_ns)
        return None if self._current is None else self._current.predict(self._config, stamp_ns)

    def gate(
        self, fix: Fix, odom_from_base: Pose | None, stamp_ns: int, *, sensor: str = "", coarse: bool = False
    ) -> GatingDecision:
        """Decide whether a fix may be published.

        Args:
            fix: of an image or scan that was accepted.
            odom_from_base: odometry at its stamp, None where there is none.
            stamp_ns: of the image or scan.
            sensor: that it is of, where a robot has several. Their fixes confirm each other; one that is less certain
                than what another sensor's fix predicts does not replace it.
            coarse: the sensor is less certain than others by nature, as aerial tiles are: its fix agrees with another
                sensor's where its own covariance reaches, however large that is. Far off it moves nothing until a
                second one agrees.
        """
        fix, expected = fix if coarse else fix.within_map(), self.carry(odom_from_base, stamp_ns)
        first = expected is None or self._is_lost(expected, fix, coarse=coarse)
        track = _Track.begin(fix, odom_from_base, stamp_ns, sensor)
        inside = not first and self._is_inside_gates(track, coarse=coarse)
        if inside and not (coarse and self._moves_far(track)):
            self._accept(track, coarse=coarse)
            return GatingDecision(GateResult.AGREES, less_certain=self._is_of_other_sensor(sensor))
        if not self._config.enabled:  # the fix is followed wherever it is
            self.reset()
            self._accept(track)
            return GatingDecision(GateResult.AGREES, first=first)
        alternative, motion = self._match_alternative(track)
        needed = self._needed_confirmations(motion, first=first or (inside and self._is_near(track, alternative)))
        follows_odometry = motion is not _Motion.CONTRADICTS_ODOMETRY
        is_confirmed = needed <= 1 or alternative.weight >= needed
        opposed = self._describe_opposition(alternative, stamp_ns) if is_confirmed and not first else ""
        if follows_odometry and is_confirmed and not opposed:
            self.reset()
            self._accept(track)
            if first or expected is None:
                return GatingDecision(GateResult.AGREES, first=True)
            reason = f"{_describe_distance(fix, expected)}; {alternative.fixes} fixes in a row agree on it"
            return GatingDecision(GateResult.JUMPED, reason)
        self._keep_alternative(alternative, sensor)
        where = "the first fix" if expected is None else _describe_distance(fix, expected)
        doubtful = ", doubtful ones" if alternative.weight < alternative.fixes else ""
        confirmed = f"{alternative.fixes} of {needed} fixes in a row agree on it{doubtful}{opposed}"
        return GatingDecision(
            GateResult.HELD, f"{where}; {confirmed if follows_odometry else 'it does not follow odometry'}", first=first
        )

    def _is_lost(self, expected: Fix, fix: Fix, *, coarse: bool) -> bool:
        """Whether the current pose is not known any more; to a coarse fix one that is known about as well is."""
        assert self._current is not None
        start = self._current.fix
        if not coarse:
            return _is_lost(expected, start)
        most_m = _LOST_GROWTH * max(_position_std(fix), _position_std(start))
        return _position_std(expected) > max(_LOST_M, most_m)

    def _describe_opposition(self, alternative: _Track, stamp_ns: int) -> str:
        """Which sensor agreed with the current pose lately and does not agree with an alternative; empty if none."""
        for sensor, agreed_ns in self._agreed_ns.items():
            age_ns = abs(stamp_ns - agreed_ns)
            if sensor not in alternative.supporters and age_ns < _VOUCHES_NS:
                return f"; {sensor} agreed with the last fix {age_ns * 1e-9:.1f} s ago"
        return ""

    def _is_of_other_sensor(self, sensor: str) -> bool:
        """Whether the current pose is another sensor's."""
        return self._current is not None and self._current.sensor != sensor

    def _is_inside_gates(self, track: _Track, *, coarse: bool) -> bool:
        tracks = (self._current, self._reference)
        return all(one is None or self._is_inside_gate(track, one, coarse=coarse) for one in tracks)

    def _moves_far(self, track: _Track) -> bool:
        """Whether a coarse fix would move the robot by more than two standard deviations of its own part."""
        assert self._current is not None
        moves = track.sensor == self._current.sensor or self._is_certain(track)
        return moves and not self._is_near(track, self._current)

    def _is_near(self, track: _Track, other: _Track) -> bool:
        """Whether a coarse fix is within two standard deviations of its own part, to a track of its sensor of both."""
        fix, expected = track.fix.within_map(), other.predict(self._config, track.stamp_ns).within_map()
        covariance = fix.covariance + (expected.covariance if track.sensor == other.sensor else 0.0)
        covariance = covariance + _variances(self._config.tolerance_m, self._config.tolerance_rad)
        error = fix.map_from_base.error_to(expected.map_from_base)
        return bool(squared_mahalanobis_distances(error[None, :3], covariance[None, :3, :3])[0] <= _NEAR)

    def _accept(self, track: _Track, *, coarse: bool = False) -> None:
        """Go on from a fix, unless it is less certain than the prediction; renew the reference when it is old."""
        is_certain = self._current is None or self._is_certain(track)
        if coarse and not is_certain:  # it says nothing against what others say
            self._alternatives.pop(track.sensor, None)
            return
        self._alternatives = {}
        self._agreed_ns[track.sensor] = track.stamp_ns
        if is_certain:
            self._current = track
        reference = self._reference
        if (
            reference is None
            or reference.way > _REFERENCE_WAY
            or _is_lost(reference.predict(self._config, track.stamp_ns), reference.fix)
        ):
            self._reference = _Track.begin(track.fix, track.odom_from_base, track.stamp_ns, track.sensor)

    def _is_certain(self, track: _Track) -> bool:
        """Whether a new fix is certain enough to go on from; one of another sensor has to be the more certain one."""
        assert self._current is not None
        fix, expected = self._compare(track, self._current)
        tolerance_m = self._config.tolerance_m if track.sensor == self._current.sensor else 0.0
        return fix.frame_id != expected.frame_id or _position_std(fix) <= _position_std(expected) + tolerance_m

    def _match_alternative(self, track: _Track) -> tuple[_Track, _Motion]:
        """The alternative that a fix agrees with, a new one if none, and how the robot moved since it began."""
        for alternative in self._alternatives.values():
            if self._is_inside_gate(track, alternative):
                alternative.fixes += 1
                alternative.weight += _confirmation_weight(track.fix)
                alternative.supporters |= track.supporters
                return alternative, self._motion_since(alternative, track.fix)
        return track, _Motion.STANDING

    def _keep_alternative(self, alternative: _Track, sensor: str) -> None:
        """Keep what a sensor's fix agrees with, in place of what its last one began; what another began stays.

        Sensors that contradict each other so do not keep each other from being confirmed.
        """
        if alternative.sensor != sensor:
            self._alternatives.pop(sensor, None)
        self._alternatives[alternative.sensor] = alternative

    def _motion_since(self, alternative: _Track, fix: Fix) -> _Motion:
        """Compare the motion of odometry and of the fixes since the alternative's first fix."""
        start = alternative.fix
        limits = self._config.moved_m, self._config.moved_rad
        by_fixes = start.map_from_base.distance_to(fix.map_from_base)
        if alternative.without_odometry_s or alternative.odom_from_base is None:
            scatter_m = _SCATTER_SIGMAS * (_position_std(start) + _position_std(fix))
            return _Motion.MOVED if by_fixes[0] >= limits[0] + scatter_m else _Motion.STANDING
        by_odometry = start.map_from_base.distance_to(alternative.map_from_base)
        moves = [(o, f) for o, f, limit in zip(by_odometry, by_fixes, limits, strict=True) if o >= limit]
        if not moves:
            return _Motion.STANDING
        follows = all(of_fixes >= _FOLLOWED * of_odometry for of_odometry, of_fixes in moves)
        return _Motion.MOVED if follows else _Motion.CONTRADICTS_ODOMETRY

    def _needed_confirmations(self, motion: _Motion, *, first: bool) -> int:
        """Number of fixes in a row that must agree on an alternative; moot while they contradict odometry."""
        if first:
            return self._config.first_confirmations
        return self._config.confirmations if motion is _Motion.MOVED else self._config.confirmations_standing

    def _compare(self, track: _Track, other: _Track) -> tuple[Fix, Fix]:
        """A new fix and what another track predicts; what fixes of a sensor have in common is no difference."""
        fix, expected = track.fix, other.predict(self._config, track.stamp_ns)
        return (fix.within_map(), expected.within_map()) if track.sensor == other.sensor else (fix, expected)

    def _is_inside_gate(self, track: _Track, other: _Track, *, coarse: bool = False) -> bool:
        """Whether a new fix is within the gate around what another track predicts; never in another scene."""
        fix, expected = self._compare(track, other)
        widens = coarse and track.sensor != other.sensor
        if fix.frame_id != expected.frame_id:
            return False
        error = fix.map_from_base.error_to(expected.map_from_base)
        covariance = expected.covariance + _variances(self._config.tolerance_m, self._config.tolerance_rad)
        if widens or np.trace(fix.covariance[:3, :3]) <= _VAGUE**2 * np.trace(covariance[:3, :3]):
            covariance = covariance + fix.covariance
        return bool(squared_mahalanobis_distances(error[None], covariance[None])[0] <= _GATE)


def _confirmation_weight(fix: Fix) -> float:
    """What a fix counts for: the logarithm of the odds against it, relative to those of an ordinary one."""
    weight = np.log(max(1.0 - fix.confidence, 1e-9)) / np.log(1.0 - _ORDINARY_CONFIDENCE)
    return float(np.clip(weight, _LIGHTEST, _HEAVIEST))


def _is_lost(expected: Fix, start: Fix) -> bool:
    """Whether the position of a track is not known any more; one that began vague, as above aerial tiles, is."""
    start_m = _position_std(start)
    return _position_std(expected) > (_LOST_GROWTH * start_m if start_m > _LOST_M else _LOST_M)


def _position_std(fix: Fix) -> float:
    return float(np.sqrt(np.diag(fix.covariance)[:3].max()))


def _variances(metres: float, radians: float) -> Array:
    return np.diag(np.repeat([metres**2, radians**2], 3))


def _describe_distance(fix: Fix, expected: Fix) -> str:
    if fix.frame_id != expected.frame_id:
        return f"in {fix.frame_id}, while the last fix was in {expected.frame_id}"
    metres, radians = fix.map_from_base.distance_to(expected.map_from_base)
    return f"{metres:.2f} m and {np.degrees(radians):.1f} degrees from where the last fix is carried to"
