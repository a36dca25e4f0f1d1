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

"""VLAD of an image's own keypoints, by any extractor: a global descriptor that needs no training but a vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.retrieval_index import IMAGE
from vloc_ros.core.retrieval.vlad import MAX_SAMPLES, Vocabulary

# as maps have them
_AXES, _WORDS = 64, 64


class VladEncoder:
    """An encoder; see `vloc_ros.core.retrieval.query_views.SizedEncoder`."""

    modality = IMAGE
    batch_size = 1
    takes_any_size = True

    def __init__(self, extractor: Extractor, codec: DescriptorCodec, vocabulary: Vocabulary) -> None:
        self._extractor, self._codec, self._vocabulary = extractor, codec, vocabulary

    @staticmethod
    def fit(extractor: Extractor, images: Iterable[Array], *, words: int = _WORDS) -> VladEncoder:
        """Learn projection and vocabulary of a sample of images, such as some of a database.

        Args:
            extractor: of the keypoints.
            images: (H, W) uint8 grey or (H, W, 3) uint8 BGR.
            words: of the vocabulary.

        Raises:
            InputError: the images show too few keypoints.
        """
        found = [extractor.extract(image).descriptors for image in images]
        descriptors = np.concatenate([np.zeros((0, extractor.dimension), np.float32), *found])
        if len(descriptors) < 2 * words:
            raise InputError(
                f"{len(found)} images show {len(descriptors)} keypoints, expected at least {2 * words} for a "
                "vocabulary; give images with texture"
            )
        descriptors = descriptors[:: max(1, len(descriptors) // MAX_SAMPLES)]
        codec = DescriptorCodec.fit(descriptors, _AXES)
        return VladEncoder(extractor, codec, Vocabulary.fit(codec.project(descriptors), words))

    @property
    def hash(self) -> str:
        """Of the vocabulary and the projection."""
        return hashlib.sha256(self._vocabulary.hash.encode() + self._codec.basis.tobytes()).hexdigest()[:16]

    @property
    def dimension(self) -> int:
        """Words times axes."""
        return int(self._vocabulary.words.size)

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images; of zeros where one shows no keypoint."""
        found = (self._extractor.extract(image).descriptors for image in images)
        return np.stack([self._vocabulary.encode(self._codec.project(one)) for one in found])

    def encode_at_own_size(self, images: Sequence[Array]) -> Array:
        """The same: keypoints are found at an image's own size."""
        return self.encode(images)

    def encode_query(self, query: Query) -> Array:
        """(V, D) float32 L2-normalised descriptors of a query's V >= 0 views."""
        if not query.views:
            return np.zeros((0, self.dimension), np.float32)
        return self.encode([view.image for view in query.views])
