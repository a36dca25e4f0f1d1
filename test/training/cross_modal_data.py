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

"""Two drives along one street of posts, as KITTI writes them: small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose

LIDAR_FROM_CAMERA = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.3, 0.1, -0.1]))
WIDTH, HEIGHT, FOCAL = 160, 64, 90.0
# of the colour camera, beside the one whose poses are written
BASELINE_M = 0.06


def posts(seed: int) -> Array:
    """(N, 4) points on posts along a street in x direction, and their brightness 0 to 1."""
    rng = np.random.default_rng(seed)
    foot = np.column_stack([rng.uniform(-20, 260, 120), rng.choice([-1, 1], 120) * rng.uniform(4, 9, 120)])
    rows = []
    for (x, y), top, light in zip(foot, rng.uniform(0.5, 6, 120), rng.uniform(0.2, 1, 120), strict=True):
        heights = np.arange(0.0, top, 0.1)
        rows.append(np.column_stack([np.full((len(heights), 2), (x, y)), heights, np.full(len(heights), light)]))
    ground = np.column_stack(
        [rng.uniform(-20, 260, 4000), rng.uniform(-4, 4, 4000), np.zeros(4000), np.full(4000, 0.1)]
    )
    return np.concatenate([*rows, ground])


def write_drive(root: Path, name: str, *, world: int, first_m: float, count: int = 12, spacing_m: float = 10.0) -> Path:
    """A sequence of KITTI odometry whose images and scans show the same posts; its folder."""
    folder, points = root / "sequences" / name, posts(world)
    (folder / "image_2").mkdir(parents=True)
    (folder / "velodyne").mkdir()
    (root / "poses").mkdir(exist_ok=True)
    camera_from_lidar, rows = LIDAR_FROM_CAMERA.inverse(), []
    for number in range(count):
        map_from_lidar = Pose(np.eye(3), np.array([first_m + number * spacing_m, 0.0, 1.7]))
        local = map_from_lidar.inverse().apply(points[:, :3])
        near = np.linalg.norm(local, axis=1) < 60
        scan = np.column_stack([local[near], points[near, 3]]).astype("<f4")
        scan.tofile(folder / "velodyne" / f"{number:06d}.bin")
        colour = camera_from_lidar.apply(local[near]) - [BASELINE_M, 0.0, 0.0]
        cv2.imwrite(str(folder / "image_2" / f"{number:06d}.png"), draw(colour, points[near, 3]))
        rows.append((camera_from_lidar @ map_from_lidar @ LIDAR_FROM_CAMERA).matrix[:3].ravel())
    projection = f"{FOCAL} 0 {WIDTH / 2} {-FOCAL * BASELINE_M} 0 {FOCAL} {HEIGHT / 2} 0 0 0 1 0"
    lines = [*(f"P{k}: {projection}" for k in range(4)), f"Tr: {_line(camera_from_lidar.matrix[:3].ravel())}"]
    (folder / "calib.txt").write_text("\n".join(lines) + "\n")
    (folder / "times.txt").write_text("".join(f"{number}\n" for number in range(count)))
    (root / "poses" / f"{name}.txt").write_text("".join(f"{_line(row)}\n" for row in rows))
    return folder


def draw(points: Array, light: Array) -> Array:
    """(H, W, 3) uint8 image of (N, 3) points of the optical frame."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for (x, y, z), value in sorted(zip(points.tolist(), light.tolist(), strict=True), key=lambda one: -one[0][2]):
        if z > 1:
            at = round(FOCAL * x / z + WIDTH / 2), round(FOCAL * y / z + HEIGHT / 2)
            cv2.circle(image, at, max(1, round(12 / z)), (int(255 * value),) * 3, -1)
    return image


def _line(values: Array) -> str:
    return " ".join(f"{value:.9e}" for value in values)
