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

"""Candidates of the whole map at once: the default while the map is small."""

from __future__ import annotations

from collections.abc import Iterator

from vloc_ros.core.localization.candidates import WHOLE_MAP, Candidate, with_sample
from vloc_ros.core.localization.observation import Observation


class WholeMapCandidates:
    """The whole map for a sample of the keypoints, then for all."""

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """Two candidates of one image with many keypoints, one of a rig or of few keypoints, none without any."""
        if observation.keypoint_count:
            yield from with_sample(WHOLE_MAP, observation)
