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

"""Odometry and extrinsics at the time of images or of a scan, by TF, and how long each is waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.transforms import TransformLookup

# more pairs of frames than this come from messages with invalid names
_MOST_MISSING = 16


@dataclass(frozen=True, slots=True)
class Reference:
    """Time and frames of the pose of an image set.

    Attributes:
        stamp_ns: stamp of the newest image.
        base_frame: frame whose pose is published.
        rig_frame: frame whose pose is estimated: that of a single camera, or the base for a rig.
        base_from_camera: extrinsics of a single camera, None to look them up in TF.
        deadline_s: of a monotonic clock, until which all lookups in TF together wait; None where each has the timeout.
    """

    stamp_ns: int
    base_frame: str
    rig_frame: str
    base_from_camera: Pose | None = None
    deadline_s: float | None = None


class RigTransforms:
    """Looks up odometry and extrinsics. It remembers what TF had before: only that is worth a wait."""

    def __init__(self, config: LocalizerNodeConfig, frames: TransformLookup) -> None:
        self._config, self._frames = config, frames
        self._has_odometry = self._is_too_late = False
        # targets and sources that TF did not have in time, with the stamp that it was
        self._missing: dict[tuple[str, str], int] = {}

    def odometry_at(self, reference: Reference, stamp_ns: int) -> Pose | None:
        """Return odom_from_base at a time, None unless TF has it already."""
        return self._frames.lookup_available(self._config.odom_frame, reference.base_frame, stamp_ns)

    def odometry(self, reference: Reference) -> Pose | None:
        """Return odometry at the time of the images; wait for it if it was available before.

        Raises:
            Refused: it does not come, and TF needs it.
        """
        found = self.odometry_at(reference, reference.stamp_ns)
        if found is None and self._has_odometry:
            try:
                return self.look_up(reference, self._config.odom_frame, reference.base_frame)
            except Refused:
                if self._config.publish_tf == "map_odom":
                    raise
                # it ended, or is later than any image waits: no other one does
                self._has_odometry, self._is_too_late = False, True
        if found is not None:
            self._has_odometry, self._is_too_late = True, False
        return found

    def late_odometry(self, reference: Reference) -> Pose | None:
        """Return odometry that was not available before localization, None only if TF does not need it."""
        if self._config.publish_tf == "map_odom":
            found: Pose | None = self.look_up(reference, self._config.odom_frame, reference.base_frame)
        else:
            found = self.odometry_at(reference, reference.stamp_ns)
        self._has_odometry = self._has_odometry or (found is not None and not self._is_too_late)
        return found

    def needed_odometry(self, reference: Reference) -> Pose | None:
        """Return odometry that a search from above needs; None where it does not come and TF does without.

        Raises:
            Refused: it does not come, and TF needs it.
        """
        if self._config.publish_tf == "map_odom":
            return self.late_odometry(reference)
        try:
            return self.look_up_worthwhile(reference, self._config.odom_frame, reference.base_frame)
        except Refused:
            return None

    def base_from_rig(self, reference: Reference) -> Pose:
        """Return the extrinsics of a single camera, from the parameter or TF; the identity for a rig."""
        return reference.base_from_camera or self.look_up(
            reference, reference.base_frame, reference.rig_frame, refusal=LocalizationStatus.NO_TRANSFORM
        )

    def look_up(
        self, reference: Reference, target: str, source: str, *, refusal: int = LocalizationStatus.NO_ODOMETRY
    ) -> Pose:
        """Return target_from_source at the time of a reference.

        With a deadline frames that were missing are not waited for again until TF has them.

        Raises:
            Refused: TF has no such transform, or an invalid one; its code is `refusal`.
        """
        patience_s = None
        if reference.deadline_s is not None:
            is_absent = (target, source) in self._missing and self._frames.lookup_newest(target, source) is None
            patience_s = 0.0 if is_absent else max(reference.deadline_s - time.monotonic(), 0.0)
        return self._look_up(reference, target, source, patience_s, refusal)

    def look_up_worthwhile(self, reference: Reference, target: str, source: str) -> Pose:
        """Return target_from_source at the time of a reference, which an image can do without.

        Frames that did not come in time are waited for again only where the newest that TF has of them is no longer
        before the image than one waits: they are late, and have not ended.

        Raises:
            Refused: TF has no such transform, or an invalid one.
        """
        patience_s = None if self._is_worth_a_wait(reference, target, source) else 0.0
        return self._look_up(reference, target, source, patience_s, LocalizationStatus.NO_TRANSFORM)

    def _is_worth_a_wait(self, reference: Reference, target: str, source: str) -> bool:
        missed_ns = self._missing.get((target, source))
        if missed_ns is None:
            return True
        newest = self._frames.lookup_newest(target, source)
        behind_s = float("inf") if newest is None else (reference.stamp_ns - newest[0]) * 1e-9
        return missed_ns != reference.stamp_ns and 0.0 < behind_s <= self._config.transform_timeout_s

    def _look_up(self, reference: Reference, target: str, source: str, patience_s: float | None, refusal: int) -> Pose:
        """Return a transform, and remember whether TF did not have it in time."""
        try:
            found = self._frames.lookup(target, source, reference.stamp_ns, patience_s=patience_s, refusal=refusal)
        except Refused:
            if len(self._missing) >= _MOST_MISSING:
                self._missing.clear()
            self._missing[target, source] = reference.stamp_ns
            raise
        self._missing.pop((target, source), None)
        return found
