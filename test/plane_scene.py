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

"""A textured wall with exact truth: real images, real keypoints and a map of them, made in a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

CAMERA = Camera("PINHOLE", 320, 240, (280.0, 280.0, 160.0, 120.0))
PIXELS_PER_METRE = 200.0
_WALL_PX = (1100, 600)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneScene:
    """The wall z = 0, texture pixel (u, v) at (u, v) / PIXELS_PER_METRE, cameras at z < 0 looking along z."""

    texture: Array
    landmark_map: LandmarkMap

    def image(self, map_from_camera: Pose, camera: Camera = CAMERA) -> Array:
        """(H, W) uint8 view from there."""
        return photograph(self.texture, map_from_camera, camera)


def photograph(texture: Array, map_from_camera: Pose, camera: Camera = CAMERA) -> Array:
    """(H, W) uint8 view of a wall of that texture."""
    camera_from_map = map_from_camera.inverse()
    wall_from_texture = np.diag([1 / PIXELS_PER_METRE, 1 / PIXELS_PER_METRE, 1.0])
    columns = np.column_stack([camera_from_map.rotation[:, :2], camera_from_map.translation])
    # pixel centres at integers + 0.5 on both sides, at integers inside OpenCV
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    image_from_texture = np.linalg.inv(shift) @ camera.matrix @ columns @ wall_from_texture @ shift
    return cv2.warpPerspective(texture, image_from_texture, (camera.width, camera.height))


def poses(count: int, seed: int = 0, *, end_m: float = 4.3) -> list[Pose]:
    """Cameras about a metre from the wall, along it from x = 1.2 m; each sees 1.26 m of it."""
    rng = np.random.default_rng(seed)
    xs = np.linspace(1.2, end_m, count)
    return [
        Pose.from_rotation_vector(rng.normal(0, 0.05, 3), [x, 1.5 + rng.normal(0, 0.1), -1.1 + rng.normal(0, 0.05)])
        for x in xs
    ]


@cache
def paint_wall(seed: int = 0) -> Array:
    """The texture of a wall; another seed is another wall."""
    rng = np.random.default_rng(seed)
    texture = np.zeros(_WALL_PX[::-1], np.float32)
    for cell in (6, 15, 40):
        coarse = rng.uniform(0, 1, (_WALL_PX[1] // cell + 2, _WALL_PX[0] // cell + 2)).astype(np.float32)
        texture += cv2.resize(coarse, _WALL_PX, interpolation=cv2.INTER_CUBIC)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    texture.flags.writeable = False  # the scene is shared
    return texture


@cache
def make_plane_scene(seed: int = 0) -> PlaneScene:
    """A wall and its map; another seed is another wall."""
    texture = paint_wall(seed)
    features = RootSift(RootSiftConfig(max_keypoints=4000)).extract(texture)
    points = np.column_stack([features.xy / PIXELS_PER_METRE, np.zeros(len(features))]).astype(np.float32)
    codec = DescriptorCodec.fit(features.descriptors, 64)
    views = poses(8, seed=99)
    visible = [np.flatnonzero(CAMERA.contains(CAMERA.project(p.inverse().apply(points)))) for p in views]
    landmark_map = LandmarkMap(
        name="wall",
        scenes=(Scene("map", range(len(points)), range(len(views))),),
        points=points,
        landmark_ids=(points[:, 0] // 1.0).astype(np.int32),
        landmarks=LandmarkTable.numbered(int(points[:, 0].max()) + 1),
        codes=codec.encode(features.descriptors),
        codec=codec,
        keyframes=Keyframes(
            names=tuple(f"{k}.png" for k in range(len(views))),
            rotations=np.stack([p.rotation for p in views]),
            translations=np.stack([p.translation for p in views]),
            point_offsets=np.cumsum([0, *map(len, visible)]),
            point_indices=np.concatenate(visible).astype(np.int32),
        ),
        extractor=RootSiftConfig(max_keypoints=1000),
        descriptor_statistics=RootSiftConfig.recorded_statistics,
    )
    return PlaneScene(texture, landmark_map)


def write_images(scene: PlaneScene, views: list[Pose], folder: Path) -> None:
    """One PNG per pose, in name order."""
    folder.mkdir(parents=True)
    for index, pose in enumerate(views):
        cv2.imwrite(str(folder / f"frame-{index:03}.png"), scene.image(pose))


@dataclass(frozen=True)
class SceneFolder:
    """Where the files are.

    Attributes:
        map, images, negatives, camera, poses: as the commands take them.
    """

    scene: PlaneScene
    truth: list[Pose]
    map: Path
    images: Path
    negatives: Path
    camera: Path
    poses: Path


def write_scene(folder: Path) -> SceneFolder:
    """Six images of the mapped wall and of another one, a third of their width apart: neighbours of three see much."""
    scene, truth = make_plane_scene(), poses(6, seed=1, end_m=3.2)
    write_images(scene, truth, folder / "images")
    write_images(make_plane_scene(seed=5), truth, folder / "negatives")
    write_map(scene.landmark_map, folder / "map")
    write_camera(folder / "camera.yaml", CAMERA, name="camera")
    write_tum(folder / "poses.txt", Trajectory(np.arange(len(truth)) * 10**9, tuple(truth)))
    names = ("map", "images", "negatives", "camera.yaml", "poses.txt")
    return SceneFolder(scene, truth, *(folder / name for name in names))


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    """Six images of the mapped wall and of another one."""
    return write_scene(tmp_path_factory.mktemp("wall"))
