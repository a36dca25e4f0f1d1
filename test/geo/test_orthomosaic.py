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

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain import CAMERA, look_down, make_ground

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.geo.orthomosaic import read_orthomosaic
from vloc_ros.storage.maps import read_map, write_map

_GROUND = make_ground(8)
# the frame of the map: its zero is 30 m above the lower part of the ground, whose eastern half is a terrace
_LOW_M, _TERRACE_M, _HEIGHT_M, _DATUM = -30.0, 9.0, 55.0, Datum(46.84, -91.99, 230.0, yaw_rad=0.4)


def _poses() -> list[Pose]:
    tilts = [(0.06, -0.05), (-0.08, 0.03), (0.0, 0.0)]
    places = [(x, y) for y in (-25, 0, 25) for x in (-40, -20, 0, 20, 40)]
    return [
        look_down(x, y, _LOW_M + _HEIGHT_M, yaw=0.4 * k, tilt=tilts[k % len(tilts)]) for k, (x, y) in enumerate(places)
    ]


def _height(x: Array) -> Array:
    return np.where(x > 0, _LOW_M + _TERRACE_M, _LOW_M)


def _photograph(pose: Pose) -> Array:
    """What a camera sees of the ground; where the terrace hides what is below it, of the terrace."""
    x, y = np.meshgrid(np.arange(CAMERA.width) + 0.5, np.arange(CAMERA.height) + 0.5)
    rays = CAMERA.unproject(np.column_stack([x.ravel(), y.ravel()])) @ pose.rotation.T
    upper, lower = (
        pose.translation + rays * ((z - pose.translation[2]) / rays[:, 2:]) for z in (_LOW_M + _TERRACE_M, _LOW_M)
    )
    points = np.where(upper[:, :1] > 0, upper, lower)
    pixels = (
        np.column_stack([points[:, 0] - _GROUND.left_m, _GROUND.top_m - points[:, 1]]) / _GROUND.ground_size_m - 0.5
    )
    maps = pixels.reshape(CAMERA.height, CAMERA.width, 2).astype(np.float32)
    return np.asarray(cv2.remap(_GROUND.image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR))


def _make_map(poses: list[Pose], datum: Datum | None = _DATUM) -> LandmarkMap:
    rng = np.random.default_rng(2)
    xy = rng.uniform(-70, 70, (9000, 2))
    points = np.column_stack([xy, _height(xy[:, 0]) + rng.normal(0.0, 0.05, len(xy))])
    points[:200, 2] += rng.uniform(-25, 25, 200)  # mismatched
    origin = np.array([100.0, -50.0, 3.0])
    config = RootSiftConfig()
    assert config.recorded_statistics is not None
    codec = DescriptorCodec.fit(rng.normal(size=(50, 16)).astype(np.float32), 8)
    scene = Scene("map", range(len(points)), range(len(poses)), origin=origin, datum=datum)
    return LandmarkMap(
        name="flight",
        scenes=(scene,),
        points=(points - origin).astype(np.float32),
        landmark_ids=np.zeros(len(points), np.int32),
        landmarks=LandmarkTable.numbered(1),
        codes=np.zeros((len(points), 8), np.uint8),
        codec=codec,
        keyframes=Keyframes(
            tuple(f"{k}.png" for k in range(len(poses))),
            np.stack([one.rotation for one in poses]),
            np.stack([one.translation - origin for one in poses]),
            np.zeros(len(poses) + 1, np.int64),
            np.zeros(0, np.int32),
            (CAMERA,) * len(poses),
        ),
        extractor=config,
        descriptor_statistics=config.recorded_statistics,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for k, pose in enumerate(_poses()):
        cv2.imwrite(str(folder / f"{k}.png"), _photograph(pose))
    return folder


def test_images_are_laid_on_ground_of_two_heights(images: Path) -> None:
    source = read_orthomosaic(_make_map(_poses()), images)
    ground = source.ground[0]
    sizes_m = [2 * height_m / CAMERA.parameters[0] for height_m in (_HEIGHT_M - _TERRACE_M, _HEIGHT_M)]
    assert sizes_m[0] * 0.99 < ground.ground_size_m < sizes_m[1] * 1.01
    image, shown = ground.read(slice(0, None), slice(0, None))
    assert shown.mean() > 0.75
    for x, y in ((-30, 10), (-45, -20), (-12, 0), (15, -10), (30, 12), (45, 20)):
        side = 64
        column = round((x - ground.left_m) / ground.ground_size_m)
        row = round((ground.top_m - y) / ground.ground_size_m)
        part = image[row - side // 2 : row + side // 2, column - side // 2 : column + side // 2]
        offset = (np.arange(side) - (side - 1) / 2) * ground.ground_size_m
        at_x = ground.left_m + column * ground.ground_size_m - _GROUND.left_m + offset
        at_y = _GROUND.top_m - ground.top_m + row * ground.ground_size_m + offset
        u, v = np.meshgrid(at_x / _GROUND.ground_size_m - 0.5, at_y / _GROUND.ground_size_m - 0.5)
        true = cv2.remap(_GROUND.image, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        one, other = (np.ascontiguousarray(pixels.mean(axis=2, dtype=np.float64)) for pixels in (part, true))
        found, response = cv2.phaseCorrelate(one, other, cv2.createHanningWindow((side, side), cv2.CV_64F))
        assert response > 0.3
        assert np.hypot(*found) < 1.0  # of the other height, places at a camera's rim lie 20 pixels off


def test_the_ground_is_at_the_height_of_the_landmarks(images: Path) -> None:
    datum = read_orthomosaic(_make_map(_poses()), images).datum
    assert datum.altitude_m == pytest.approx(230.0 + _LOW_M + _TERRACE_M / 2, abs=_TERRACE_M / 2 + 0.3)
    assert replace(datum, altitude_m=230.0) == _DATUM
    assert read_orthomosaic(_make_map(_poses(), replace(_DATUM, altitude_m=None)), images).datum.altitude_m is None


def test_maps_without_a_view_of_the_ground_are_refused(images: Path, tmp_path: Path) -> None:
    flat = [
        Pose(Pose.from_rotation_vector([-1.2, 0, 0], np.zeros(3)).rotation @ one.rotation, one.translation)
        for one in _poses()
    ]
    with pytest.raises(InputError, match=r"0 of 15 keyframes .* straight down, the median is 6. deg off"):
        read_orthomosaic(_make_map(flat), images)
    with pytest.raises(InputError, match=r"no datum; .*georeference"):
        read_orthomosaic(_make_map(_poses(), None), images)
    with pytest.raises(InputError, match="lacks 15 of 15 images"):
        read_orthomosaic(_make_map(_poses()), tmp_path)
    whole = _make_map(_poses())
    below = replace(whole, keyframes=replace(whole.keyframes, translations=whole.keyframes.translations - [0, 0, 80.0]))
    with pytest.raises(InputError, match="below the median height"):
        read_orthomosaic(below, images)
    with pytest.raises(InputError, match="calibrations"):
        read_orthomosaic(replace(whole, keyframes=replace(whole.keyframes, cameras=())), images)
    with pytest.raises(InputError, match="finer"):
        read_orthomosaic(whole, images, ground_size_m=0.01)


@pytest.mark.parametrize("name", ["../0.png", "/etc/hostname", ""])
def test_names_of_keyframes_that_leave_the_folder_are_refused(images: Path, name: str) -> None:
    whole = _make_map(_poses())
    names = (name, *whole.keyframes.names[1:])
    with pytest.raises(InputError, match=r"map flight: name is .* expected an image below"):
        read_orthomosaic(replace(whole, keyframes=replace(whole.keyframes, names=names)), images)


def test_keyframes_that_look_elsewhere_are_named(images: Path) -> None:
    poses = _poses()
    poses[3] = Pose(
        Pose.from_rotation_vector([-0.8, 0, 0], np.zeros(3)).rotation @ poses[3].rotation, poses[3].translation
    )
    assert read_orthomosaic(_make_map(poses), images).notes[-1].endswith("straight down: 3.png")


def test_an_image_of_another_size_is_refused(images: Path, tmp_path: Path) -> None:
    for file in images.iterdir():
        cv2.imwrite(str(tmp_path / file.name), np.zeros((90, 90, 3), np.uint8))
    with pytest.raises(InputError, match="90x90 pixels"):
        read_orthomosaic(_make_map(_poses()), tmp_path)


def test_the_command_makes_a_map_of_a_map(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_map(_make_map(_poses()), tmp_path / "flight")
    command = ["map", "aerial", "build", str(tmp_path / "map"), "--orthomosaic-from", str(tmp_path / "flight")]
    assert main([*command, "--images", str(images)]) == 0
    assert "15 images laid" in capsys.readouterr().out
    made = read_map(tmp_path / "map")
    datum = made.scenes[0].datum
    assert datum is not None
    assert datum.altitude_m is not None
    assert datum.yaw_rad == _DATUM.yaw_rad
    assert len(made.places[AERIAL]) > 10
    assert main(command) == 1
    assert "--images goes with --orthomosaic-from" in capsys.readouterr().err
