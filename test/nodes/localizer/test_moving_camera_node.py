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

"""A robot with a camera in a map that has no images: clouds of its last images are compared with LiDAR places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_session import Ros
from sensor_msgs.msg import Image
from street_robot import FIRST_CLOUD, SECOND_CLOUD, Street, StreetRobot, make_street

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap, Relocalize
from vloc_ros.core.tracking.moving_camera import ACCUMULATING
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of
from vloc_ros.storage.maps import map_hash, read_map, write_map

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """A drive along a street."""
    return make_street(tmp_path_factory.mktemp("maps") / "street")


def test_a_robot_is_localized_by_its_camera_in_a_map_without_images(ros: Ros, street: Street) -> None:
    robot = StreetRobot(ros, street)
    pictures = ros.collect(Image, "vloc_localizer/debug_image")
    ros.until(lambda: robot.node.count_subscribers("vloc_localizer/debug_image") > 0)
    statuses = robot.drive(0, SECOND_CLOUD)
    accumulating = [one for k, one in enumerate(statuses) if k not in (FIRST_CLOUD, SECOND_CLOUD)]
    assert {(one.status, one.candidate) for one in accumulating} == {(LocalizationStatus.NO_FEATURES, ACCUMULATING)}
    assert statuses[1].reason == "the camera has moved 0.9 m of the 3 m to its next cloud"
    order = [stamp_ns_of(one) for one in robot.statuses.messages]
    kept, searched = (order.index(stamp_ns_of(statuses[k])) for k in (FIRST_CLOUD + 1, FIRST_CLOUD))
    assert kept < searched, "no image waits for the search of a cloud"
    single, both = statuses[FIRST_CLOUD], statuses[SECOND_CLOUD]
    assert single.status != LocalizationStatus.OK
    assert "by 1 of at least 2 clouds" in single.reason
    assert both.status == LocalizationStatus.OK, both.reason
    assert (both.sensor, both.map_frame, both.body_frame) == ("camera", "map", "base_link")
    assert both.candidate == "camera/lidar/drive"
    metres, radians = pose_of(both.pose.pose).distance_to(robot.map_from_base(SECOND_CLOUD))
    assert metres < 0.5
    assert radians < np.radians(2.0)
    assert 0 < both.pose.covariance[0] < 0.5**2
    robot.poses.wait(lambda all_: len(all_) == 1, "the pose")
    sent = robot.transforms.wait(lambda all_: any(_is_of_map(one) for one in all_), "map -> odom")
    found = pose_of(next(one for one in sent if _is_of_map(one)).transforms[0].transform)
    base = found @ robot.odom_from_base(SECOND_CLOUD)
    assert base.distance_to(pose_of(both.pose.pose))[0] < 1e-6
    pictures.wait(lambda all_: any(stamp_ns_of(one) == stamp_ns_of(both) for one in all_), "the overlay")
    drawn = np.frombuffer(pictures.messages[-1].data, np.uint8).reshape(-1, 3).astype(int)
    assert (np.ptp(drawn, axis=1) > 50).mean() > 0.05, "points of the map are in colour on the grey image"


def test_another_map_and_a_request_drop_the_kept_images(ros: Ros, street: Street, tmp_path: Path) -> None:
    write_map(replace(read_map(street.map), name="renamed"), street.map.parent / "renamed")
    ros.add(MapServerNode, autostart=True, map=str(street.map), maps_folder=str(street.map.parent))
    robot = StreetRobot(ros, street, map="", map_cache=str(tmp_path))
    ros.until(lambda: robot.node.map_hash == map_hash(street.map))
    assert "moved 1.8 m" in robot.drive(0, 2)[-1].reason
    ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="renamed"))
    ros.until(lambda: robot.node.map_hash == map_hash(street.map.parent / "renamed"))
    assert "moved 0.0 m" in robot.drive(3, 3)[-1].reason
    assert "moved 0.9 m" in robot.drive(4, 4)[-1].reason
    found = ros.call(Relocalize, "vloc_localizer/relocalize", Relocalize.Request(timeout_s=0.1)).result
    assert found.status == LocalizationStatus.NO_IMAGE
    reason = robot.drive(5, 5)[-1].reason
    assert "the tracked pose was discarded" in reason
    assert "moved 0.0 m" in reason


def test_what_was_begun_before_a_request_is_held(ros: Ros, street: Street) -> None:
    robot = StreetRobot(ros, street, **{"moving_camera.least_clouds": 1})
    robot.drive(0, FIRST_CLOUD - 1)
    stamp_ns = robot.send(FIRST_CLOUD)
    ros.until(lambda: robot.is_searching)
    ros.call(Relocalize, "vloc_localizer/relocalize", Relocalize.Request(timeout_s=0.01))
    held = robot.status_of(stamp_ns)
    assert held.status == LocalizationStatus.HELD, held.reason
    assert held.reason == "the tracked pose was discarded while the cloud of this image was searched for"
    assert not robot.poses.messages


def test_what_was_begun_with_other_parameters_is_held(ros: Ros, street: Street) -> None:
    robot = StreetRobot(ros, street, **{"moving_camera.least_clouds": 1})
    robot.drive(0, FIRST_CLOUD - 1)
    stamp_ns = robot.send(FIRST_CLOUD)
    ros.until(lambda: robot.is_searching)
    [changed] = robot.node.set_parameters([Parameter("moving_camera.least_clouds", value=2)])
    assert changed.successful, changed.reason
    held = robot.status_of(stamp_ns)
    assert held.status == LocalizationStatus.HELD, held.reason
    assert held.reason == "parameters were changed while the cloud of this image was searched for"


def test_a_rig_of_cameras_is_refused(ros: Ros, street: Street) -> None:
    robot = StreetRobot(ros, street, cameras="front,rear")
    status = robot.status_of(robot.send(0))
    assert (status.status, "name" in status.reason) == (LocalizationStatus.NO_CANDIDATES, True)
    assert "cameras names a rig" in status.reason


def _is_of_map(message: object) -> bool:
    return bool(message.transforms[0].header.frame_id == "map")  # type: ignore[attr-defined]
