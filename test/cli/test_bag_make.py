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

"""`vloc bag make`: what went in comes out of the bag, and what does not fit leaves none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.bags.reading import Bag
from vloc_ros.cli.main import main
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.bag_images import read_bag_keyframes
from vloc_ros.datasets.bag_measurements import with_bag_gravity, with_bag_positions
from vloc_ros.datasets.geodetic import SIMULATED_DATUM
from vloc_ros.datasets.recordings import simulate_odometry
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.trajectories import Trajectory, write_tum

_CAMERA = Camera("PINHOLE", 80, 60, (70.0, 70.0, 40.0, 30.0))
_POSES = tuple(Pose.from_rotation_vector([0.1, 0.2 * i, 0], [i, 0.5, 0.2]) for i in range(5))
_STAMPS_NS = 1_700_000_000_000_000_000 + np.arange(5) * 100_000_003


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(5):
        image = generator.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), image)
    write_camera(tmp_path / "camera.yaml", _CAMERA, name="test")
    write_tum(tmp_path / "poses.txt", Trajectory(_STAMPS_NS, _POSES))
    return tmp_path


def _make(recording: Path, *options: str) -> int:
    images = ["--images", f"{recording}/images", "--camera", f"{recording}/camera.yaml"]
    return main(["bag", "make", *images, "--out", f"{recording}/bag", *options])


def test_images_with_poses(recording: Path) -> None:
    assert _make(recording, "--poses", f"{recording}/poses.txt", "--drift", "0") == 0
    with Bag(recording / "bag") as bag:
        jpegs = [bytes(m.decoded().data) for m in bag.messages(["/camera/image/compressed"])]
        truth, odometry, tree = bag.poses("/truth"), bag.odometry("/odom"), bag.transforms()
        assert bag.camera("/camera/camera_info") == _CAMERA
    assert jpegs == [(recording / "images" / f"{i}.jpg").read_bytes() for i in range(5)]
    assert truth.stamps_ns.tolist() == odometry.stamps_ns.tolist() == _STAMPS_NS.tolist()
    for stamp_ns, map_from_base, map_from_camera in zip(_STAMPS_NS, truth.poses, _POSES, strict=True):
        base_from_camera = tree.lookup("base_link", "camera_optical_frame", int(stamp_ns))
        odom_from_camera = tree.lookup("odom", "camera_optical_frame", int(stamp_ns))
        assert base_from_camera is not None
        assert odom_from_camera is not None
        assert max((map_from_base @ base_from_camera).distance_to(map_from_camera)) < 1e-8
        start = truth.poses[0] @ odom_from_camera
        assert max(start.distance_to(map_from_camera)) < 1e-8, "exact odometry differs by where it starts"


def test_the_extrinsics_are_those_of_a_camera_that_looks_along_x(recording: Path) -> None:
    assert _make(recording, "--poses", f"{recording}/poses.txt", "--mount", "0.1", "0.2", "0.3", "0", "10", "90") == 0
    with Bag(recording / "bag") as bag:
        base_from_camera = bag.transforms().lookup("base_link", "camera_optical_frame", 0)
    assert base_from_camera is not None
    ahead = base_from_camera.apply([0, 0, 1]) - [0.1, 0.2, 0.3]
    down = np.sin(np.radians(10))
    np.testing.assert_allclose(ahead, [0, np.cos(np.radians(10)), -down], atol=1e-9)


def test_raw_images_at_a_rate_without_poses(recording: Path) -> None:
    assert _make(recording, "--raw", "--rate", "5") == 0
    with Bag(recording / "bag") as bag:
        images = list(bag.images("/camera/image"))
        names = {topic.name for topic in bag.topics}
    assert names == {"/camera/camera_info", "/camera/image", "/tf_static"}
    assert [stamp_ns for stamp_ns, _ in images] == [1_000_000_000 + i * 200_000_000 for i in range(5)]
    np.testing.assert_array_equal(images[2][1], cv2.imread(str(recording / "images" / "2.jpg")))


def test_a_lap_of_the_simulated_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    black = np.zeros((480, 640, 3), np.uint8)  # what is in the images is not what this is about
    monkeypatch.setattr("vloc_ros.datasets.simulated_recordings.render", lambda *_, **__: black)
    words = ["bag", "make", "--world", "room", "--frames", "6", "--rate", "20"]
    assert main([*words, "--out", f"{tmp_path}/bag"]) == 0
    assert "6 images" in capsys.readouterr().out
    with Bag(tmp_path / "bag") as bag:
        truth, odometry = bag.poses("/truth"), bag.odometry("/odom")
        assert bag.count("/camera/image/compressed") == 6
    assert np.diff(truth.stamps_ns).tolist() == [50_000_000] * 5
    assert max(odometry.poses[0].distance_to(Pose.identity())) < 1e-12
    heights = [pose.translation[2] for pose in truth.poses]
    np.testing.assert_allclose(heights, 0.0, atol=1e-9)


def test_a_drive_with_satellites_and_an_imu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    monkeypatch.setattr("vloc_ros.datasets.simulated_recordings.render", lambda *_, **__: black)
    words = ["bag", "make", "--world", "street", "--frames", "20", "--gnss", "0.5", "--imu", "1"]
    assert main([*words, "--odometry-lag", "0.03", "--out", f"{tmp_path}/bag"]) == 0
    keyframes = read_bag_keyframes(tmp_path / "bag", pose_topic="/truth")
    images, _ = with_bag_positions(
        keyframes.images, tmp_path / "bag", "/fix", keyframes.camera_frame, datum=SIMULATED_DATUM
    )
    measured = [image.position for image in images if image.position is not None]
    apart = [
        image.map_from_camera.apply(image.position.camera_from_receiver) - image.position.position
        for image in images
        if image.map_from_camera is not None and image.position is not None
    ]
    assert len(measured) == len(images) == 20
    assert np.sqrt(np.mean(np.square(apart))) == pytest.approx(0.5, rel=0.3)
    level = with_bag_gravity(images, tmp_path / "bag", "/imu", keyframes.camera_frame)[10].gravity
    assert level is not None
    np.testing.assert_allclose(level.direction, [0, 1, 0], atol=0.05)
    with Bag(tmp_path / "bag") as bag:
        lags_ns = bag.odometry("/odom").stamps_ns - bag.poses("/truth").stamps_ns
    assert set(lags_ns.tolist()) == {30_000_000}


def _fails(words: list[str], reason: str, bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "make", *words, "--out", str(bag)]) == 1
    line = [text for text in capsys.readouterr().err.splitlines() if text.startswith("vloc: ")]
    assert len(line) == 1
    assert reason in line[0]
    assert not bag.exists()


def test_noise_and_lags_have_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = ["--world", "street"]
    _fails([*world, "--gnss", "0"], "--gnss is 0, expected", tmp_path / "bag", capsys)
    _fails([*world, "--odometry-lag", "2"], "--odometry-lag is 2, expected -1 to 1", tmp_path / "bag", capsys)


def test_what_does_not_fit_leaves_no_bag(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, images = recording / "bag", ["--images", f"{recording}/images"]
    camera = ["--camera", f"{recording}/camera.yaml"]
    _fails(images, "--images without --camera", bag, capsys)
    _fails(["--world", "moon"], "unknown kind of world 'moon'", bag, capsys)
    _fails([*images, *camera, "--rate", "0.0001"], "--rate is 0.0001", bag, capsys)
    _fails([*images, *camera, "--rate", "0"], "--rate is 0, expected", bag, capsys)
    write_tum(recording / "short.txt", Trajectory(_STAMPS_NS[:3], _POSES[:3]))
    _fails([*images, *camera, "--poses", f"{recording}/short.txt"], "3 poses", bag, capsys)
    write_camera(recording / "other.yaml", _CAMERA.scaled(40, 30), name="small")
    _fails([*images, "--camera", f"{recording}/other.yaml"], "calibration is for 40x30", bag, capsys)
    whole = (recording / "images" / "3.jpg").read_bytes()
    (recording / "images" / "3.jpg").write_bytes(whole[:-50])
    _fails([*images, *camera], "3.jpg: the image is cut short", bag, capsys)
    assert sorted(p.name for p in recording.iterdir() if p.name.startswith(".")) == []


def test_an_existing_bag_is_kept(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _make(recording) == 0
    before = (recording / "bag" / "bag.mcap").read_bytes()
    assert _make(recording) == 1
    assert "exists already" in capsys.readouterr().err
    assert (recording / "bag" / "bag.mcap").read_bytes() == before


def test_drift_grows_with_the_way_and_repeats() -> None:
    way = [Pose.from_rotation_vector([0, 0, 0.02 * i], [0.1 * i, 0, 0]) for i in range(101)]
    exact, small, again, large = (simulate_odometry(way, drift=drift, seed=3)[-1] for drift in (0.0, 0.01, 0.01, 0.04))
    assert max(exact.distance_to(way[-1])) < 1e-9
    assert max(small.distance_to(again)) == 0
    assert 0.01 < small.distance_to(exact)[0] < large.distance_to(exact)[0] < 2


def test_negative_seeds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "make", "--world", "room", "--out", str(tmp_path / "bag"), "--seed", "-1"]) == 1
    places = ["place", "export", "--world", "room", "--out", str(tmp_path / "places"), "--seed", "-1"]
    assert main(places) == 1
    assert capsys.readouterr().err.count("expected 0 or more") == 2
