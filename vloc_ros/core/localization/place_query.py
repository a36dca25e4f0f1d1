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

"""Places of a map that a query resembles, by its descriptors.

LiDAR places by descriptors in a space that images and scans share; keyframes by those of an image model; aerial tiles
by those of a view from above.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.retrieval_candidates import model_indices
from vloc_ros.core.localization.tile_places import require_tile_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.core.retrieval.tile_encoder import AERIAL

# name of the index of such descriptors
RANGE = "range"
# networks store descriptors with 8 bits per value, so lengths need not be exact
_LENGTH_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """A place that a query may have been taken at; not a pose of the query.

    Attributes:
        name: of the place in its map.
        frame_id: of its scene.
        map_from_place: pose of the place in that frame; of a keyframe, that of its camera.
        similarity: of the descriptors, -1 to 1.
        modality: `lidar`, `image` for a keyframe, or `aerial`.
        side_m: of the square that a tile shows, metres; 0 of others.
        geodetic: latitude and longitude, WGS 84 degrees, and metres above the ellipsoid; NaN where the scene has no
            datum, the height also where the datum has none.
    """

    name: str
    frame_id: str
    map_from_place: Pose
    similarity: float
    modality: str = LIDAR
    side_m: float = 0.0
    geodetic: tuple[float, float, float] = (np.nan, np.nan, np.nan)


def find_range_index(landmark_map: LandmarkMap) -> RetrievalIndex:
    """The index of a map's LiDAR places that images share.

    Raises:
        MapError: the map has none.
    """
    index = landmark_map.retrieval.get(RANGE)
    if index is None or not len(index.items):
        raise MapError(
            f"the map {landmark_map.name} has no LiDAR places with descriptors that images share; make it with "
            "`vloc map lidar --encoder`"
        )
    return index


def find_keyframe_indices(landmark_map: LandmarkMap) -> list[RetrievalIndex]:
    """The indices of a map's keyframes by models.

    Raises:
        MapError: the map has none.
    """
    indices = [index for index in model_indices(landmark_map) if index.modality == IMAGE and len(index.items)]
    if not indices:
        raise MapError(
            f"the map {landmark_map.name} has no keyframes with descriptors of a model; make them with "
            "`vloc map encode`"
        )
    return indices


def query_places(landmark_map: LandmarkMap, descriptors: Array, *, space: str, count: int) -> list[FoundPlace]:
    """The LiDAR places most similar to a query, best first.

    Args:
        landmark_map: with an index `range`.
        descriptors: (V, D) of the query's views; a place counts by its best row for any of them.
        space: of the descriptors.
        count: of places, at most.

    Raises:
        MapError: the map has no such index.
        ModelError: the index is of another descriptor space, or length.
        InputError: count is less than 1, or a descriptor is not of length 1.
    """
    index = find_range_index(landmark_map)
    if (index.encoder, index.descriptors.shape[1]) != (space, descriptors.shape[1]):
        raise ModelError(
            f"the index {RANGE} of the map {landmark_map.name} is of the descriptor space {index.encoder[:12]} with "
            f"{index.descriptors.shape[1]} values, the query's is {space[:12]} with {descriptors.shape[1]}; give the "
            "image model that was trained with the map's range model"
        )
    return _retrieve(landmark_map, index, descriptors, count)


def query_keyframes(landmark_map: LandmarkMap, descriptors: Array, *, encoder: str, count: int) -> list[FoundPlace]:
    """The keyframes most similar to a query, best first.

    Args:
        landmark_map: with keyframes that an image model has described.
        descriptors: (V, D) of the query's views.
        encoder: hash of the image model whose descriptors they compare with.
        count: of keyframes, at most.

    Raises:
        MapError: the map has no index of its keyframes by a model.
        ModelError: another model made it, or its descriptors have another length.
        InputError: count is less than 1, or a descriptor is not of length 1.
    """
    indices = find_keyframe_indices(landmark_map)
    wanted = (encoder, descriptors.shape[1])
    index = next((one for one in indices if (one.encoder, one.descriptors.shape[1]) == wanted), None)
    if index is None:
        found = ", ".join(f"{one.encoder[:12]} with {one.descriptors.shape[1]} values" for one in indices)
        raise ModelError(
            f"the keyframes of the map {landmark_map.name} have descriptors of the encoder {found}, the query's are of "
            f"{encoder[:12]} with {descriptors.shape[1]}; give that model, or run `vloc map encode` with this one"
        )
    return _retrieve(landmark_map, index, descriptors, count)


def query_tiles(landmark_map: LandmarkMap, descriptors: Array, *, encoder: str, count: int) -> list[FoundPlace]:
    """The aerial tiles most similar to a view from above, best first.

    Args:
        landmark_map: with aerial tiles.
        descriptors: (V, D) of the view in several sizes, see `describe_view`; a tile counts by its best row.
        encoder: hash of what the tiles, and the view, were described by.
        count: of tiles, at most.

    Raises:
        MapError: the map has no tiles.
        ModelError: they were described by another encoder, or their descriptors have another length.
        InputError: count is less than 1, or a descriptor is not of length 1.
    """
    index = require_tile_index(landmark_map)
    if (index.encoder, index.descriptors.shape[1]) != (encoder, descriptors.shape[1]):
        raise ModelError(
            f"the tiles of the map {landmark_map.name} have descriptors of the encoder {index.encoder[:12]} with "
            f"{index.descriptors.shape[1]} values, the query's are of {encoder[:12]} with {descriptors.shape[1]}; "
            "describe it by what `vloc map info --json` names for the index of the tiles, or send the image"
        )
    return _retrieve(landmark_map, index, descriptors, count)


def check_descriptors(descriptors: Array) -> None:
    """Refuse what does not compare: descriptors of an image without any contrast, or of a model that overflows.

    Args:
        descriptors: (V, D).

    Raises:
        InputError: one is not of length 1.
    """
    lengths = np.linalg.norm(descriptors.astype(np.float64), axis=1)
    wrong = lengths[~(np.abs(lengths - 1.0) <= _LENGTH_TOLERANCE)]  # NaN is neither within nor beyond
    if len(wrong):
        raise InputError(
            f"a descriptor of {descriptors.shape[1]} values has the length {wrong[0]:.3g}, expected 1; does the query "
            "show anything, and is the model sound?"
        )


def count_described_places(landmark_map: LandmarkMap) -> tuple[int, int]:
    """How many LiDAR places have a descriptor of the index `range`, and how many there are.

    A place whose scan shows nothing at any heading has none, and is never found.
    """
    index = landmark_map.retrieval.get(RANGE)
    return 0 if index is None else len(np.unique(index.items)), landmark_map.item_count(LIDAR)


def _retrieve(landmark_map: LandmarkMap, index: RetrievalIndex, descriptors: Array, count: int) -> list[FoundPlace]:
    """The items of an index whose best row is most similar to any of the descriptors."""
    if count < 1:
        raise InputError(f"found a count of {count} places, expected 1 or more")
    check_descriptors(descriptors)
    if not len(descriptors):
        return []
    best = np.full(int(index.items.max()) + 1, -np.inf)
    np.maximum.at(best, index.items, (index.descriptors @ descriptors.T).max(axis=1))
    order = np.argsort(-best, kind="stable")[:count]
    return [_describe(landmark_map, index.modality, int(k), float(best[k])) for k in order if np.isfinite(best[k])]


def _describe(landmark_map: LandmarkMap, modality: str, item: int, similarity: float) -> FoundPlace:
    side_m = 0.0
    if modality == IMAGE:
        keyframes = landmark_map.keyframes
        scene = next(one for one in landmark_map.scenes if item in one.keyframes)
        name, pose = keyframes.names[item], scene.map_from(keyframes.pose(item))
    else:
        places = landmark_map.places[modality]
        scene = landmark_map.scenes[int(places.scenes[item])]
        name, pose = places.names[item], scene.map_from(places.pose(item))
        side_m = float(places.extents[item, 0]) if modality == AERIAL else 0.0
    found = FoundPlace(name, scene.frame_id, pose, similarity, modality, side_m)
    return replace(found, geodetic=scene.datum.geodetic(pose.translation)) if scene.datum else found
