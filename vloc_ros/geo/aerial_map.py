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

"""Aerial maps: ground images cut into overlapping tiles of several ground sizes, each a place with its keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.tile_encoder import (
    AERIAL,
    CODES,
    KEYPOINTS,
    TILE_VLAD,
    TileEncoder,
    store_keypoints,
)
from vloc_ros.core.retrieval.vlad import MAX_SAMPLES, Vocabulary
from vloc_ros.core.sources import Progress, silent
from vloc_ros.geo.ground_images import GroundRaster
from vloc_ros.geo.ground_tiles import LEAST_KEYPOINTS, GroundTile, TileBlock, TileFinder, lay_blocks
from vloc_ros.mapping.workers import THIS_PROCESS

TILE_PX = 384
_AXES, _WORDS = 64, 64
# of a view; a tile has as many for its size, and stores a quarter of them
_KEYPOINTS = 2500
# drawn for the vocabulary, which takes every second of them: of as many places as that allows
_SAMPLES_PER_TILE, _SAMPLES = 200, 2 * MAX_SAMPLES


@dataclass(frozen=True, slots=True, eq=False)
class _StoredTile:
    """A tile as the map has it.

    Attributes:
        name: of the tile.
        centre: (2,) metres in the map.
        side_m: of its square.
        keypoints: (N, 2) of its middle, as they are stored.
        codes: (N, d) of their descriptors.
        described: (D,) its global descriptor.
    """

    name: str
    centre: Array
    side_m: float
    keypoints: Array
    codes: Array
    described: Array

    @staticmethod
    def of(tile: GroundTile, encoder: TileEncoder) -> _StoredTile:
        middle = _middle(tile.features, encoder.tile_px)
        codes, keypoints = encoder.codec.encode(middle.descriptors), store_keypoints(middle.xy)
        described = encoder.encode(tile.features.descriptors)
        return _StoredTile(tile.name, tile.centre, tile.side_m, keypoints, codes, described)


def make_aerial_map(
    ground: Sequence[GroundRaster],
    *,
    name: str,
    datum: Datum | None,
    ground_sizes_m: Sequence[float],
    frame_id: str = "map",
    tile_px: int = TILE_PX,
    progress: Progress = silent,
) -> LandmarkMap:
    """A map of aerial tiles alone.

    Args:
        ground: rasters in the map frame, of which no more than a few tiles are read at a time.
        name: of the map.
        datum: of the map frame; None where it is not georeferenced.
        ground_sizes_m: sizes of a pixel on the ground, of which every image is cut into those that it can show.
        frame_id: of the map frame.
        tile_px: side of a tile.
        progress: shows how far it has come.

    Raises:
        InputError: no image can show any of the ground sizes, or none has enough texture.
    """
    config = RootSiftConfig(max_keypoints=_KEYPOINTS, min_keypoints=_KEYPOINTS)
    finder = TileFinder(config)
    blocks = list(lay_blocks(ground, ground_sizes_m, tile_px=tile_px))
    drawn = _draw(blocks, finder)
    if not any(drawn.values()):
        raise InputError(
            f"{len(ground)} ground images give no tile with {LEAST_KEYPOINTS} keypoints at ground sizes "
            f"{', '.join(f'{size:g}' for size in ground_sizes_m)} m; expected ground with texture, in pixels that fine"
        )
    encoder = _fit_encoder([tile for _, found in sorted(drawn.items()) for tile in found], tile_px)
    found = THIS_PROCESS.map(
        partial(_store, finder=finder, encoder=encoder),
        (drawn.pop(k) if k in drawn else (block, *block.read()) for k, block in enumerate(blocks)),
    )
    tiles = [tile for some in progress(found, description="ground", total=len(blocks)) for tile in some]
    offsets = np.cumsum([0, *(len(tile.keypoints) for tile in tiles)]).astype(np.int64)
    places = Places(
        tuple(tile.name for tile in tiles),
        np.zeros(len(tiles), np.int32),
        np.stack([np.eye(3)] * len(tiles)),
        np.array([[*tile.centre, 0.0] for tile in tiles]),
        np.array([[tile.side_m, tile.side_m, 0.0] for tile in tiles]),
        {
            KEYPOINTS: Payload(np.concatenate([tile.keypoints for tile in tiles]), offsets),
            CODES: Payload(np.concatenate([tile.codes for tile in tiles]), offsets),
        },
    )
    rows = np.stack([tile.described for tile in tiles])
    index = RetrievalIndex(TILE_VLAD, encoder.hash, rows, np.arange(len(tiles)), AERIAL, encoder.to_arrays())
    return _make_map(name, frame_id, datum, config, places, index)


def _draw(blocks: Sequence[TileBlock], finder: TileFinder) -> dict[int, list[GroundTile]]:
    """The tiles of some blocks, by their numbers: so many that their keypoints suffice for a vocabulary."""
    order = np.random.default_rng(0).permutation(len(blocks)).tolist()
    found, samples = dict[int, list[GroundTile]](), 0
    seen = ((blocks[number], *blocks[number].read()) for number in order)
    for number, tiles in zip(order, THIS_PROCESS.map(lambda one: finder.find(*one), seen), strict=True):
        found[number] = tiles
        samples += sum(min(len(tile.features), _SAMPLES_PER_TILE) for tile in tiles)
        if samples >= _SAMPLES:
            break
    return found


def _store(
    given: list[GroundTile] | tuple[TileBlock, Array, Array], *, finder: TileFinder, encoder: TileEncoder
) -> list[_StoredTile]:
    """The tiles of a block: those that are known already, or those that are found."""
    return [_StoredTile.of(one, encoder) for one in (given if isinstance(given, list) else finder.find(*given))]


def _middle(features: Features, tile_px: int) -> Features:
    """The keypoints of the part that no other tile of this ground size has in its middle."""
    quarter = tile_px / 4
    kept = ((features.xy >= -quarter) & (features.xy < quarter)).all(axis=1)
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def _fit_encoder(drawn: Sequence[GroundTile], tile_px: int) -> TileEncoder:
    """The codec and the vocabulary of the strongest keypoints of some tiles."""
    descriptors = np.concatenate([tile.features.strongest(_SAMPLES_PER_TILE).descriptors for tile in drawn])
    codec = DescriptorCodec.fit(descriptors, _AXES)
    return TileEncoder(codec, Vocabulary.fit(codec.project(descriptors), _WORDS), tile_px)


def _make_map(
    name: str, frame_id: str, datum: Datum | None, config: RootSiftConfig, places: Places, index: RetrievalIndex
) -> LandmarkMap:
    codec, statistics = TileEncoder.from_arrays(index.encoder_arrays).codec, config.recorded_statistics
    assert statistics is not None
    return LandmarkMap(
        name=name,
        scenes=(Scene(frame_id, range(0), range(0), datum=datum),),
        points=np.zeros((0, 3), np.float32),
        landmark_ids=np.zeros(0, np.int32),
        landmarks=LandmarkTable.numbered(0),
        codes=np.zeros((0, codec.dimension), np.uint8),
        codec=codec,
        keyframes=Keyframes.empty(),
        extractor=config,
        descriptor_statistics=statistics,
        retrieval={TILE_VLAD: index},
        places={AERIAL: places},
    )
