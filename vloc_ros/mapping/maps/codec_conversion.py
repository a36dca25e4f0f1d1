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

"""Descriptors of a map by another codec than its own, in blocks: all at once would be gigabytes of a large map."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap

_BLOCK = 1 << 16


def convert_codes(landmark_map: LandmarkMap, points: Array, codec: DescriptorCodec) -> Array:
    """(N, d) uint8 codes of (N,) points of a map by another codec."""
    codes = np.empty((len(points), codec.dimension), np.uint8)
    for start in range(0, len(points), _BLOCK):
        some = slice(start, start + _BLOCK)
        codes[some] = codec.encode(restore_descriptors(landmark_map, points[some]))
    return codes


def restore_descriptors(landmark_map: LandmarkMap, points: Array) -> Array:
    """(N, D) float32 descriptors of (N,) points in the extractor's own space, as far as the codes hold them."""
    return landmark_map.codec.restore(landmark_map.descriptors_of(points))
