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

"""Images that the cameras of a rig took together: what was measured of the rig is measured once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.sfm.measurements import RelativePose, measured_motions
from vloc_ros.mapping.sfm.pairs import Pair

T = TypeVar("T")
# of the extrinsics of a rig that was calibrated
_EXTRINSICS_STD_M, _EXTRINSICS_STD_RAD = 0.005, 0.005


@dataclass(frozen=True, slots=True, eq=False)
class ImageSets:
    """Which of N images were taken together.

    Attributes:
        leads: (N,) int64 the image of each one's set that stands for it; its own number where it is that one, or was
            taken alone.
        motion_stds: by image, see `PosedImage`.
    """

    leads: Array
    motion_stds: Sequence[Array | None]

    @staticmethod
    def of(images: Sequence[PosedImage]) -> ImageSets:
        """The sets of images; where the lead of one is missing, it counts as taken alone."""
        number = {image.name: i for i, image in enumerate(images)}
        leads = [number.get(image.rig.lead, i) if image.rig else i for i, image in enumerate(images)]
        return ImageSets(np.array(leads, np.int64), [image.motion_std for image in images])

    @property
    def leading(self) -> Array:
        """(S,) ascending numbers of the images that stand for their sets."""
        return np.flatnonzero(self.leads == np.arange(len(self.leads)))

    @property
    def set_numbers(self) -> Array:
        """(N,) the number of each image's set, in the order of `leading`."""
        return np.searchsorted(self.leading, self.leads)

    @property
    def rig_numbers(self) -> Array | None:
        """`set_numbers`; None where no images were taken together."""
        return self.set_numbers if len(self.leading) < len(self.leads) else None

    def choose(self, of_images: Sequence[T]) -> list[T]:
        """Of values by image, those of the images that stand for their sets."""
        return [of_images[int(i)] for i in self.leading]

    def choose_pairs(self, of_pairs: Mapping[Pair, T]) -> dict[Pair, T]:
        """Of values by pair, those of pairs of such images, by the numbers of their sets."""
        number = {int(i): k for k, i in enumerate(self.leading)}
        return {(number[i], number[j]): value for (i, j), value in of_pairs.items() if i in number and j in number}

    def motions(self, measured: Sequence[Pose], noise: Array | None = None) -> list[RelativePose]:
        """The measured motions from each set to the next, see `measured_motions`, and within each set the extrinsics.

        Odometry of the rig would count once a camera, had each of them its motions.
        """
        leading = self.leading.tolist()
        between = [
            replace(motion, pair=(leading[motion.pair[0]], leading[motion.pair[1]]))
            for motion in measured_motions(self.choose(measured), noise, self.choose(self.motion_stds))
        ]
        return between + [self._extrinsics(measured, i) for i in range(len(measured)) if self.leads[i] != i]

    def _extrinsics(self, measured: Sequence[Pose], image: int) -> RelativePose:
        """By the measured poses, which know how the rig moved between the stamps of a set."""
        lead = int(self.leads[image])
        std = np.repeat([_EXTRINSICS_STD_M, _EXTRINSICS_STD_RAD], 3)
        return RelativePose((lead, image), measured[lead].inverse() @ measured[image], std)
