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

"""Aerial tiles of one map beside the landmarks of another, where the datums of both say that they lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.geometry.geodetic import MOST_MOVED_M, Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.tile_places import find_tile_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Places
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.core.retrieval.tile_placement import TilePlacement, restore_extractor, store_placement


def add_aerial_tiles(
    landmark_map: LandmarkMap, tiles: LandmarkMap, *, frame_id: str = "", ground_z_m: float | None = None
) -> LandmarkMap:
    """A map with the tiles of an aerial map in one of its scenes.

    The covariance of a pose by the tiles holds how uncertain both datums are: that of the ground images, and that of
    the map.

    Args:
        landmark_map: with a datum; it has no aerial tiles yet, or some that lost their index.
        tiles: an aerial map of one scene, with a datum.
        frame_id: the scene of the landmark map; empty for its only one.
        ground_z_m: z of the ground in that scene's frame; None where the datums of both have heights.

    Raises:
        InputError: the maps do not fit together, or the height of the ground is unknown.
        MapError: the tiles are damaged.
    """
    scene, extractor = landmark_map.scene(frame_id), _check(landmark_map, tiles)
    own, other = _datum(landmark_map, scene), _datum(tiles, tiles.scene())
    index, source, places = find_tile_index(tiles), tiles.scene(), tiles.places[AERIAL]
    assert index is not None
    tiles_z_m = float(source.origin[2] + np.median(places.translations[:, 2]))
    map_from_tiles = _place(own, other, None if ground_z_m is None else ground_z_m - tiles_z_m)
    scene_from_places = scene.scene_from(map_from_tiles @ source.map_from(Pose.identity()))
    moved = _move(places, scene_from_places, landmark_map.scenes.index(scene))
    middle = scene.map_from(Pose(np.eye(3), moved.translations.mean(axis=0))).translation
    placement = _placement(own, other, middle, is_ground_given=ground_z_m is not None)
    stored = {**index.encoder_arrays, **store_placement(extractor, placement)}
    grown = replace(
        landmark_map,
        places={**landmark_map.places, AERIAL: moved},
        provenance={**landmark_map.provenance, "aerial": _note(tiles, placement)},
    )
    return grown.with_retrieval(replace(index, encoder_arrays=stored))


def _check(landmark_map: LandmarkMap, tiles: LandmarkMap) -> ExtractorConfig:
    """The extractor of the tiles; refuse maps that cannot be put into one."""
    index = find_tile_index(tiles)
    if index is None:
        raise InputError(f"the map {tiles.name} has no aerial tiles; make it with `vloc map aerial build`")
    if len(tiles.points):
        raise InputError(
            f"the map {tiles.name} has landmarks of its own, expected aerial tiles alone, of `vloc map aerial build`"
        )
    # tiles of several maps that were merged lose their index, and are replaced
    if find_tile_index(landmark_map) is not None:
        count = landmark_map.item_count(AERIAL)
        raise InputError(
            f"the map {landmark_map.name} has {count} aerial tiles already; build one aerial map of all ground images, "
            "and add it to the map as it was before"
        )
    extractor = restore_extractor(index.encoder_arrays, tiles.extractor)
    if extractor.model_hash and extractor.model_hash != landmark_map.extractor.model_hash:
        raise InputError(
            f"the tiles have keypoints of {extractor.describe()}, the map {landmark_map.name} of "
            f"{landmark_map.extractor.describe()}, and a map carries one model; build both with the same"
        )
    return extractor


def _datum(landmark_map: LandmarkMap, scene: Scene) -> Datum:
    if scene.datum is None:
        raise InputError(
            f"the map {landmark_map.name} has no datum in frame {scene.frame_id}, which says where its tiles lie; run "
            "`vloc map georeference` first"
        )
    return scene.datum


def _place(own: Datum, other: Datum, z_m: float | None) -> Pose:
    """map_from_tiles, level, at a given height or that of the datums: the z axes differ by less than 0.02 degrees."""
    found = own.pose_of(other)
    away_m = float(np.linalg.norm(found.translation[:2]))
    if away_m > MOST_MOVED_M:
        raise InputError(
            f"the datum of the tiles is {away_m / 1000:.1f} km from that of the map, expected "
            f"{MOST_MOVED_M / 1000:g} km at most; are they of one place? Make an aerial map around the landmarks"
        )
    if z_m is None:
        if own.altitude_m is None or other.altitude_m is None:
            raise InputError(
                "the height of the ground in the map is unknown: a datum has no height; give --ground-z, the z of the "
                "ground in the frame of the landmarks"
            )
        z_m = float(found.translation[2])
    yaw = float(np.arctan2(found.rotation[1, 0], found.rotation[0, 0]))
    return Pose.from_rotation_vector([0.0, 0.0, yaw], [*found.translation[:2], z_m])


def _placement(own: Datum, other: Datum, middle: Array, *, is_ground_given: bool) -> TilePlacement:
    """How uncertain it is where the middle of the tiles lies in the map; a given height counts as known to a metre."""
    away_m = float(np.linalg.norm(middle[:2]))
    position = (own.position_std_m, other.position_std_m, own.yaw_std_rad * away_m)
    height = (1.0,) if is_ground_given else (own.altitude_std_m, other.altitude_std_m)
    yaw = (own.yaw_std_rad, other.yaw_std_rad)
    return TilePlacement(*(float(np.linalg.norm(stds)) for stds in (position, height, yaw)))


def _note(tiles: LandmarkMap, placement: TilePlacement) -> dict[str, Any]:
    """For people: which tiles, and how well they are placed."""
    return {
        "map": tiles.name,
        "tiles": len(tiles.places[AERIAL]),
        "placed_within_m": round(placement.position_std_m, 3),
        "height_within_m": round(placement.height_std_m, 3),
        "turned_within_rad": round(placement.yaw_std_rad, 5),
        **tiles.provenance,
    }


def _move(places: Places, scene_from_tiles: Pose, scene: int) -> Places:
    poses = [scene_from_tiles @ places.pose(k) for k in range(len(places))]
    return replace(
        places,
        scenes=np.full(len(places), scene, np.int32),
        rotations=np.array([pose.rotation for pose in poses]),
        translations=np.array([pose.translation for pose in poses]),
    )
