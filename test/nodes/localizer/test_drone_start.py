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

"""A drone without GNSS starts on the aerial tiles of its map, and is localized by the landmarks that it flies to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aerial_ground import MAP_FROM_TILES, TILES_FROM_MAP, hover, image_from, make_map_of_both, make_tiles, map_datum
from drone import BASE_FROM_CAMERA, MAP_FROM_ODOM, Drone
from ros_session import Ros
from sensor_msgs.msg import NavSatFix

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of
from vloc_ros.storage.maps import write_map

OK, HELD = LocalizationStatus.OK, LocalizationStatus.HELD
TILT = (0.06, -0.04)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps") / "both"
    write_map(make_map_of_both(0.6, -0.5), folder)
    return folder


def error_of(status: LocalizationStatus, map_from_camera: Pose) -> float:
    """Of a localized position of the base, metres."""
    assert status.status == OK, status.reason
    return pose_of(status.pose.pose).distance_to(map_from_camera @ BASE_FROM_CAMERA.inverse())[0]


def std_of(status: LocalizationStatus) -> float:
    return float(np.sqrt(status.pose.covariance.reshape(6, 6)[:3, :3].trace()))


def test_a_drone_starts_above_tiles_and_flies_to_the_landmarks(ros: Ros, both: Path, tmp_path: Path) -> None:
    ros.add(MapServerNode, map=str(both))
    drone = Drone(ros, map_cache=str(tmp_path / "cache"))
    drone.activate()
    ros.until(lambda: drone.node.map_hash != "")
    way = [hover(x, 20.0, 60.0, yaw=1.0, tilt=TILT) for x in range(-68, 17, 12)]
    statuses = [drone.status_of(drone.send(pose)) for pose in way]
    assert (statuses[0].status, statuses[0].candidate) == (HELD, "retrieval/aerial"), statuses[0].reason
    for status, pose in zip(statuses[1:3], way[1:3], strict=True):
        assert status.candidate == "retrieval/aerial"
        assert 0.5 < error_of(status, pose) < 1.2, "the tiles lie 0.8 m off"
        assert 0.5 < std_of(status) < 3.0, "which is a part of the covariance"
    for status, pose in zip(statuses[-2:], way[-2:], strict=True):
        assert status.candidate in ("prior", "whole_map")
        assert error_of(status, pose) < 0.5
        assert std_of(status) < 0.2
    # and back: what the tiles say agrees with what odometry carries on
    back = way[-2::-1]
    returned = [drone.status_of(drone.send(pose)) for pose in back]
    for status, pose in zip(returned, back, strict=True):
        assert error_of(status, pose) < 1.5
    assert returned[-1].candidate == "retrieval/aerial"
    # on Earth, with known covariance
    fixes = {stamp_ns_of(fix): fix for fix in drone.fixes.wait(lambda all_: len(all_) >= 3)}
    fix = fixes[stamp_ns_of(statuses[1])]
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    found = map_datum().local(fix.latitude, fix.longitude, fix.altitude)
    np.testing.assert_allclose(found, (way[1] @ BASE_FROM_CAMERA.inverse()).translation, atol=1.2)
    poses = drone.poses.wait(lambda all_: len(all_) >= 3)
    assert {message.header.frame_id for message in poses} == {"map"}


@pytest.mark.parametrize("publish_tf", ["map_base", "none"])
def test_gravity_is_by_odometry_that_is_later_than_its_image(
    ros: Ros, both: Path, publish_tf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drone = Drone(ros, map=str(both), publish_tf=publish_tf, transform_timeout_s=5.0)
    drone.activate()
    pose, look_up = hover(-68.0, 20.0, 60.0, yaw=1.0, tilt=TILT), RigTransforms.odometry

    def look_up_too_early(transforms: RigTransforms, reference: Reference) -> Pose | None:
        found = look_up(transforms, reference)
        drone.send_odometry(reference.stamp_ns, pose)
        return found

    monkeypatch.setattr(RigTransforms, "odometry", look_up_too_early)
    status = drone.status_of(drone.send(pose, odometry=False))
    assert (status.status, status.candidate) == (HELD, "retrieval/aerial"), status.reason


def test_an_imu_whose_frame_tf_lacks_leaves_the_landmarks_to_answer(ros: Ros, both: Path) -> None:
    drone = Drone(ros, map=str(both), **{"flight.gravity": "imu"})
    drone.activate()
    for x, outcome in ((28.0, HELD), (30.0, OK)):
        pose = hover(x, 20.0, 60.0, yaw=1.0, tilt=TILT)
        drone.send_imu(pose, frame_id="unknown")
        ros.until(lambda: drone.has_heard(imu=True, range_m=None))
        status = drone.status_of(drone.send(pose))
        assert status.status == outcome, status.reason
    refused = drone.status_of(drone.send(hover(-68.0, 20.0, 60.0, yaw=1.0, tilt=TILT)))
    assert "gravity is unknown" in refused.reason


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps") / "tiles"
    write_map(make_tiles(), folder)
    return folder


ALONE = {"publish_tf": "map_base", "fix_filter.enabled": False, "carry_last_fix": False}


def test_without_odometry_an_imu_and_a_range_sensor_say_what_is_known(ros: Ros, tiles: Path) -> None:
    by_both = {"flight.gravity": "imu", "flight.gravity_std_rad": 0.01, "flight.altitude": "range"}
    drone = Drone(ros, map=str(tiles), **ALONE, **by_both)
    drone.activate()
    pose = hover(-20.0, 10.0, 60.0, yaw=1.0, tilt=TILT)
    in_tiles = TILES_FROM_MAP @ pose

    def send(range_m: float | None, imu_of: Pose | None = pose) -> LocalizationStatus:
        if range_m is not None:
            drone.send_range(range_m)
        if imu_of is not None:
            drone.send_imu(imu_of)
        ros.until(lambda: drone.has_heard(imu=imu_of is not None, range_m=range_m))
        return drone.status_of(drone.send(pose, odometry=False))

    measured_m = drone.range_to_ground(in_tiles)
    for known in (send(measured_m), send(None)):
        assert error_of(known, in_tiles) < 0.5
    assert error_of(send(None, imu_of=None), in_tiles) < 5.0
    assert send(0.5 * measured_m).status != OK, "half of the altitude contradicts the view"
    horizon = send(None, imu_of=hover(-20.0, 10.0, 60.0, tilt=(1.5, 0.0)))
    assert "hardly any ground" in horizon.reason


def test_the_height_of_odometry_is_the_altitude_above_the_ground(ros: Ros, tiles: Path) -> None:
    pose = hover(-20.0, 10.0, 60.0, yaw=1.0, tilt=TILT)
    ground_z_m = float((MAP_FROM_ODOM.inverse() @ MAP_FROM_TILES).translation[2])
    drone = Drone(ros, map=str(tiles), **ALONE, **{"flight.altitude": "odometry", "flight.ground_z_m": ground_z_m})
    drone.activate()
    assert error_of(drone.status_of(drone.send(pose)), TILES_FROM_MAP @ pose) < 0.5
    below = hover(-20.0, 10.0, -60.0, yaw=1.0)
    refused = drone.status_of(drone.send(below, image=image_from(pose)))
    assert refused.status == LocalizationStatus.NO_FEATURES
    assert "above the ground" in refused.reason


def test_a_camera_that_looks_at_the_horizon_and_water_are_refused(ros: Ros, tiles: Path) -> None:
    drone = Drone(ros, map=str(tiles), **ALONE)
    drone.activate()
    level = hover(-20.0, 10.0, 60.0, tilt=(1.5, 0.0))
    horizon = drone.status_of(drone.send(level, image=image_from(hover(-20.0, 10.0, 60.0))))
    assert (horizon.status, "hardly any ground" in horizon.reason) == (LocalizationStatus.NO_FEATURES, True)
    pose = hover(-20.0, 10.0, 60.0)
    water = drone.status_of(drone.send(pose, image=np.full((360, 480, 3), 120, np.uint8)))
    assert (water.status, "keypoints" in water.reason) == (LocalizationStatus.NO_FEATURES, True)
    assert drone.status_of(drone.send(pose)).status == OK
