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

"""Tiles of simulated towns: where they lie, and that they show the ground that lies there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.cross_view import simulate
from training.cross_view.layout import POSITIONS, TEST
from training.cross_view.simulate import (
    PIXELS,
    SIDE_M,
    STEP_M,
    STREET_COUNT,
    _cut,
    _lay_tiles,
    _walk,
    export_towns,
    lay_on_ground,
)
from training.data.aerial_views import hover
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.simulation.world import make_world

SIZE_M, LEFT_M, TOP_M, SIDE_PX = 0.25, -30.0, 150.0, 480


def make_gradient() -> GroundImage:
    """Red grows eastwards and green northwards, one level for half a metre."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    image = np.stack([rows * 0, (SIDE_PX - 1 - rows) // 2, columns // 2], axis=2).astype(np.uint8)
    return GroundImage(image, np.ones((SIDE_PX, SIDE_PX), bool), LEFT_M, TOP_M, SIZE_M)


def test_tiles_cover_the_town_and_stay_inside() -> None:
    tiles = _lay_tiles(make_gradient(), 7)
    each = int((SIDE_PX * SIZE_M - SIDE_M) / STEP_M) + 1
    assert len({tile.name for tile in tiles}) == each**2
    middles = np.array([[tile.x, tile.y] for tile in tiles])
    assert middles.min(axis=0) - SIDE_M / 2 == pytest.approx([LEFT_M, TOP_M - SIDE_PX * SIZE_M])
    assert middles.max(axis=0) + SIDE_M / 2 == pytest.approx([LEFT_M + SIDE_PX * SIZE_M, TOP_M])


def test_a_tile_shows_the_ground_at_its_place() -> None:
    ground = make_gradient()
    for tile in _lay_tiles(ground, 7)[::11]:
        _, green, red = _cut(ground, tile).reshape(-1, 3).mean(axis=0)
        assert LEFT_M + 2 * SIZE_M * red == pytest.approx(tile.x, abs=0.6)
        assert TOP_M - SIDE_PX * SIZE_M + 2 * SIZE_M * green == pytest.approx(tile.y, abs=0.6)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (-9.0, 12.0), (14.0, 5.0)])
def test_a_level_image_shows_the_ground_from_straight_above(
    monkeypatch: pytest.MonkeyPatch, x: float, y: float
) -> None:
    for name in ("_GRAVITY_STD_RAD", "_ALTITUDE_STD"):
        monkeypatch.setattr(simulate, name, 0.0)
    pose = hover(np.random.default_rng(1), np.array([0.0, 0.0, 45.0]), tilt_rad=0.2)
    axis, up = pose.rotation[:, 2], -pose.rotation[:2, 1]
    middle, up = 45.0 * axis[:2] / -axis[2], up / np.linalg.norm(up)
    right = np.array([up[1], -up[0]])
    seen = pose.inverse().apply(np.array([[*(middle + x * right + y * up), 0.0]]))[0]
    rows, columns = np.mgrid[:PIXELS, :PIXELS] + 0.5
    column, row = PIXELS * (seen[:2] / seen[2] + 0.5)
    blob = 255 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18.0)
    level = lay_on_ground(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), pose, seed=0)[..., 0].astype(float)
    found = [(level * part).sum() / level.sum() for part in (columns, rows)]
    assert (np.array(found) / PIXELS - 0.5) * SIDE_M == pytest.approx([x, -y], abs=0.3)


def test_street_images_show_the_road_ahead() -> None:
    world = make_world("town", 74000)
    tiles = _lay_tiles(GroundImage(np.zeros((720, 720, 3), np.uint8), np.ones((720, 720), bool), -30.0, 150.0, 0.25), 0)
    with pytest.MonkeyPatch.context() as patch:
        seen = list[tuple[Camera, Pose]]()
        patch.setattr(simulate, "render", lambda _, camera, pose, **more: seen.append((camera, pose)))
        walked = list(_walk(world, tiles, TEST, 0))
    assert len(walked) == len(seen) == STREET_COUNT
    ends = np.array([end for road in world.roads for end in (road.start, road.end)])
    for (path, _, (x, y, side_m, _)), (camera, pose) in zip(walked, seen, strict=True):
        assert pose.translation[2] == 1.5
        # the middle of the ground is in the middle of the image, below the horizon
        u, v = camera.project(pose.inverse().apply(np.array([[x, y, 0.0]])))[0]
        assert u == pytest.approx(camera.width / 2)
        assert camera.height / 2 < v < camera.height
        assert (ends.min(axis=0) - 2 <= [x, y]).all()
        assert (ends.max(axis=0) + 2 >= [x, y]).all()
        tile = next(one for one in tiles if one.name == path.parent.name)
        assert max(abs(tile.x - x), abs(tile.y - y)) <= STEP_M / 2 + 1e-9
        assert side_m == pytest.approx(2 * np.hypot(*(np.array([x, y]) - pose.translation[:2])))
    assert len({pose.rotation.round(3).tobytes() for _, pose in seen}) == 4


def test_a_split_is_not_written_twice(tmp_path: Path) -> None:
    (tmp_path / TEST).mkdir()
    (tmp_path / TEST / POSITIONS).write_text("")
    with pytest.raises(InputError, match="already"):
        export_towns(tmp_path, TEST, 1)
