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

"""Pairs of images that share a view: by global descriptors, matches, and the relative pose that these agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.vlad import Vocabulary, sample_descriptors
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.correspondences import VerifiedPair, match_pairs, verify_pairs
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.workers import Workers


def global_descriptors(views: Sequence[ExtractedImage], config: MappingConfig) -> Array:
    """(N, D) global descriptors of the images."""
    described = [view.features.descriptors for view in views]
    sample = sample_descriptors(described, sum(map(len, described)))
    if not len(sample):
        raise MapError(f"none of the {len(views)} images shows a keypoint; are they dark or blurred?")
    vocabulary = Vocabulary.fit(sample, config.vocabulary_words)
    return np.stack([vocabulary.encode(descriptors) for descriptors in described])


def match_views(
    views: Sequence[ExtractedImage],
    pairs: Sequence[Pair],
    known: Mapping[Pair, Array] | None,
    config: MappingConfig,
    progress: Progress,
    workers: Workers,
) -> dict[Pair, Array]:
    """(M, 2) keypoint indices of every pair, not verified; known are those of pairs that were matched before."""
    known = known or {}
    missing = [pair for pair in pairs if pair not in known]
    matched = match_pairs([view.features for view in views], missing, ratio=config.match_ratio, workers=workers)
    new = dict(progress(matched, description="matching", total=len(missing)))
    return {pair: known[pair] if pair in known else new[pair] for pair in pairs}


def two_view_geometries(
    views: Sequence[ExtractedImage],
    matches: Mapping[Pair, Array],
    config: MappingConfig,
    progress: Progress,
    workers: Workers,
) -> dict[Pair, VerifiedPair]:
    """Of the pairs that share a view, their relative pose with the matches that it explains."""
    enough = {pair: found for pair, found in matches.items() if len(found) >= config.min_unposed_matches}
    verified = verify_pairs(
        enough,
        [view.rays for view in views],
        [view.image.camera for view in views],
        max_error_px=config.max_relative_pose_error_px,
        workers=workers,
    )
    return {
        pair: found
        for pair, found in progress(verified, description="relative poses", total=len(enough))
        if len(found.matches) >= config.min_unposed_matches
    }
