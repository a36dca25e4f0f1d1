"""What happens between images: fixes are believed while odometry carries them, and a jump waits until it is confirmed.

The filter never alters a fix. It says which ones to publish, and where the next one is to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.covariance import carry_covariance, normalised_squared_errors
from vloc_ros.core.fix import Fix
from vloc_ros.core.pose import Array, Pose

# squared Mahalanobis distance that one in ten thousand errors of six degrees of freedom exceeds
_GATE = 27.856
# odometry that moves by more than this, and so many times the robot's speed, was set anew
_JUMP_M, _JUMP_SPEEDS = 0.5, 5.0


class Verdict(Enum):
    """What the filter says of a fix."""

    AGREES = "agrees"
    HELD = "held"
    JUMPED = "jumped"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and, unless the fix agrees, a readable reason; `first` where nothing was believed before."""

    verdict: Verdict
    reason: str = ""
    first: bool = False

    @property
    def publish(self) -> bool:
        """Whether the fix may move the robot."""
        return self.verdict is not Verdict.HELD


@dataclass(slots=True, eq=False)
class _Track:
    """A fix, and how far the robot went since."""

    fix: Fix
    odom_from_base: Pose | None
    stamp_ns: int
    fixes: int = 1
    began_at: Pose | None = None
    has_moved: bool = False
    travelled_m: float = 0.0
    turned_rad: float = 0.0
    last: tuple[Pose, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self.last = None if self.odom_from_base is None else (self.odom_from_base, self.stamp_ns)

    def moved_to(self, config: FixFilterConfig, odom_from_base: Pose | None, stamp_ns: int) -> None:
        """Add up the way: odometry that comes back to where it was has drifted all the same."""
        if odom_from_base is None or self.last is None:
            return
        last_odom_from_base, last_ns = self.last
        metres, radians = odom_from_base.distance_to(last_odom_from_base)
        if metres > _JUMP_M + _JUMP_SPEEDS * config.max_speed_m_s * abs(stamp_ns - last_ns) * 1e-9:
            self.odom_from_base = self.last = None  # odometry was set anew: it carries nothing from before
            return
        self.travelled_m += metres
        self.turned_rad += radians
        self.last = odom_from_base, stamp_ns

    def expected(self, config: FixFilterConfig, odom_from_base: Pose | None, stamp_ns: int) -> Fix:
        """Where the robot is now, carried by odometry, or else near where it was."""
        if odom_from_base is None or self.odom_from_base is None:
            seconds = abs(stamp_ns - self.stamp_ns) * 1e-9
            drift = _variances(config.max_speed_m_s * seconds, config.max_turn_rate_rad_s * seconds)
            return Fix(self.fix.map_from_base, self.fix.covariance + drift)
        then_from_now = self.odom_from_base.inverse() @ odom_from_base
        turn_std = config.odometry_turn_drift * self.turned_rad + config.odometry_heading_drift * self.travelled_m
        # a wrong heading leads astray by what was travelled since
        metres_std = (config.odometry_position_drift + turn_std) * self.travelled_m
        carried = carry_covariance(self.fix.covariance, self.fix.map_from_base, then_from_now)
        return Fix(self.fix.map_from_base @ then_from_now, carried + _variances(metres_std, turn_std))


class FixFilter:
    """Judges the fixes of one robot in the order of their images. Not thread-safe: one worker owns it.

    A fix that lies where odometry carries the last one is published. One that does not is held, and starts a rival;
    when as many fixes in a row as `confirmations` agree on the rival, carried by odometry in the same way, the robot
    was carried away (or the last fix was wrong), and the rival takes over. While the robot stands, the same picture
    says the same thing again, so it takes `confirmations_standing`.
    """

    def __init__(self, config: FixFilterConfig) -> None:
        self._config = config
        self._believed: _Track | None = None
        self._rival: _Track | None = None

    def use(self, config: FixFilterConfig) -> None:
        """Judge by other limits from now on; what is believed stays."""
        self._config = config

    def forget(self) -> None:
        """Believe nothing: another map, another time, or somebody asked for a new start."""
        self._believed = self._rival = None

    def tell(self, fix: Fix, odom_from_base: Pose | None, stamp_ns: int) -> None:
        """Believe what somebody says about the robot."""
        self._believed, self._rival = _Track(fix, odom_from_base, stamp_ns), None

    def expected(self, odom_from_base: Pose | None, stamp_ns: int) -> Fix | None:
        """Where the robot should be now, with the covariance of that; None when nothing is believed."""
        for track in (self._believed, self._rival):
            if track is not None:
                track.moved_to(self._config, odom_from_base, stamp_ns)
        if self._believed is None:
            return None
        return self._believed.expected(self._config, odom_from_base, stamp_ns)

    def judge(self, fix: Fix, odom_from_base: Pose | None, stamp_ns: int) -> Judgement:
        """Whether a fix may be published.

        Args:
            fix: of an image that was accepted.
            odom_from_base: odometry at the image's stamp, None where there is none.
            stamp_ns: of the image.
        """
        expected = self.expected(odom_from_base, stamp_ns)
        if not self._config.enabled or (expected is not None and self._agree(fix, expected)):
            self._believed, self._rival = _Track(fix, odom_from_base, stamp_ns), None
            return Judgement(Verdict.AGREES, first=expected is None)
        rival = self._continued(fix, odom_from_base, stamp_ns)
        needed = self._needed(rival, first=expected is None)
        if rival.fixes >= needed:
            self._believed, self._rival = rival, None
            if expected is None:
                return Judgement(Verdict.AGREES, first=True)
            return Judgement(Verdict.JUMPED, f"{_apart(fix, expected)}; {rival.fixes} fixes in a row agree on it")
        self._rival = rival
        where = "the first fix" if expected is None else _apart(fix, expected)
        reason = f"{where}; {rival.fixes} of {needed} fixes in a row agree on it"
        return Judgement(Verdict.HELD, reason, first=expected is None)

    def _continued(self, fix: Fix, odom_from_base: Pose | None, stamp_ns: int) -> _Track:
        """The rival with this fix as its last, or a new one."""
        track = _Track(fix, odom_from_base, stamp_ns)
        before = self._rival
        if before is not None and self._agree(fix, before.expected(self._config, odom_from_base, stamp_ns)):
            track.began_at = before.began_at or before.fix.map_from_base
            metres, radians = fix.map_from_base.distance_to(track.began_at)
            moved = metres >= self._config.moved_m or radians >= self._config.moved_rad
            track.fixes, track.has_moved = before.fixes + 1, before.has_moved or moved
        return track

    def _needed(self, rival: _Track, *, first: bool) -> int:
        if first:
            return self._config.first_confirmations
        return self._config.confirmations if rival.has_moved else self._config.confirmations_standing

    def _agree(self, fix: Fix, expected: Fix) -> bool:
        error = fix.map_from_base.error_to(expected.map_from_base)
        tolerance = _variances(self._config.tolerance_m, self._config.tolerance_rad)
        covariance = fix.covariance + expected.covariance + tolerance
        return bool(normalised_squared_errors(error[None], covariance[None])[0] <= _GATE)


def _variances(metres: float, radians: float) -> Array:
    return np.diag(np.repeat([metres**2, radians**2], 3))


def _apart(fix: Fix, expected: Fix) -> str:
    metres, radians = fix.map_from_base.distance_to(expected.map_from_base)
    return f"{metres:.2f} m and {np.degrees(radians):.1f} degrees from where the last fix is carried to"
