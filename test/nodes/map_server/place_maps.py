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

"""Maps whose places are queried, and the models that describe them."""

from __future__ import annotations

from pathlib import Path

from graphs import write_encoder
from nodes_world import Wall
from plane_scene import poses
from range_model import SPACE, posed_scan, write_range_model

from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.inference.range_descriptors import read_range_descriptor
from vloc_ros.mapping.indexing.global_descriptors import encode_keyframes
from vloc_ros.mapping.maps.lidar_places import add_lidar_places
from vloc_ros.storage.maps import write_map

KEYFRAME_POSES = poses(8, seed=99)


def write_places(folder: Path, wall: Wall) -> Path:
    """Write two models of one space, one of another, and maps with and without what they find."""
    image = read_global_descriptor(write_encoder(folder / "image", training={"space": SPACE}))
    write_encoder(folder / "alone", shift=1.0)
    scans = read_range_descriptor(write_range_model(folder / "range"))
    images = list(enumerate(map(wall.scene.image, KEYFRAME_POSES)))
    both = encode_keyframes(wall.scene.landmark_map, images, image)
    write_map(add_lidar_places(both, [posed_scan(k) for k in range(3)], encoder=scans), folder / "maps" / "both")
    write_map(both, folder / "maps" / "keyframes")
    return folder
