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

"""Tiles of an aerial map: what encodes them, and how their keypoints are stored.

A tile is a square of ground. Neighbours overlap by half, so that every view resembles one of them as a whole; each
stores only the keypoints of its middle, since those of its rim are stored with its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.vlad import Vocabulary

# modality of the places, name of their retrieval index, names of their payloads
AERIAL, TILE_VLAD = "aerial", "tile_vlad"
KEYPOINTS, CODES = "keypoints", "codes"
# keypoints are stored in parts of a pixel of their tile
_PARTS_OF_PIXEL = 32.0
_ARRAYS = ("words", "mean", "basis", "step", "tile_px")


@dataclass(frozen=True, slots=True, eq=False)
class TileEncoder:
    """VLAD (Jégou et al. 2010) of a tile's or a view's keypoints, and the codec of their descriptors.

    Attributes:
        codec: of the descriptors.
        vocabulary: over what the codec projects to.
        tile_px: side of a tile, pixels.
    """

    codec: DescriptorCodec
    vocabulary: Vocabulary
    tile_px: int

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> TileEncoder:
        """The inverse of `to_arrays`.

        Raises:
            MapError: an array is missing, or is none of an encoder.
        """
        if missing := [name for name in _ARRAYS if name not in arrays]:
            raise MapError(
                f"the index of aerial tiles lacks {', '.join(missing)}; build it with `vloc map aerial build`"
            )
        codec = DescriptorCodec(
            np.asarray(arrays["mean"], np.float32), np.asarray(arrays["basis"], np.float32), float(arrays["step"][0])
        )
        encoder = TileEncoder(codec, Vocabulary(np.asarray(arrays["words"], np.float32)), int(arrays["tile_px"][0]))
        words = encoder.vocabulary.words
        if encoder.tile_px < 1 or not codec.step > 0 or words.ndim != 2 or words.shape[1] != codec.dimension:
            raise MapError("the index of aerial tiles is damaged; build it with `vloc map aerial build`")
        return encoder

    def to_arrays(self) -> dict[str, Array]:
        """What the retrieval index stores."""
        return {
            "words": self.vocabulary.words,
            "mean": self.codec.mean,
            "basis": self.codec.basis,
            "step": np.array([self.codec.step]),
            "tile_px": np.array([self.tile_px], np.int32),
        }

    @property
    def hash(self) -> str:
        """Names this encoder."""
        digest = hashlib.sha256(b"tiles")
        for _, array in sorted(self.to_arrays().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def encode(self, descriptors: Array) -> Array:
        """(D,) float32 L2-normalised descriptor of (N, D) descriptors of keypoints."""
        return self.vocabulary.encode(self.codec.project(descriptors))


def store_keypoints(xy: Array) -> Array:
    """(N, 2) int16 of (N, 2) pixels from the middle of a tile, y down."""
    return np.rint(_PARTS_OF_PIXEL * xy).astype(np.int16)


def restore_keypoints(stored: Array) -> Array:
    """The inverse of `store_keypoints`, float64."""
    return np.asarray(stored / _PARTS_OF_PIXEL)
