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

"""Rendered pixels against `Camera.project`, on a chequerboard at a known pose."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation import render as rendering
from vloc_ros.simulation.lighting import DAY, DUSK, NIGHT, Lighting, relight
from vloc_ros.simulation.render import render, render_radiance
from vloc_ros.simulation.scene import Rectangle, World
from vloc_ros.simulation.textures import MipMap, Texture, build_mip_map
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world

CAMERAS = {
    "PINHOLE": Camera("PINHOLE", 320, 240, (260.0, 262.0, 158.3, 121.7)),
    "OPENCV": Camera("OPENCV", 320, 240, (260.0, 262.0, 158.3, 121.7, -0.25, 0.08, 0.002, -0.003)),
    "OPENCV_FISHEYE": Camera("OPENCV_FISHEYE", 320, 240, (180.0, 181.0, 158.3, 121.7, 0.02, -0.01, 0.003, 0.0)),
}
BOARD = Texture("plaster", -1, -1, 2.4, 1.8, 400.0)
NEAR_BOARD = Texture("plaster", -2, -2, 0.4, 0.4, 100.0)
CELLS_X, CELLS_Y = 8, 6
PLAIN = Lighting(daylight=1.0, lamps=0.0, exposure_jitter=0.0, vignetting=0.0, noise=0.0, read_noise=0.0,
                 blur_px=2.0, motion_blur_px=0.0)  # fmt: skip


@lru_cache(maxsize=4)
def _board_or_white(texture: Texture) -> MipMap:
    if texture == NEAR_BOARD:
        return build_mip_map(np.full((40, 40, 3), 255, np.uint8))
    image = np.indices((CELLS_Y * 120, CELLS_X * 120)) // 120
    image = ((image.sum(axis=0) % 2) * 180 + 30).astype(np.uint8)
    return build_mip_map(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))


def _board_at(x: float) -> Rectangle:
    """A board in the plane at `x`, seen from its smaller x, 2.4 m wide and 1.8 m high around (y, z) = (0, 1)."""
    return Rectangle((x, 1.2, 1.9), (0.0, -2.4, 0.0), (0.0, 0.0, -1.8), BOARD)


def _world(*rectangles: Rectangle) -> World:
    return World("test", "room", 0, rectangles, (), (), ())


@pytest.fixture(autouse=True)
def _board_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rendering.get_mip_map
    monkeypatch.setattr(rendering, "get_mip_map", lambda t: _board_or_white(t) if t.seed < 0 else real(t))


def _looking_along_x(yaw: float = 0.0, *, at: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Pose:
    ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    turn = cv2.Rodrigues(np.array([0.05, -0.04, yaw]))[0]
    return Pose(turn @ ahead, np.array(at))


def _crossings() -> Array:
    """(N, 3) inner corners of the board at x = 2."""
    y, z = np.meshgrid(1.2 - 0.3 * np.arange(1, CELLS_X), 1.9 - 0.3 * np.arange(1, CELLS_Y))
    return np.column_stack([np.full(y.size, 2.0), y.ravel(), z.ravel()])


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("yaw", [0.0, 0.35])
def test_corners_appear_where_the_camera_projects_them(model: str, yaw: float) -> None:
    camera, pose = CAMERAS[model], _looking_along_x(yaw)
    image = render(_world(_board_at(2.0)), camera, pose, lighting=PLAIN)
    expected = camera.project(pose.inverse().apply(_crossings()))
    inside = ((expected > 12) & (expected < np.array([camera.width, camera.height]) - 12)).all(axis=1)
    expected = expected[inside]
    assert len(expected) >= 20
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-4)
    guess = np.ascontiguousarray((expected - 0.5).astype(np.float32).reshape(-1, 1, 2))
    found = cv2.cornerSubPix(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), guess, (4, 4), (-1, -1), criteria)
    error = found.reshape(-1, 2) + 0.5 - expected
    assert np.abs(error.mean(axis=0)).max() < 0.03
    assert np.median(np.linalg.norm(error, axis=1)) < 0.06
    assert np.linalg.norm(error, axis=1).max() < 0.2


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearer_surface_hides_the_farther(order: int) -> None:
    near = Rectangle((1.0, 0.2, 1.2), (0.0, -0.4, 0.0), (0.0, 0.0, -0.4), NEAR_BOARD)
    image = render_radiance(
        _world(*[_board_at(2.0), near][::order]), CAMERAS["PINHOLE"], _looking_along_x(), lighting=PLAIN
    )
    corners = CAMERAS["PINHOLE"].project(_looking_along_x().inverse().apply([[1, 0.19, 1.19], [1, -0.19, 0.81]]))
    (x0, y0), (x1, y1) = np.sort(corners.round().astype(int), axis=0)
    assert image[y0 + 14 : y1 - 14, x0 + 14 : x1 - 14].min() > 150
    assert image[: y0 - 20].min() < 60


def test_a_surface_is_seen_from_its_front_only() -> None:
    behind = _looking_along_x(np.pi, at=(4.0, 0.0, 1.0))
    assert not render_radiance(_world(_board_at(2.0)), CAMERAS["PINHOLE"], behind, lighting=PLAIN).any()


def test_a_surface_that_passes_behind_the_camera_is_cut_at_the_near_plane() -> None:
    floor = Rectangle((-3.0, 3.0, 0.0), (6.0, 0.0, 0.0), (0.0, -6.0, 0.0), BOARD)
    image = render_radiance(_world(floor), CAMERAS["PINHOLE"], _looking_along_x(), lighting=PLAIN)
    assert (image[-1] > 0).all()
    assert not image[0].any()


def test_distant_texture_is_averaged() -> None:
    image = render_radiance(_world(_board_at(150.0)), CAMERAS["PINHOLE"], _looking_along_x(), lighting=PLAIN)
    seen = image[image > 0]
    assert 0 < len(seen) < 200
    assert seen.std() < 40  # the full contrast has 90


def test_equal_seeds_give_equal_images_and_other_seeds_other_noise() -> None:
    world = make_world("room", 3)
    pose = walk(world, 2, 0)[0]
    first, again, other = (render(world, CAMERAS["OPENCV"], pose, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    rebuilt = render(make_world("room", 3), CAMERAS["OPENCV"], pose, seed=5)
    assert np.array_equal(first, rebuilt)


def test_the_day_is_brighter_than_dusk_and_dusk_than_night() -> None:
    world = make_world("room", 3)
    pose = walk(world, 2, 0)[0]
    day, dusk, night = (render(world, CAMERAS["OPENCV"], pose, lighting=light).mean() for light in (DAY, DUSK, NIGHT))
    assert day > 1.15 * dusk > 1.15**2 * night > 10


def test_relighting_a_photograph_darkens_it_and_keeps_its_edges_in_place() -> None:
    rng = np.random.default_rng(0)
    photograph = cv2.resize(rng.uniform(40, 220, (24, 32)), (320, 240), interpolation=cv2.INTER_CUBIC)
    photograph = np.clip(photograph, 0, 255).astype(np.uint8)
    night = relight(photograph, NIGHT, 1)
    assert night.shape == photograph.shape
    assert night.mean() < 0.8 * photograph.mean()
    assert np.array_equal(night, relight(photograph, NIGHT, 1))
    shift = cv2.phaseCorrelate(photograph.astype(np.float64), night.astype(np.float64))[0]
    assert np.linalg.norm(shift) < 0.2
    assert relight(np.dstack([photograph] * 3), NIGHT, 1).shape == (*photograph.shape, 3)


@pytest.mark.parametrize("model", CAMERAS)
def test_depth_is_that_of_the_visible_surface(model: str) -> None:
    camera, pose = CAMERAS[model], _looking_along_x(0.2)
    found = rendering.render_depth(_world(_board_at(3.0)), camera, pose)
    assert found.shape == (camera.height, camera.width)
    seen = np.argwhere(np.isfinite(found))[::97]
    assert len(seen) > 100
    rays = camera.unproject(seen[:, ::-1] + 0.5)
    points = pose.apply(rays * found[seen[:, 0], seen[:, 1], None])
    np.testing.assert_allclose(points[:, 0], 3.0, atol=1e-3)
    assert np.isinf(rendering.render_depth(_world(_board_at(-3.0)), camera, pose)).all()
