"""What happens between images: fixes are believed while odometry carries them, and a jump waits until it is confirmed.

The filter never alters a fix. It says which ones to publish, and where the next one is to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.covariance import carry_covariance, squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.tracking.fix import Fix

# squared Mahalanobis distance that one in ten thousand errors of six degrees of freedom exceeds
_GATE = 27.856
# odometry that moves by more than this, and so many times the robot's speed, was set anew
_JUMP_M, _JUMP_SPEEDS = 0.5, 5.0
# the fastest that a robot goes is this many standard deviations of how far it goes unseen
_SPEED_SIGMAS = 2.0
# less certain than this it is not known where the robot is
_LOST_M = 1.0
# a fix that is so much less certain than what is expected must agree with that by itself
_VAGUE = 2.0
# the way, in metres plus radians, over which fixes must agree with odometry and not only from one to the next
_ANCHOR_WAY = 1.0
# of the way that odometry went, fixes must have gone this part
_FOLLOWED = 0.5


class GateResult(Enum):
    """What the filter says of a fix."""

    AGREES = "agrees"
    HELD = "held"
    JUMPED = "jumped"


@dataclass(frozen=True, slots=True)
class GatingDecision:
    """A verdict and, unless the fix agrees, a readable reason; `first` where nothing was believed before."""

    verdict: GateResult
    reason: str = ""
    first: bool = False

    @property
    def publish(self) -> bool:
        """Whether the fix may move the robot."""
        return self.verdict is not GateResult.HELD


@dataclass(slots=True, eq=False)
class _Track:
    """A fix, carried on by odometry as long as there is any.

    Attributes:
        fix: where it began.
        map_from_base: where it is now.
        odom_from_base: odometry when it was last moved, None where there was none yet.
        stamp_ns: of that moment.
        travelled_m, turned_rad: the way by odometry.
        unseen_s: time without odometry, or over which it was set anew.
        fixes: how many have agreed on it.
    """

    fix: Fix
    map_from_base: Pose
    odom_from_base: Pose | None
    stamp_ns: int
    travelled_m: float = 0.0
    turned_rad: float = 0.0
    unseen_s: float = 0.0
    fixes: int = 1

    @staticmethod
    def begin(fix: Fix, odom_from_base: Pose | None, stamp_ns: int) -> _Track:
        """A new one."""
        return _Track(fix, fix.map_from_base, odom_from_base, stamp_ns)

    def move(self, config: FixFilterConfig, odom_from_base: Pose | None, stamp_ns: int) -> None:
        """Carry it on, adding up the way: odometry that comes back to where it was has drifted all the same."""
        if odom_from_base is None:
            return
        seconds = abs(stamp_ns - self.stamp_ns) * 1e-9
        step = None if self.odom_from_base is None else self.odom_from_base.inverse() @ odom_from_base
        self.odom_from_base, self.stamp_ns = odom_from_base, stamp_ns
        metres, radians = (0.0, 0.0) if step is None else step.distance_to(Pose.identity())
        if step is None or metres > _JUMP_M + _JUMP_SPEEDS * config.max_speed_m_s * seconds:
            self.unseen_s += seconds
            return
        self.map_from_base = self.map_from_base @ step
        self.travelled_m += metres
        self.turned_rad += radians

    def expected(self, config: FixFilterConfig, stamp_ns: int) -> Fix:
        """Where it is, and how certain that is."""
        unseen_s = self.unseen_s + abs(stamp_ns - self.stamp_ns) * 1e-9
        turn_std = config.odometry_turn_drift * self.turned_rad + config.odometry_heading_drift * self.travelled_m
        # a wrong heading leads astray by what was travelled since
        metres_std = (config.odometry_position_drift + turn_std) * self.travelled_m
        metres_std += config.max_speed_m_s * unseen_s / _SPEED_SIGMAS
        turn_std += config.max_turn_rate_rad_s * unseen_s / _SPEED_SIGMAS
        then_from_now = self.fix.map_from_base.inverse() @ self.map_from_base
        carried = carry_covariance(self.fix.covariance, self.fix.map_from_base, then_from_now)
        return Fix(self.map_from_base, carried + _variances(metres_std, turn_std), self.fix.frame_id)

    @property
    def way(self) -> float:
        """Metres and radians by odometry."""
        return self.travelled_m + self.turned_rad


class FixFilter:
    """Judges the fixes of one robot in the order of their images. Not thread-safe: one worker owns it.

    A fix that lies where odometry carries the last one is published, if it also lies where odometry carries the one
    of a metre ago: fixes that creep, or stand still while the robot drives, are not followed. One that does not is
    held, and starts a rival. When as many fixes in a row as `confirmations` lie where odometry carries the rival, the
    robot was carried away (or the last fix was wrong), and the rival takes over. While the robot stands, the same
    picture says the same thing again, so it takes `confirmations_standing`.
    """

    def __init__(self, config: FixFilterConfig) -> None:
        self._config = config
        self._believed: _Track | None = None
        self._anchor: _Track | None = None
        self._rival: _Track | None = None

    def use(self, config: FixFilterConfig) -> None:
        """Judge by other limits from now on; what is believed stays."""
        self._config = config

    def forget(self) -> None:
        """Believe nothing: another map, another time, or somebody asked for a new start."""
        self._believed = self._anchor = self._rival = None

    def carry(self, odom_from_base: Pose | None, stamp_ns: int) -> Fix | None:
        """Move on to an image's time; where the robot should be then, None when nothing is believed."""
        for track in (self._believed, self._anchor, self._rival):
            if track is not None:
                track.move(self._config, odom_from_base, stamp_ns)
        return None if self._believed is None else self._believed.expected(self._config, stamp_ns)

    def judge(self, fix: Fix, odom_from_base: Pose | None, stamp_ns: int) -> GatingDecision:
        """Whether a fix may be published.

        Args:
            fix: of an image that was accepted.
            odom_from_base: odometry at the image's stamp, None where there is none.
            stamp_ns: of the image.
        """
        expected = self.carry(odom_from_base, stamp_ns)
        first = expected is None or _is_lost(expected)
        track = _Track.begin(fix, odom_from_base, stamp_ns)
        if not self._config.enabled or (not first and self._is_expected(fix, stamp_ns)):
            self._believe(track, expected)
            return GatingDecision(GateResult.AGREES, first=first)
        rival, needed = self._confirmed(track)
        if first and needed is not None:
            needed = self._config.first_confirmations
        if needed is not None and rival.fixes >= needed:
            self._believed = self._anchor = self._rival = None
            self._believe(track, None)
            if first or expected is None:
                return GatingDecision(GateResult.AGREES, first=True)
            return GatingDecision(
                GateResult.JUMPED, f"{_apart(fix, expected)}; {rival.fixes} fixes in a row agree on it"
            )
        self._rival = rival
        where = "the first fix" if expected is None else _apart(fix, expected)
        agree = f"{rival.fixes} of {needed} fixes in a row agree on it" if needed else "it stays while odometry goes on"
        return GatingDecision(GateResult.HELD, f"{where}; {agree}", first=first)

    def _is_expected(self, fix: Fix, stamp_ns: int) -> bool:
        tracks = (self._believed, self._anchor)
        return all(t is None or self._agree(fix, t.expected(self._config, stamp_ns)) for t in tracks)

    def _believe(self, track: _Track, expected: Fix | None) -> None:
        """Go on from a fix, unless it is less certain than what was expected anyway."""
        self._rival = None
        if expected is None or _position_std(track.fix) <= _position_std(expected) + self._config.tolerance_m:
            self._believed = track
        anchor = self._anchor
        if anchor is None or anchor.way > _ANCHOR_WAY or _is_lost(anchor.expected(self._config, track.stamp_ns)):
            self._anchor = _Track.begin(track.fix, track.odom_from_base, track.stamp_ns)

    def _confirmed(self, track: _Track) -> tuple[_Track, int | None]:
        """The rival that a fix speaks for, and how many fixes it needs; None while they do not follow odometry."""
        rival = self._rival
        if rival is None or not self._agree(track.fix, rival.expected(self._config, track.stamp_ns)):
            return track, self._config.confirmations_standing
        rival.fixes += 1
        by_odometry = rival.fix.map_from_base.distance_to(rival.map_from_base)
        by_fixes = rival.fix.map_from_base.distance_to(track.fix.map_from_base)
        moves = (self._config.moved_m, self._config.moved_rad)
        if rival.unseen_s or rival.odom_from_base is None:
            # without odometry only what the fixes' own scatter does not explain is a move
            scatter = 5.0 * (_position_std(rival.fix) + _position_std(track.fix))
            moved = by_fixes[0] >= moves[0] + scatter
            return rival, self._config.confirmations if moved else self._config.confirmations_standing
        if all(way < move for way, move in zip(by_odometry, moves, strict=True)):
            return rival, self._config.confirmations_standing
        followed = all(
            way < move or fixed >= _FOLLOWED * way
            for way, fixed, move in zip(by_odometry, by_fixes, moves, strict=True)
        )
        return rival, self._config.confirmations if followed else None

    def _agree(self, fix: Fix, expected: Fix) -> bool:
        """Whether a fix lies where it is expected, as far as both are certain; never in another scene."""
        if fix.frame_id != expected.frame_id:
            return False
        error = fix.map_from_base.error_to(expected.map_from_base)
        covariance = expected.covariance + _variances(self._config.tolerance_m, self._config.tolerance_rad)
        if np.trace(fix.covariance[:3, :3]) <= _VAGUE**2 * np.trace(covariance[:3, :3]):
            covariance = covariance + fix.covariance
        return bool(squared_mahalanobis_distances(error[None], covariance[None])[0] <= _GATE)


def _is_lost(expected: Fix) -> bool:
    return _position_std(expected) > _LOST_M


def _position_std(fix: Fix) -> float:
    return float(np.sqrt(np.diag(fix.covariance)[:3].max()))


def _variances(metres: float, radians: float) -> Array:
    return np.diag(np.repeat([metres**2, radians**2], 3))


def _apart(fix: Fix, expected: Fix) -> str:
    if fix.frame_id != expected.frame_id:
        return f"in {fix.frame_id}, while the last fix was in {expected.frame_id}"
    metres, radians = fix.map_from_base.distance_to(expected.map_from_base)
    return f"{metres:.2f} m and {np.degrees(radians):.1f} degrees from where the last fix is carried to"
