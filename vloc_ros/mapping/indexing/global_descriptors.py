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

"""Retrieval indices of learned global descriptors: made from the keyframes' images, and kept when maps change.

A map that is extended without its encoder has keyframes without rows; `vloc map encode` completes the index. Of maps
that are merged an index is kept where one encoder has encoded all of them: a place without rows is never retrieved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, islice

import numpy as np

from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.retrieval_candidates import find_index_of_encoder, model_indices
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.encoders import GlobalDescriptorEncoder
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex, merge_retrieval_indices
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.core.retrieval.tile_placement import restore_placement
from vloc_ros.core.sources import PosedImage, Progress, silent

# name of the index of a model, unless another is given
MODEL = "model"


def encode_keyframes(
    landmark_map: LandmarkMap,
    images: Iterable[tuple[int, Array]],
    encoder: GlobalDescriptorEncoder,
    progress: Progress = silent,
    *,
    name: str = MODEL,
) -> LandmarkMap:
    """The map with a retrieval index by an encoder, in place of one of that name.

    Args:
        landmark_map: the map.
        images: of every keyframe, its number and (H, W) uint8 grey or (H, W, 3) uint8 BGR, in any order; only as many
            are held at a time as the encoder takes.
        encoder: of the index.
        progress: shows the progress.
        name: of the index.

    Raises:
        InputError: an image cannot be read, or is not that of the map.
        ModelError: a descriptor is not finite.
    """
    count = len(landmark_map.keyframes)
    descriptors, missing = np.zeros((count, encoder.dimension), np.float32), set(range(count))
    for batch in _batches(progress(images, description="encoding", total=count), encoder.batch_size):
        for k, image in batch:
            _check_size(landmark_map, k, image)
        rows = [k for k, _ in batch]
        descriptors[rows] = encoder.encode([image for _, image in batch])
        _check_finite([landmark_map.keyframes.names[k] for k in rows], descriptors[rows])
        missing.difference_update(rows)
    assert not missing
    return landmark_map.with_retrieval(RetrievalIndex(name, encoder.hash, descriptors, np.arange(count)))


def require_index_of_encoder(landmark_map: LandmarkMap, encoder: GlobalDescriptorEncoder) -> RetrievalIndex:
    """A map's index by an encoder.

    Raises:
        MapError: the map has no index of a model.
        ModelError: other encoders made those that there are.
    """
    index = find_index_of_encoder(landmark_map, encoder)
    if index is None:
        raise MapError(
            f"the map {landmark_map.name} has no retrieval index of a model, expected one to extend; leave out the "
            "encoder, or run `vloc map encode` first"
        )
    return index


def encode_rows(
    landmark_map: LandmarkMap, images: Sequence[PosedImage], encoder: GlobalDescriptorEncoder
) -> dict[str, RetrievalIndex]:
    """Rows of new images for the index of an encoder, by its name.

    Raises:
        MapError: the map has no index of a model.
        ModelError: another encoder made the map's index, or a descriptor is not finite.
    """
    index = require_index_of_encoder(landmark_map, encoder)
    starts = range(0, len(images), encoder.batch_size)
    parts = [encoder.encode([image.load() for image in images[k : k + encoder.batch_size]]) for k in starts]
    descriptors = np.concatenate(parts)
    _check_finite([image.name for image in images], descriptors)
    return {index.name: replace(index, descriptors=descriptors, items=np.arange(len(images)))}


def merge_model_indices(whole: LandmarkMap, maps: Sequence[LandmarkMap]) -> LandmarkMap:
    """A merged map with the model indices that all of its maps have, which hold items of their modality.

    Args:
        whole: without model indices.
        maps: that it was merged from, whose keyframes and places follow each other in it.
    """
    for index in (index for one in maps for index in model_indices(one)):
        counts = [one.item_count(index.modality) for one in maps]
        firsts = [0, *accumulate(counts)][:-1]
        found = [(_compatible(index, one), first) for one, first, n in zip(maps, firsts, counts, strict=True) if n]
        present = [(other, first) for other, first in found if other is not None]
        known = index.name in whole.retrieval or _compatible(index, whole) is not None
        # tiles have one placement in a map
        placements = {restore_placement(other.encoder_arrays) for other, _ in present}
        if not known and len(present) == len(found) and len(placements) == 1:
            merged = merge_retrieval_indices([other for other, _ in present], [first for _, first in present])
            whole = whole.with_retrieval(replace(merged, name=index.name))
    return whole


def rows_of_second(first: LandmarkMap, second: LandmarkMap) -> dict[str, RetrievalIndex]:
    """By name of a model index of a first map's keyframes, the second map's index by the same encoder, if any."""
    pairs = ((index.name, _compatible(index, second)) for index in model_indices(first) if index.modality == IMAGE)
    return {name: other for name, other in pairs if other is not None}


def drop_keyframe_indices(landmark_map: LandmarkMap, *, keep: Iterable[str]) -> LandmarkMap:
    """The map without the model indices of keyframes that are not named."""
    kept = set(keep)
    dropped = (i.name for i in model_indices(landmark_map) if i.modality == IMAGE and i.name not in kept)
    return landmark_map.without_retrieval(*dropped)


def describe_incomplete_indices(before: Sequence[LandmarkMap], after: LandmarkMap) -> list[str]:
    """Lines for people: model indices that a changed map lost, or that lack rows for keyframes."""
    present = {index.encoder for index in model_indices(after)}
    lost = {index.name: index for one in before for index in model_indices(one) if index.encoder not in present}
    lines = [f"without the retrieval index {name}: {_explain_loss(index)}" for name, index in lost.items()]
    count = len(after.keyframes)
    for index in model_indices(after):
        if index.modality == IMAGE and (encoded := len(np.unique(index.items))) < count:
            lines.append(
                f"the retrieval index {index.name} covers {encoded} of {count} keyframes; run `vloc map encode` to "
                "complete it"
            )
    return lines


def _explain_loss(index: RetrievalIndex) -> str:
    if index.modality == AERIAL:
        return (
            "the aerial tiles are of several maps, or placed differently; add those of one with `vloc map aerial add`"
        )
    return "not all keyframes are encoded by one model; run `vloc map encode`"


def _compatible(index: RetrievalIndex, other: LandmarkMap) -> RetrievalIndex | None:
    return next((one for one in model_indices(other) if one.is_compatible(index)), None)


def _batches(images: Iterable[tuple[int, Array]], size: int) -> Iterator[list[tuple[int, Array]]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch


def _check_finite(names: Sequence[str], descriptors: Array) -> None:
    for name, descriptor in zip(names, descriptors, strict=True):
        if not np.isfinite(descriptor).all():
            raise ModelError(f"the encoder gives {name} a descriptor that is not finite; train it again")


def _check_size(landmark_map: LandmarkMap, k: int, image: Array) -> None:
    """An image of another size is not the one that the map was built from."""
    keyframes = landmark_map.keyframes
    if keyframes.cameras and image.shape[:2] != (keyframes.cameras[k].height, keyframes.cameras[k].width):
        camera = keyframes.cameras[k]
        raise InputError(
            f"{keyframes.names[k]} is {image.shape[1]}x{image.shape[0]}, the map's image of this name {camera.width}x"
            f"{camera.height}; give the images that the map was built from"
        )
