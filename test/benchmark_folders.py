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

"""Folders in the layouts of published benchmarks, with images and exact poses of the simulated world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.scenario import Lap, make_lap
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints, write_colmap_model

# half of 7-Scenes' size
CAMERA = Camera("SIMPLE_PINHOLE", 320, 240, (262.5, 160.0, 120.0))
MAP_FRAMES, QUERY_FRAMES = range(0, 20, 2), range(1, 20, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Images with their poses.

    Attributes:
        pixels, poses: of all, map_from_camera.
    """

    pixels: Sequence[Array]
    poses: Sequence[Pose]

    def write(self, index: int, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), self.pixels[index])

    def matrix(self, index: int) -> str:
        """The 4x4 matrix as the benchmarks print it."""
        return "\n".join("\t".join(f"{value:.7e}" for value in row) for row in self.poses[index].matrix) + "\n"


def render_frames() -> Frames:
    """A part of a walk through a room."""
    lap: Lap = make_lap(make_world("room", 1), 120, 2, camera=CAMERA)
    return Frames([lap.image(i) for i in range(20)], lap.map_from_camera[:20])


def quaternion_wxyz(pose: Pose) -> Array:
    return np.roll(pose.quaternion, 1)


def write_seven_scenes(root: Path, frames: Frames, name: str = "chess") -> None:
    """Sequence 1 for the map, 2 for the test."""
    for number, (split, indices) in enumerate((("Train", MAP_FRAMES), ("Test", QUERY_FRAMES)), start=1):
        for row, index in enumerate(indices):
            stem = root / name / f"seq-{number:02d}" / f"frame-{row:06d}"
            frames.write(index, stem.with_name(f"{stem.name}.color.png"))
            stem.with_name(f"{stem.name}.pose.txt").write_text(frames.matrix(index))
        (root / name / f"{split}Split.txt").write_text(f"sequence{number}\r\n")


def write_sfm_poses(folder: Path, frames: Frames, name: str = "chess", focal: float = 525.0) -> None:
    """Rows of camera_from_world and the focal length, of the published size."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (split, indices) in enumerate((("train", MAP_FRAMES), ("test", QUERY_FRAMES)), start=1):
        rows = []
        for row, index in enumerate(indices):
            inverse = frames.poses[index].inverse()
            values = [*quaternion_wxyz(inverse), *inverse.translation, focal]
            rows.append(f"seq-{number:02d}/frame-{row:06d}.color.png " + " ".join(f"{value:.8f}" for value in values))
        (folder / f"{name}_{split}.txt").write_text("\n".join(reversed(rows)) + "\n")


def write_twelve_scenes(root: Path, frames: Frames, name: str = "apt1/kitchen") -> None:
    """The test sequence first; the last frame of the map has lost its pose."""
    folder = root / name
    order = [*QUERY_FRAMES, *MAP_FRAMES]
    for row, index in enumerate(order):
        frames.write(index, folder / "data" / f"frame-{row:06d}.color.jpg")
        (folder / "data" / f"frame-{row:06d}.pose.txt").write_text(frames.matrix(index))
    lost = "\n".join(["-1.#INF -1.#INF -1.#INF -1.#INF"] * 4)
    (folder / "data" / f"frame-{len(order) - 1:06d}.pose.txt").write_text(lost)
    tests = len(QUERY_FRAMES)
    (folder / "split.txt").write_text(
        f"sequence0 [frames={tests}]  [start=0 ; end={tests - 1}]\nsequence1 [frames=10]  [start={tests} ; end=13]\n"
    )
    (folder / "info.txt").write_text(
        "m_versionNumber = 4\nm_colorWidth = 640\nm_colorHeight = 480\n"
        "m_calibrationColorIntrinsic = 525 0 319.5 0 0 525 239.5 0 0 0 1 0 0 0 0 1 \n"
    )


def write_cambridge(root: Path, frames: Frames, name: str = "ShopFacade") -> None:
    """Poses are positions and quaternions of camera_from_world; the model has the focal lengths as published."""
    folder, model = root / name, ["NVM_V3 ", "", f"{len(MAP_FRAMES) + len(QUERY_FRAMES)}"]
    for number, (split, indices) in enumerate((("train", MAP_FRAMES), ("test", QUERY_FRAMES)), start=1):
        rows = ["Visual Landmark Dataset V1", "ImageFile, Camera Position [X Y Z W P Q R]", ""]
        for row, index in enumerate(indices):
            image = f"seq{number}/frame{row:05d}"
            frames.write(index, folder / f"{image}.png")
            w, x, y, z = quaternion_wxyz(frames.poses[index].inverse())
            position = " ".join(f"{value:.6f}" for value in frames.poses[index].translation)
            rows.append(f"{image}.png {position} {w:.7f} {x:.7f} {y:.7f} {z:.7f}")
            model.append(f"{image}.jpg\t1575 {w:.8f} {x:.8f} {y:.8f} {z:.8f} {position} 0.001 0 ")
        (folder / f"dataset_{split}.txt").write_text("\n".join(rows) + "\n")
    (folder / "reconstruction.nvm").write_text("\n".join([*model, "", "0", ""]))


def write_aachen(root: Path, frames: Frames, *, version: str) -> None:
    """Database images in a COLMAP model (1.1) or a model of VisualSFM (1), queries of day and night."""
    images = root / ("images_upright" if version == "1.1" else "images/images_upright")
    row = " ".join(str(value) for value in CAMERA.parameters)
    names = [f"db/{number}.jpg" for number in range(len(MAP_FRAMES))]
    for name, index in zip(names, MAP_FRAMES, strict=True):
        frames.write(index, images / name)
    poses = [frames.poses[index] for index in MAP_FRAMES]
    models = root / "3D-models"
    if version == "1.1":
        found = [ColmapImage(name, CAMERA, pose) for name, pose in zip(names, poses, strict=True)]
        nothing = [np.zeros(0, int)] * len(names), [np.zeros((0, 2))] * len(names)
        points = ColmapPoints(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), *nothing)
        write_colmap_model(models / "aachen_v_1_1", found, points)
    else:
        rows = ["NVM_V3", "", f"{len(names)}"]
        for name, pose in zip(names, poses, strict=True):
            values = [260.0, *quaternion_wxyz(pose.inverse()), *pose.translation, 0.0, 0]
            rows.append(f"./{name} " + " ".join(f"{value:.8f}" for value in values))
        models.mkdir(parents=True)
        (models / "aachen_cvpr2018_db.nvm").write_text("\n".join([*rows, "", "0"]))
        text = "".join(f"{name} SIMPLE_PINHOLE 320 240 {row}\n" for name in names)
        (models / "database_intrinsics.txt").write_text(text)
    for group, indices in (("day", QUERY_FRAMES[:2]), ("night", QUERY_FRAMES[2:])):
        queries = [f"query/{group}/{index}.jpg" for index in indices]
        for name, index in zip(queries, indices, strict=True):
            frames.write(index, images / name)
        (root / "queries").mkdir(exist_ok=True)
        text = "".join(f"{name} SIMPLE_PINHOLE 320 240 {row}\n" for name in queries)
        (root / "queries" / f"{group}_time_queries_with_intrinsics.txt").write_text(text)
