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

"""Which images of a live camera become keyframes of a map: by motion, and not the blurred ones. Knows no clock."""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median

from vloc_ros.core.config import KeyframeConfig
from vloc_ros.core.geometry.keyframe_motion import has_moved
from vloc_ros.core.geometry.pose import Pose

_NS_PER_S = 1e9
# by so much odometry may jump whatever the speed: corrections of a fused one are smaller
_MAX_JUMP_M, _MAX_JUMP_RAD = 0.5, 0.5
# faster than wheeled robots turn; the camera of a person at 10 images a second may turn with 7 rad/s
_MAX_TURN_RAD_S = 2.0
# odometry that starts anew is away for seconds, which must not allow for any jump
_LONGEST_GAP_S = 1.0
# images between two keyframes of 0.15 m are about five at 1 m/s and 30 Hz: these are of the last seconds
_REMEMBERED = 30
_FEWEST_TO_COMPARE = 3


class KeyframeVerdict(Enum):
    """What becomes of an image; all but KEYFRAME and NOT_MOVED are refusals."""

    KEYFRAME = "KEYFRAME"
    NOT_MOVED = "NOT_MOVED"
    CLOCK_JUMPED = "CLOCK_JUMPED"
    ODOMETRY_JUMPED = "ODOMETRY_JUMPED"
    BLURRED = "BLURRED"


class KeyframeSelector:
    """Judges images in the order of arrival: first their poses, and of those that moved the pixels.

    Attributes:
        reason: why the last image was refused; empty if it was not.
    """

    def __init__(
        self,
        config: KeyframeConfig,
        *,
        last: tuple[int, Pose] | None = None,
        last_judged: tuple[int, Pose] | None = None,
    ) -> None:
        """Begin, or continue a recording.

        Args:
            config: what is selected.
            last: stamp and pose of the last keyframe of a recording that is continued.
            last_judged: the same of a later image that was none.
        """
        self._config = config
        self._last_keyframe, self._last_pose = last, last_judged or last
        self._is_continued = self._last_pose is not None
        self._blur: deque[float] = deque(maxlen=_REMEMBERED)
        self.reason = ""

    def judge_pose(self, stamp_ns: int, odom_from_camera: Pose) -> KeyframeVerdict:
        """Judge the time and the pose of an image; KEYFRAME means that its pixels decide."""
        self.reason = ""
        if self._last_pose is not None:
            last_ns, last = self._last_pose
            if stamp_ns <= last_ns:
                back_s = (last_ns - stamp_ns) / _NS_PER_S
                self.reason = (
                    f"the image is {back_s:.3f} s older than the one before: the clock was set back, or a bag was "
                    "started again; finish this recording and start another"
                )
                return KeyframeVerdict.CLOCK_JUMPED
            if jump := self._find_jump(last, odom_from_camera, (stamp_ns - last_ns) / _NS_PER_S):
                self.reason = f"{jump}: it was reset; finish this recording and start another"
                return KeyframeVerdict.ODOMETRY_JUMPED
        self._last_pose, self._is_continued = (stamp_ns, odom_from_camera), False
        config = self._config
        if self._last_keyframe is None or has_moved(
            self._last_keyframe[1], odom_from_camera, config.min_translation_m, config.min_rotation_rad
        ):
            return KeyframeVerdict.KEYFRAME
        return KeyframeVerdict.NOT_MOVED

    def _find_jump(self, last: Pose, now: Pose, elapsed_s: float) -> str:
        """Say by how much odometry jumped; empty if it did not.

        A robot that was moved while nothing was recorded may have turned to anywhere.
        """
        moved_m, turned_rad = last.distance_to(now)
        counted_s = elapsed_s if self._is_continued else min(elapsed_s, _LONGEST_GAP_S)
        allowed_m = _MAX_JUMP_M + self._config.max_speed_m_s * counted_s
        if moved_m > allowed_m:
            return (
                f"odometry moved {moved_m:.2f} m in {elapsed_s:.2f} s, expected at most {allowed_m:.2f} m by "
                "max_speed_m_s"
            )
        allowed_rad = _MAX_JUMP_RAD + _MAX_TURN_RAD_S * counted_s
        if not self._is_continued and turned_rad > allowed_rad:
            return f"odometry turned {turned_rad:.2f} rad in {elapsed_s:.2f} s, expected at most {allowed_rad:.2f} rad"
        return ""

    def judge_blur(self, blur: float) -> KeyframeVerdict:
        """Judge the blur of an image that has moved, from 0 to 1 as `measure_blur` gives it.

        It is compared with the latest images only: textures and lenses differ more than sharp and blurred images of
        one place do. So in a long turn that blurs all images they are taken after a while, which leaves no gap.
        """
        usual = median(self._blur) if len(self._blur) >= _FEWEST_TO_COMPARE else None
        self._blur.append(blur)
        if usual is None or blur <= usual + self._config.max_excess_blur:
            return KeyframeVerdict.KEYFRAME
        self.reason = f"the image is blurred: {blur:.2f}, {usual:.2f} is usual here; drive slower, or give more light"
        return KeyframeVerdict.BLURRED

    def add(self, stamp_ns: int, odom_from_camera: Pose) -> None:
        """Take an image as the last keyframe."""
        self._last_keyframe = stamp_ns, odom_from_camera
