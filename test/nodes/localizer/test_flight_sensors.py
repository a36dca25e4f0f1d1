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

"""What other sensors say of images from above, exactly: gravity and altitude in the frame of the camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drone import BASE_FROM_CAMERA, BASE_FROM_IMU, BASE_FROM_RANGE
from plain import look_down
from ros_session import Ros
from sensor_msgs.msg import Imu, Range

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import FlightConfig, LocalizerNodeConfig
from vloc_ros.nodes.localizer.flight_sensors import FlightSensors
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms
from vloc_ros.nodes.rclpy_support.conversion import header, pose_message

STAMP_NS = 1_000_000_000
CAMERA = Reference(STAMP_NS, "base_link", "camera")
# above ground at z = 0
WORLD_FROM_CAMERA = look_down(3.0, 4.0, 50.0, yaw=1.0, tilt=(0.3, -0.2))
WORLD_FROM_BASE = WORLD_FROM_CAMERA @ BASE_FROM_CAMERA.inverse()
DOWN = WORLD_FROM_CAMERA.rotation.T @ np.array([0.0, 0.0, -1.0])


class Extrinsics:
    """What TF has of the drone."""

    def lookup(self, target: str, source: str, *_: Any, **__: Any) -> Pose:
        assert target == "base_link"
        known = {"camera": BASE_FROM_CAMERA, "range": BASE_FROM_RANGE, "imu": BASE_FROM_IMU}
        if source not in known:
            raise Refused(LocalizationStatus.NO_TRANSFORM, f"TF has no {target} -> {source}")
        return known[source]

    def lookup_newest(self, *_: Any) -> None:
        return None


@pytest.fixture
def transforms() -> RigTransforms:
    return RigTransforms(LocalizerNodeConfig(), Extrinsics())


def hear(ros: Ros, sensors: FlightSensors, message: Imu | Range) -> None:
    """Publish a message until the sensors have it."""
    name = "imu" if isinstance(message, Imu) else "range"
    publisher, readings = ros.node.create_publisher(type(message), name, 10), getattr(sensors, f"_{name}")
    ros.until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(message)
    stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    ros.until(lambda: readings.nearest(stamp_ns, within_s=0.0) is not None)


def imu_message(stamp_ns: int = STAMP_NS, **fields: Any) -> Imu:
    orientation = pose_message(WORLD_FROM_BASE @ BASE_FROM_IMU).orientation
    return Imu(**({"header": header(stamp_ns, "imu"), "orientation": orientation} | fields))


def range_message(range_m: float, *, frame_id: str = "range") -> Range:
    return Range(header=header(STAMP_NS, frame_id), min_range=0.5, max_range=120.0, range=range_m)


def test_odometry_says_both(ros: Ros, transforms: RigTransforms) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(altitude="odometry", ground_z_m=1.5, altitude_std=0.2))
    assert sensors.needs_odometry
    state = sensors.state(transforms, CAMERA, WORLD_FROM_BASE)
    np.testing.assert_allclose(state.down, DOWN, atol=1e-6)
    assert state.altitude_m == pytest.approx(48.5)
    assert (state.down_std_rad, state.altitude_std) == (0.03, 0.2)
    unknown = sensors.state(transforms, CAMERA, None)
    assert (unknown.down, unknown.altitude_m) == (None, None)


def test_an_imu_says_which_way_is_down(ros: Ros, transforms: RigTransforms) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(gravity="imu", max_gap_s=0.2))
    assert not sensors.needs_odometry
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).down is None, "nothing was received"
    hear(ros, sensors, imu_message(STAMP_NS - 300_000_000))
    assert sensors.state(transforms, CAMERA, None).down is None, "it is too long ago"
    hear(ros, sensors, imu_message())
    np.testing.assert_allclose(sensors.state(transforms, CAMERA, None).down, DOWN, atol=1e-6)
    sensors.close()


@pytest.mark.parametrize("wrong", ["no orientation", "zero"])
def test_an_imu_without_orientation_says_nothing(ros: Ros, transforms: RigTransforms, wrong: str) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(gravity="imu"))
    message = imu_message()
    if wrong == "zero":
        message.orientation.x = message.orientation.y = message.orientation.z = message.orientation.w = 0.0
    else:
        message.orientation_covariance[0] = -1.0
    hear(ros, sensors, message)
    assert sensors.state(transforms, CAMERA, None).down is None
    sensors.close()


def test_a_range_along_a_tilted_axis_is_the_altitude_of_the_camera(ros: Ros, transforms: RigTransforms) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    sensor = WORLD_FROM_BASE @ BASE_FROM_RANGE
    measured_m = -sensor.translation[2] / sensor.rotation[2, 0]
    hear(ros, sensors, range_message(measured_m))
    assert measured_m > 52.0
    state = sensors.state(transforms, CAMERA, WORLD_FROM_BASE)
    assert state.altitude_m == pytest.approx(50.0, abs=1e-3)
    assert sensors.state(transforms, CAMERA, None).altitude_m is None, "without gravity its tilt is unknown"
    sensors.close()


@pytest.mark.parametrize("range_m", [np.nan, np.inf, -np.inf, 0.1, 121.0])
def test_a_range_out_of_reach_is_no_altitude(ros: Ros, transforms: RigTransforms, range_m: float) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    hear(ros, sensors, range_message(range_m))
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).altitude_m is None
    sensors.close()


def test_a_range_sensor_that_looks_ahead_says_nothing(ros: Ros, transforms: RigTransforms) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    hear(ros, sensors, range_message(40.0, frame_id="imu"))
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).altitude_m is None
    sensors.close()


@pytest.mark.parametrize("frame_id", ["", "unknown"])
def test_sensors_whose_frame_tf_lacks_say_nothing(ros: Ros, transforms: RigTransforms, frame_id: str) -> None:
    sensors = FlightSensors(ros.node, FlightConfig(gravity="imu"))
    hear(ros, sensors, imu_message(header=header(STAMP_NS, frame_id)))
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).down is None
    sensors.close()
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    hear(ros, sensors, range_message(52.0, frame_id=frame_id))
    state = sensors.state(transforms, CAMERA, WORLD_FROM_BASE)
    assert state.altitude_m is None
    np.testing.assert_allclose(state.down, DOWN, atol=1e-6)
    sensors.close()


def test_a_range_sensor_that_never_measured_within_its_limits_is_a_warning(
    ros: Ros, transforms: RigTransforms, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(FlightSensors, "_warn", lambda _, reason: warnings.append(reason))
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    message = range_message(50.0)
    message.min_range = message.max_range = 0.0
    hear(ros, sensors, message)
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).altitude_m is None
    assert [text for text in warnings if "0 to 0 m" in text and "50 m" in text] == warnings != []
    sensors.close()
    # beyond the reach of one that has measured it is no fault
    sensors = FlightSensors(ros.node, FlightConfig(altitude="range"))
    hear(ros, sensors, range_message(50.0))
    assert sensors.state(transforms, CAMERA, WORLD_FROM_BASE).altitude_m is not None
    warnings.clear()
    later = range_message(np.inf)
    later.header.stamp.nanosec += 500_000_000
    hear(ros, sensors, later)
    later_image = Reference(STAMP_NS + 500_000_000, "base_link", "camera")
    assert sensors.state(transforms, later_image, WORLD_FROM_BASE).altitude_m is None
    assert not warnings
    sensors.close()
