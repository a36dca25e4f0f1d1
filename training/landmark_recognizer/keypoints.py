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

"""The keypoints of one image, and the landmarks that they show."""

from __future__ import annotations

from dataclasses import dataclass

from vloc_ros.core.geometry.pose import Array

BACKGROUND = -1


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """The keypoints of one version of one image, strongest first.

    Attributes:
        rays: (N, 2) float32 x / z and y / z in the camera's optical frame.
        descriptors: (N, D) float16, L2-normalised.
        landmarks: (N,) int32 fine landmark that each keypoint shows, -1 for none.
    """

    rays: Array
    descriptors: Array
    landmarks: Array

    def __len__(self) -> int:
        return len(self.rays)

    def select(self, kept: Array | slice) -> Example:
        """A subset of the keypoints."""
        return Example(self.rays[kept], self.descriptors[kept], self.landmarks[kept])
