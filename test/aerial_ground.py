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

"""A plain with an aerial map of all of it, and landmarks of a part of it: what a drone starts in, and flies to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from plain import SIZE_M, look_down, make_ground, photograph

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.mapping.maps.aerial_tiles import add_aerial_tiles

GROUND = make_ground(1)
# the landmarks' frame is turned against the tiles', and lies elsewhere
TILES_DATUM = Datum(46.84, -91.99, 200.0, position_std_m=0.5, altitude_std_m=0.5, yaw_std_rad=0.01)
TILES_FROM_MAP = Pose.from_rotation_vector([0.0, 0.0, 0.5], [12.0, -7.0, -3.0])
MAP_FROM_TILES = TILES_FROM_MAP.inverse()
CAMERA = Camera("PINHOLE", 480, 360, (400.0, 400.0, 240.0, 180.0))
# of the landmarks, in the tiles' frame
MAPPED = look_down(30.0, 20.0, 55.0)
DOWN = np.array([0.0, 0.0, -1.0])


def map_datum() -> Datum:
    """Of the landmarks' frame."""
    latitude, longitude, height = TILES_DATUM.geodetic(TILES_FROM_MAP.translation)
    return Datum(latitude, longitude, height, yaw_rad=0.5, position_std_m=0.1, altitude_std_m=0.1)


def image_from(map_from_camera: Pose) -> Array:
    """What a camera sees of the plain."""
    return photograph(GROUND, TILES_FROM_MAP @ map_from_camera, CAMERA)


def hover(x: float, y: float, height_m: float, *, yaw: float = 0.0, tilt: tuple[float, float] = (0.0, 0.0)) -> Pose:
    """map_from_camera of a drone above (x, y) in the tiles' frame."""
    return MAP_FROM_TILES @ look_down(x, y, height_m, yaw=yaw, tilt=tilt)


@cache
def make_tiles() -> LandmarkMap:
    """The aerial map of the whole plain."""
    return make_aerial_map([GROUND], name="plain", datum=TILES_DATUM, ground_sizes_m=(SIZE_M, 2 * SIZE_M), tile_px=256)


@cache
def make_landmarks() -> LandmarkMap:
    """The landmarks of what one image shows, with their exact places."""
    config = RootSiftConfig(max_keypoints=1500)
    found = RootSift(config).extract(photograph(GROUND, MAPPED, CAMERA))
    rays = CAMERA.unproject(found.xy.astype(float)) @ MAPPED.rotation.T
    on_ground = MAPPED.translation + rays * (-MAPPED.translation[2] / rays[:, 2:])
    points = MAP_FROM_TILES.apply(on_ground).astype(np.float32)
    codec, pose = DescriptorCodec.fit(found.descriptors, 64), MAP_FROM_TILES @ MAPPED
    statistics = config.recorded_statistics
    assert statistics is not None
    return LandmarkMap(
        name="field",
        scenes=(Scene("map", range(len(points)), range(1), datum=map_datum()),),
        points=points,
        landmark_ids=np.zeros(len(points), np.int32),
        landmarks=LandmarkTable.numbered(1),
        codes=codec.encode(found.descriptors),
        codec=codec,
        keyframes=Keyframes(
            names=("0.png",),
            rotations=pose.rotation[None],
            translations=pose.translation[None],
            point_offsets=np.array([0, len(points)]),
            point_indices=np.arange(len(points), dtype=np.int32),
        ),
        extractor=config,
        descriptor_statistics=statistics,
    )


@cache
def make_map_of_both(east_m: float = 0.0, north_m: float = 0.0) -> LandmarkMap:
    """The landmarks with the tiles beside them, whose datum is off by so much."""
    latitude, longitude, height = TILES_DATUM.geodetic(np.array([east_m, north_m, 0.0]))
    datum, tiles = replace(TILES_DATUM, latitude=latitude, longitude=longitude, altitude_m=height), make_tiles()
    return add_aerial_tiles(make_landmarks(), replace(tiles, scenes=(replace(tiles.scene(), datum=datum),)))


def without_datum(landmark_map: LandmarkMap) -> LandmarkMap:
    """The same map, not on Earth."""
    return replace(landmark_map, scenes=tuple(replace(scene, datum=None) for scene in landmark_map.scenes))
