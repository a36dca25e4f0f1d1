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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.features.rootsift import RootSift
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
from vloc_ros.geo.ground_images import SIZE_TOLERANCE, GroundImage

TILE_PX = 384
_AXES, _WORDS = 64, 64
# of a view; a tile has as many for its size, and stores a quarter of them
_KEYPOINTS = 2500
# a tile with less ground, or fewer keypoints, shows no place: the edge of a mosaic, or water
_LEAST_SHOWN, _LEAST_KEYPOINTS = 0.25, 40
# keypoints so near to the edge of a mosaic are of the edge
_EDGE_PX = 6
_SAMPLES_PER_TILE = 200


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """A tile of one ground image.

    Attributes:
        name: ground size, row and column.
        centre: (2,) metres in the map.
        side_m: of its square.
        features: with pixels from its middle.
    """

    name: str
    centre: Array
    side_m: float
    features: Features


def make_aerial_map(
    ground: Sequence[GroundImage],
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
        ground: images in the map frame.
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
    extractor = RootSift(config)
    tiles = list(progress(_tiles(ground, ground_sizes_m, extractor, tile_px), description="tiles"))
    if not tiles:
        raise InputError(
            f"{len(ground)} ground images give no tile with {_LEAST_KEYPOINTS} keypoints at ground sizes "
            f"{', '.join(f'{size:g}' for size in ground_sizes_m)} m; expected ground with texture, in pixels that fine"
        )
    encoder = _fit_encoder(tiles, tile_px)
    middles = [_middle(tile, tile_px) for tile in tiles]
    offsets = np.cumsum([0, *map(len, middles)]).astype(np.int64)
    codes = np.concatenate([encoder.codec.encode(middle.descriptors) for middle in middles])
    keypoints = np.concatenate([store_keypoints(middle.xy) for middle in middles])
    places = Places(
        tuple(tile.name for tile in tiles),
        np.zeros(len(tiles), np.int32),
        np.stack([np.eye(3)] * len(tiles)),
        np.array([[*tile.centre, 0.0] for tile in tiles]),
        np.array([[tile.side_m, tile.side_m, 0.0] for tile in tiles]),
        {KEYPOINTS: Payload(keypoints, offsets), CODES: Payload(codes, offsets)},
    )
    rows = np.stack([encoder.encode(tile.features.descriptors) for tile in tiles])
    index = RetrievalIndex(TILE_VLAD, encoder.hash, rows, np.arange(len(tiles)), AERIAL, encoder.to_arrays())
    return _make_map(name, frame_id, datum, config, places, index)


def _tiles(
    ground: Sequence[GroundImage], sizes_m: Sequence[float], extractor: Extractor, tile_px: int
) -> Iterator[_Tile]:
    for number, one in enumerate(ground):
        for size_m in sizes_m:
            if size_m >= one.ground_size_m / SIZE_TOLERANCE:
                yield from _cut(one.resample(max(size_m, one.ground_size_m)), f"{number}", extractor, tile_px)


def _cut(ground: GroundImage, prefix: str, extractor: Extractor, tile_px: int) -> Iterator[_Tile]:
    """The tiles of one image at its ground size, from half a tile beyond its edges on, so that all is in a middle."""
    half, size_m = tile_px // 2, ground.ground_size_m
    height, width = ground.shown.shape
    for row, y in enumerate(range(half // 2, height + half // 2, half)):
        for column, x in enumerate(range(half // 2, width + half // 2, half)):
            rows, columns = slice(max(y - half, 0), y + half), slice(max(x - half, 0), x + half)
            shown = ground.shown[rows, columns]
            if shown.sum() < _LEAST_SHOWN * tile_px**2:
                continue
            found = _on_ground(extractor.extract(np.ascontiguousarray(ground.image[rows, columns])), shown)
            if len(found) < _LEAST_KEYPOINTS:
                continue
            xy = found.xy + np.array([columns.start - x, rows.start - y], np.float32)
            centre = np.array([ground.left_m + size_m * x, ground.top_m - size_m * y])
            name = f"{prefix}/{size_m:g}m/{row}-{column}"
            yield _Tile(name, centre, size_m * tile_px, Features(xy, found.descriptors, found.scores))


def _on_ground(features: Features, shown: Array) -> Features:
    """Those that lie on shown ground, and not at its edge."""
    ground = np.pad(shown.astype(np.uint8), 1)  # what lies outside of the image may be ground
    ground[[0, -1], :], ground[:, [0, -1]] = 1, 1
    distance = cv2.distanceTransform(ground, cv2.DIST_L2, 3)[1:-1, 1:-1]
    column, row = features.xy.astype(int).T
    kept = distance[np.clip(row, 0, shown.shape[0] - 1), np.clip(column, 0, shown.shape[1] - 1)] > _EDGE_PX
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def _middle(tile: _Tile, tile_px: int) -> Features:
    """The keypoints of the part that no other tile of this ground size has in its middle."""
    quarter = tile_px / 4
    kept = ((tile.features.xy >= -quarter) & (tile.features.xy < quarter)).all(axis=1)
    return Features(tile.features.xy[kept], tile.features.descriptors[kept], tile.features.scores[kept])


def _fit_encoder(tiles: Sequence[_Tile], tile_px: int) -> TileEncoder:
    """The codec and the vocabulary of the strongest keypoints of evenly drawn tiles."""
    drawn = tiles[:: max(1, len(tiles) * _SAMPLES_PER_TILE // MAX_SAMPLES)]
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
