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
