"""The place index of a learned encoder: made from the keyframes' images, and what becomes of it when maps change.

Whoever adds keyframes without their images cannot encode them. Of maps that are put together the index stays where one
encoder has seen all keyframes; otherwise it is dropped, and made again by `vloc map encode`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.retrieval_candidates import MODEL, GlobalDescriptorEncoder
from vloc_ros.core.map.landmark_map import LandmarkMap, RetrievalIndex
from vloc_ros.core.sources import Progress, silent


def encode_keyframes(
    landmark_map: LandmarkMap,
    images: Iterable[tuple[int, Array]],
    encoder: GlobalDescriptorEncoder,
    progress: Progress = silent,
) -> LandmarkMap:
    """The map with a place index by an encoder, in place of one that it may have; all else stays.

    Args:
        landmark_map: the map.
        images: of every keyframe, its number and (H, W) uint8 grey or (H, W, 3) uint8 BGR, in any order; only as many
            are held at a time as the encoder takes.
        encoder: which is then to be asked.
        progress: shows how far it has come.

    Raises:
        InputError: an image cannot be read, or is not that of the map.
        ModelError: the encoder has no descriptor for one of them.
    """
    count = len(landmark_map.keyframes)
    descriptors, missing = np.zeros((count, encoder.dimension), np.float32), set(range(count))
    shown = progress(images, description="encoding", total=count)
    for some in _chunks(shown, encoder.images_at_once):
        for k, image in some:
            _check_size(landmark_map, k, image)
        rows = [k for k, _ in some]
        descriptors[rows] = encoder.encode([image for _, image in some])
        _check_finite(landmark_map, rows, descriptors)
        missing.difference_update(rows)
    assert not missing
    return _with_index(landmark_map, RetrievalIndex(encoder.hash, descriptors))


def _chunks(images: Iterable[tuple[int, Array]], size: int) -> Iterator[list[tuple[int, Array]]]:
    iterator = iter(images)
    while some := list(islice(iterator, size)):
        yield some


def _check_finite(landmark_map: LandmarkMap, rows: Sequence[int], descriptors: Array) -> None:
    for k in rows:
        if not np.isfinite(descriptors[k]).all():
            name = landmark_map.keyframes.names[k]
            raise ModelError(f"the encoder describes {name} by values that are not finite; train it again")


def _check_size(landmark_map: LandmarkMap, k: int, image: Array) -> None:
    """An image of another size is not the one that the map was built from."""
    keyframes = landmark_map.keyframes
    if keyframes.cameras and image.shape[:2] != (keyframes.cameras[k].height, keyframes.cameras[k].width):
        camera = keyframes.cameras[k]
        raise InputError(
            f"{keyframes.names[k]} is {image.shape[1]}x{image.shape[0]}, the map's image of this name {camera.width}x"
            f"{camera.height}; give the images that the map was built from"
        )


def drop_model_indices(landmark_map: LandmarkMap) -> LandmarkMap:
    """The map without the index of a learned encoder."""
    return _with_index(landmark_map, None)


def encoded_as_merged(whole: LandmarkMap, maps: Sequence[LandmarkMap]) -> LandmarkMap:
    """A map whose keyframes are those of several maps one after the other, with their index where they have one."""
    rows = [index.descriptors for index in _of_one_encoder(maps)]
    return _with_index(whole, RetrievalIndex(maps[0].places[MODEL].encoder, np.concatenate(rows)) if rows else None)


def encoded_as_joined(whole: LandmarkMap, first: LandmarkMap, frame_id: str, second: LandmarkMap) -> LandmarkMap:
    """A first map with the keyframes of a second behind those of one of its scenes, with their index if they have one.

    Args:
        whole: the two as one.
        first: before that,
        frame_id: and the scene of it that the second was added to.
        second: of one scene.
    """
    indices = _of_one_encoder([first, second])
    if not indices:
        return _with_index(whole, None)
    one, other = (index.descriptors for index in indices)
    at = first.scene(frame_id).keyframes.stop
    return _with_index(whole, replace(indices[0], descriptors=_inserted(one, at, other)))


def describe_dropped_indices(before: Sequence[LandmarkMap], after: LandmarkMap) -> list[str]:
    """A line for people where a map lost its index for an encoder; none where it did not."""
    if MODEL in after.places or not any(MODEL in m.places for m in before):
        return []
    return [
        f"without the place index {MODEL}: not all of its keyframes are encoded by one model; run `vloc map encode`"
    ]


def _of_one_encoder(maps: Sequence[LandmarkMap]) -> list[RetrievalIndex]:
    """The index of every map; none where they are not all made by one encoder."""
    indices = [m.places[MODEL] for m in maps if MODEL in m.places]
    alike = len({(index.encoder, index.descriptors.shape[1:]) for index in indices}) == 1
    return indices if len(indices) == len(maps) and alike else []


def _with_index(landmark_map: LandmarkMap, index: RetrievalIndex | None) -> LandmarkMap:
    others = {name: place for name, place in landmark_map.places.items() if name != MODEL}
    return replace(landmark_map, places=others if index is None else {**others, MODEL: index})


def _inserted(array: Array, at: int, more: Array) -> Array:
    return np.concatenate([array[:at], more, array[at:]])
