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

"""What became of the images. Needs no ROS."""

from __future__ import annotations

from collections import Counter


class ImageCounts:
    """Counts of images that are no keyframes.

    Attributes:
        not_moved: images since whose last keyframe the camera had not moved enough.
        refused: number of refused images by the name of the reason.
        refusal: the last reason; empty once an image was taken.
    """

    def __init__(self) -> None:
        self.not_moved = 0
        self.refused: Counter[str] = Counter()
        self.refusal = ""

    def take(self, *, moved: bool) -> None:
        """Count an image that was not refused."""
        self.not_moved += not moved
        self.refusal = ""

    def refuse(self, kind: str, reason: str) -> None:
        """Count an image that was refused."""
        self.refused[kind] += 1
        self.refusal = f"{kind}: {reason}"
