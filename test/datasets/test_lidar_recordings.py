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

"""Scans of bags, of KITTI's layouts and of depth images, with the poses of the right sensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from vloc_ros.bags.messages import (
    ODOMETRY,
    POINT_CLOUD,
    POSE_STAMPED,
    TF_MESSAGE,
    TYPESTORE,
    odometry_message,
    pose_stamped_message,
    tf_message,
)
from vloc_ros.bags.point_clouds import point_cloud_message
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.depth_scans import read_depth_recording
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.datasets.lidar_recordings import PoseTopic, read_lidar_bag
from vloc_ros.storage.trajectories import Trajectory, write_tum

BASE_FROM_LIDAR = Pose.from_rotation_vector([0.0, 0.2, 0.5], [0.3, 0.0, 1.0])
STEP_NS, SCANS = 100_000_000, 4
WORLD = np.random.default_rng(0).uniform(-20.0, 20.0, (400, 3))


def _map_from_base(stamp_ns: int) -> Pose:
    seconds = stamp_ns * 1e-9
    return Pose.from_rotation_vector([0.0, 0.0, 0.8 * seconds], [5.0 * seconds, 0.0, 0.0])


def _scan(stamp_ns: int) -> PointCloud:
    """What a LiDAR on the base measures within 60 ms, each point at a time of its own."""
    offsets = np.linspace(0, 60_000_000, len(WORLD)).astype(np.int64)
    points = [
        (_map_from_base(stamp_ns + int(offset)) @ BASE_FROM_LIDAR).inverse().apply(point[None])[0]
        for offset, point in zip(offsets, WORLD, strict=True)
    ]
    return PointCloud(np.array(points, np.float32), stamp_ns=stamp_ns, frame_id="lidar", offsets_ns=offsets)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of a robot that drives and turns, with its poses in the map and odometry at 50 Hz."""
    folder = tmp_path_factory.mktemp("bags") / "scans"
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {"/points": POINT_CLOUD, "/pose": POSE_STAMPED, "/tf": TF_MESSAGE, "/tf_static": TF_MESSAGE}
        to = {name: writer.add_connection(name, kind, typestore=TYPESTORE) for name, kind in topics.items()}

        def write(name: str, stamp_ns: int, message: object) -> None:
            writer.write(to[name], stamp_ns, TYPESTORE.serialize_cdr(message, topics[name]))

        write("/tf_static", 0, tf_message(0, ("base_link", "lidar"), BASE_FROM_LIDAR))
        for k in range(SCANS * 5 + 1):
            stamp_ns = STEP_NS + k * STEP_NS // 5
            write("/tf", stamp_ns, tf_message(stamp_ns, ("odom", "base_link"), _map_from_base(stamp_ns)))
            write("/pose", stamp_ns, pose_stamped_message(stamp_ns, "map", _map_from_base(stamp_ns)))
        for k in range(SCANS):
            write("/points", (k + 1) * STEP_NS, point_cloud_message(_scan((k + 1) * STEP_NS)))
    return folder


def test_scans_of_a_bag_are_undistorted_and_posed(bag: Path) -> None:
    recording = read_lidar_bag(bag, poses=PoseTopic("/pose"))
    assert (len(recording.scans), recording.frame_id, recording.left_out) == (SCANS, "lidar", 0)
    for k, scan in enumerate(recording.scans):
        expected = _map_from_base((k + 1) * STEP_NS) @ BASE_FROM_LIDAR
        assert scan.map_from_sensor is not None
        assert max(scan.map_from_sensor.distance_to(expected)) < 1e-6
        assert np.abs(expected.apply(scan.load().points) - WORLD).max() < 0.03
        assert max(recording.map_from_base()[k].distance_to(_map_from_base((k + 1) * STEP_NS))) < 1e-6
    query = recording.queries()[1].read()
    assert query.cloud is not None
    assert max(query.cloud.rig_from_sensor.distance_to(BASE_FROM_LIDAR)) < 1e-9


def test_a_compensated_recording_is_left_as_it_is(bag: Path) -> None:
    (scan, *_) = read_lidar_bag(bag, compensated=True).scans
    cloud = scan.load()
    assert (scan.map_from_sensor, cloud.offsets_ns) == (None, None)
    np.testing.assert_array_equal(cloud.points, _scan(STEP_NS).points)


def test_a_bag_of_what_is_missing_is_refused(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no topic /scan"):
        read_lidar_bag(bag, topic="/scan")
    late = Trajectory(np.array([10**12, 2 * 10**12]), (Pose.identity(), Pose.identity()))
    write_tum(tmp_path / "late.txt", late)
    with pytest.raises(InputError, match="none of 4 scans on /points has a pose"):
        read_lidar_bag(bag, poses=tmp_path / "late.txt")
    with pytest.raises(InputError, match="frame 'imu' is not in the bag's transforms"):
        read_lidar_bag(bag, base_frame="imu")


@pytest.mark.parametrize("base", ["base_footprint", ""])
def test_whose_the_poses_are_is_not_guessed(tmp_path: Path, base: str) -> None:
    """TF without `base_link`, or none; odometry that names the frame whose poses it holds."""
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {"/points": POINT_CLOUD, "/pose": POSE_STAMPED, "/odometry": ODOMETRY, "/tf_static": TF_MESSAGE}
        to = {name: writer.add_connection(name, kind, typestore=TYPESTORE) for name, kind in kinds.items()}

        def write(name: str, message: object) -> None:
            writer.write(to[name], STEP_NS, TYPESTORE.serialize_cdr(message, kinds[name]))

        if base:
            write("/tf_static", tf_message(0, (base, "lidar"), BASE_FROM_LIDAR))
        write("/points", point_cloud_message(_scan(STEP_NS)))
        frames = ("map", base or "imu")
        for stamp_ns in (STEP_NS, 2 * STEP_NS):
            write("/pose", pose_stamped_message(stamp_ns, "map", _map_from_base(stamp_ns)))
            write("/odometry", odometry_message(stamp_ns, frames, _map_from_base(stamp_ns), np.zeros(6)))
    if not base:
        assert read_lidar_bag(tmp_path / "bag", poses=PoseTopic("/pose")).base_from_sensor.distance_to(
            Pose.identity()
        ) == (0.0, 0.0)
        with pytest.raises(InputError, match="no extrinsics of the LiDAR 'lidar' on 'imu'"):
            read_lidar_bag(tmp_path / "bag", poses=PoseTopic("/odometry"))
        return
    for poses in (PoseTopic("/pose"), None):
        with pytest.raises(InputError, match="no extrinsics of the LiDAR 'lidar' on 'base_link'"):
            read_lidar_bag(tmp_path / "bag", poses=poses)
    with pytest.raises(InputError, match="holds poses of 'base_footprint', --base-frame is 'lidar'"):
        read_lidar_bag(tmp_path / "bag", poses=PoseTopic("/odometry"), base_frame="lidar")
    (scan,) = read_lidar_bag(tmp_path / "bag", poses=PoseTopic("/odometry")).scans
    assert scan.map_from_sensor is not None
    assert max(scan.map_from_sensor.distance_to(_map_from_base(STEP_NS) @ BASE_FROM_LIDAR)) < 1e-6


def _write_sequence(folder: Path) -> tuple[Pose, list[Pose]]:
    """A sequence of KITTI's odometry with two scans; camera_from_lidar and the poses of the LiDAR."""
    camera_from_lidar = Pose(
        np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.array([0.1, -0.1, -0.3])
    )
    lidar = [Pose.identity(), Pose.from_rotation_vector([0.0, 0.0, 0.1], [1.2, 0.1, 0.0])]
    (folder / "sequences/00/velodyne").mkdir(parents=True)
    (folder / "poses").mkdir()
    rows = [camera_from_lidar @ pose @ camera_from_lidar.inverse() for pose in lidar]
    text = "\n".join(" ".join(f"{v:.12g}" for v in pose.matrix[:3].ravel()) for pose in rows)
    (folder / "poses/00.txt").write_text(text + "\n")
    tr = " ".join(f"{v:.12g}" for v in camera_from_lidar.matrix[:3].ravel())
    (folder / "sequences/00/calib.txt").write_text(f"P0: {' '.join(['0'] * 12)}\nTr: {tr}\n")
    (folder / "sequences/00/times.txt").write_text("0.0\n0.1036\n")
    for k in range(2):
        points = np.array([[1, 2, 3, 0.5], [np.nan, 0, 0, 0.1]], "<f4") + np.float32(k)
        points.tofile(folder / f"sequences/00/velodyne/{k:06d}.bin")
    return camera_from_lidar, lidar


def test_a_sequence_of_kitti_has_poses_of_the_lidar(tmp_path: Path) -> None:
    camera_from_lidar, lidar = _write_sequence(tmp_path)
    recording = read_kitti_recording(tmp_path / "sequences/00")
    assert recording.camera_from_lidar is not None
    assert max(recording.camera_from_lidar.distance_to(camera_from_lidar)) < 1e-9
    for scan, pose in zip(recording.scans, lidar, strict=True):
        assert scan.map_from_sensor is not None
        assert max(scan.map_from_sensor.distance_to(pose)) < 1e-9
    cloud = recording.scans[1].load()
    np.testing.assert_array_equal(cloud.points, [[2, 3, 4]])
    assert (cloud.stamp_ns, cloud.frame_id) == (103_600_000, "velodyne")
    assert recording.scans[1].name == "00/000001"
    with pytest.raises(InputError, match=r"none\.txt"):
        read_kitti_recording(tmp_path / "sequences/00", poses=tmp_path / "none.txt")
    (tmp_path / "poses/00.txt").unlink()
    with pytest.raises(InputError, match="2 of 2 scans have no pose"):
        read_kitti_recording(tmp_path / "sequences/00").map_from_base()
    (tmp_path / "sequences/00/times.txt").write_text("0.0\n")
    with pytest.raises(InputError, match="has 2 scans and 1 times or poses"):
        read_kitti_recording(tmp_path / "sequences/00")
    with pytest.raises(InputError, match="no folder velodyne"):
        read_kitti_recording(tmp_path)


def test_a_drive_of_kitti_has_poses_by_its_receiver(tmp_path: Path) -> None:
    """A drive of 10 m to the north with the car facing there; the LiDAR sits 0.8 m behind the IMU."""
    drive = tmp_path / "2011_09_26/drive"
    (drive / "velodyne_points/data").mkdir(parents=True)
    (drive / "oxts/data").mkdir(parents=True)
    (tmp_path / "2011_09_26/calib_imu_to_velo.txt").write_text(
        "calib_time: 25-May-2012\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0 0\n"
    )
    (drive / "velodyne_points/timestamps.txt").write_text("2011-09-26 13:02:25.951199337\n2011-09-26 13:02:26.051\n")
    for k in range(2):
        row = [49.0 + k * 10.0 / 111_200.0, 8.0, 116.0, 0.0, 0.0, np.pi / 2, *[0.0] * 24]
        (drive / f"oxts/data/{k:010d}.txt").write_text(" ".join(map(repr, map(float, row))))
        np.array([[1, 2, 3, 0.5]], "<f4").tofile(drive / f"velodyne_points/data/{k:010d}.bin")
    first, second = read_kitti_recording(drive).scans
    assert first.map_from_sensor is not None
    assert second.map_from_sensor is not None
    np.testing.assert_allclose(first.map_from_sensor.translation, [0.0, 0.8, 0.0], atol=1e-6)
    moved = second.map_from_sensor.translation - first.map_from_sensor.translation
    np.testing.assert_allclose(moved, [0.0, 10.0, 0.0], atol=0.02)
    np.testing.assert_allclose(first.map_from_sensor.rotation[:, 0], [0.0, 1.0, 0.0], atol=1e-9)
    assert second.stamp_ns - first.stamp_ns == 99_800_663
    assert len(read_kitti_recording(drive, poses=drive / "oxts").map_from_base()) == 2
    with pytest.raises(InputError, match=r"expected .*oxts"):
        read_kitti_recording(drive, poses=tmp_path / "poses.txt")


def test_the_excerpt_of_kitti(shared_data: Callable[[str], Path]) -> None:
    recording = read_kitti_recording(shared_data("kitti") / "drive_04")
    assert (len(recording.scans), recording.frame_id) == (51, "velodyne")
    cloud = recording.scans[10].load()
    assert len(cloud) > 10_000
    assert cloud.intensity is not None
    assert recording.camera_from_lidar is not None


def test_depth_images_are_scans_with_z_up(tmp_path: Path) -> None:
    camera = Camera("PINHOLE", 8, 6, (10.0, 10.0, 4.0, 3.0))
    depth = np.zeros((6, 8), np.uint16)
    depth[5, 4] = 2000  # below the axis, to the right of it by half a pixel
    (tmp_path / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "depth/0.png"), depth)
    write_tum(tmp_path / "poses.txt", Trajectory(np.array([7]), (Pose.identity(),)))
    recording = read_depth_recording(tmp_path / "depth", camera, poses=tmp_path / "poses.txt")
    cloud = recording.scans[0].load()
    np.testing.assert_allclose(cloud.points, [[2.0, -0.1, -0.5]], atol=1e-6)
    assert recording.scans[0].map_from_sensor is not None
    in_map = recording.scans[0].map_from_sensor.apply(cloud.points)
    np.testing.assert_allclose(in_map, [[0.1, 0.5, 2.0]], atol=1e-6)
    cv2.imwrite(str(tmp_path / "depth/0.png"), depth.astype(np.uint8))
    with pytest.raises(InputError, match="expected a depth image, uint16 of 6x8"):
        recording.scans[0].load()
