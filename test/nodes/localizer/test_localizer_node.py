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

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Quaternion
from lifecycle_msgs.msg import State, Transition
from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, Wall
from plane_scene import CAMERA
from rclpy.parameter import Parameter
from robot import TOLERANCE_NS, Robot
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.query import Query
from vloc_ros.nodes.localizer import models
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, pose_of, stamp_ns_of, status_name
from vloc_ros.storage.maps import map_hash, write_map

sys.path.append(str(Path(__file__).parents[2] / "core"))
from descriptor_network import DescriptorNetwork


def test_the_pose_is_that_of_the_localizer_transformed_to_the_base(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    stamp_ns = robot.send(2)
    status = robot.status_of(stamp_ns)
    assert status_name(status.status) == "OK", status.reason
    pixels = np.repeat(wall.scene.image(wall.views[2])[:, :, None], 3, axis=2)
    expected = build_localizer(LocalizerConfig(), wall.scene.landmark_map).localize(Query.single(pixels, CAMERA))
    assert expected.map_from_rig is not None
    camera_from_base = BASE_FROM_CAMERA.inverse()
    map_from_base = expected.map_from_rig @ camera_from_base
    assert max(map_from_base.distance_to(pose_of(status.pose.pose))) < 1e-6
    carried = carry_covariance(expected.covariance, expected.map_from_rig, camera_from_base)
    np.testing.assert_allclose(status.pose.covariance, carried.reshape(-1), rtol=1e-6, atol=1e-12)
    assert map_from_base.distance_to(wall.views[2] @ camera_from_base)[0] < 0.05
    assert (status.map_frame, status.body_frame, status.map_hash) == ("map", "base_link", map_hash(wall.map))
    assert (status.inliers, status.images_received, status.images_dropped) == (expected.inliers, 1, 0)
    assert list(status.stages) == list(expected.times_ms)
    assert 0 < sum(status.stage_times_s) <= status.total_time_s < 60
    assert status.confidence == pytest.approx(expected.confidence)


def test_tf_composed_with_odometry_is_the_published_pose(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    stamp_ns = robot.send(1)
    pose = robot.poses.wait(lambda all_: len(all_) > 0, "a pose")[0]

    def from_map(messages: list[TFMessage]) -> list[Any]:
        return [t for m in messages for t in m.transforms if t.header.frame_id == "map"]

    first, repeated = from_map(robot.transforms.wait(lambda all_: len(from_map(all_)) >= 2, "map -> odom"))[:2]
    assert first.child_frame_id == "odom"
    assert stamp_ns_of(first) == stamp_ns + TOLERANCE_NS
    odom_from_base = MAP_FROM_ODOM.inverse() @ wall.views[1] @ BASE_FROM_CAMERA.inverse()
    map_from_base = pose_of(first.transform) @ odom_from_base
    assert max(map_from_base.distance_to(pose_of(pose.pose))) < 1e-6
    assert stamp_ns_of(repeated) > stamp_ns_of(first)
    assert repeated.transform == first.transform


def test_without_odometry_tf_has_the_base_in_the_map(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, publish_tf="map_base")
    robot.activate()
    stamp_ns = robot.send(1, odometry=False)
    assert robot.status_of(stamp_ns).status == LocalizationStatus.OK
    robot.transforms.wait(
        lambda all_: any(
            (t.header.frame_id, t.child_frame_id) == ("map", "base_link") for m in all_ for t in m.transforms
        ),
        "map -> base_link",
    )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"odometry": False}, "NO_ODOMETRY"),
        ({"static": False}, "NO_TRANSFORM"),
        ({"info": False}, "NO_CALIBRATION"),
        ({"image": "black"}, "NO_FEATURES"),
        ({"image": "tiny"}, "BAD_IMAGE"),
        ({"image": "unknown"}, "BAD_IMAGE"),
    ],
)
def test_every_image_has_a_status_with_its_reason(ros: Ros, wall: Wall, sent: dict[str, Any], expected: str) -> None:
    robot = Robot(ros, wall, transform_timeout_s=0.3)
    robot.activate()
    stamp_ns = robot.stamp_ns(0)
    black = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    images = {
        "black": bgr_message(stamp_ns, "camera", black),
        "tiny": bgr_message(stamp_ns, "camera", black[:8, :8]),
        "unknown": Image(header=header(stamp_ns, "camera"), encoding="no_such_encoding"),
    }
    status = robot.status_of(robot.send(0, **{k: images[v] if k == "image" else v for k, v in sent.items()}))
    assert status_name(status.status) == expected
    assert status.reason
    assert not any(status.pose.covariance)
    assert status.pose.pose.orientation == Quaternion(w=0.0)
    assert not robot.poses.messages


def test_an_old_image_is_stale(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, max_image_age_s=1.0)
    robot.activate()
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.STALE


def test_an_image_that_is_localized_while_the_pose_is_discarded_gives_none(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    localizer = robot.node._loaded.localizer
    localize = localizer.localize
    localizer.localize = lambda query, **options: (robot.node._pipeline.reset_tracking(), localize(query, **options))[1]
    status = robot.status_of(robot.send(0))
    assert status.status == LocalizationStatus.HELD
    assert "discarded meanwhile" in status.reason
    localizer.localize = localize
    assert robot.status_of(robot.send(1)).status == LocalizationStatus.OK
    assert len(robot.poses.messages) == 1


def test_an_image_of_the_future_is_stale(ros: Ros, wall: Wall) -> None:
    """Otherwise all later ones would be older than the transform that it gave."""
    robot = Robot(ros, wall)
    ahead_ns = time.time_ns() + 3600 * 10**9
    robot.stamp_ns = lambda index: ahead_ns + index  # type: ignore[method-assign]
    robot.activate()
    status = robot.status_of(robot.send(0))
    assert status.status == LocalizationStatus.STALE
    assert "ahead of the node's clock" in status.reason


def test_a_frame_that_images_alone_chose_is_reported_and_no_plane_to_project_to(
    ros: Ros, wall: Wall, tmp_path: Path
) -> None:
    scenes = tuple(replace(scene, frame_is_arbitrary=True) for scene in wall.scene.landmark_map.scenes)
    write_map(replace(wall.scene.landmark_map, scenes=scenes), tmp_path / "map")
    robot = Robot(ros, replace(wall, map=tmp_path / "map"))
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    robot.activate()
    diagnostics.wait(lambda all_: any("z axis is not up" in one.message for m in all_ for one in m.status), "a warning")
    refused = robot.node.set_parameters([Parameter("two_d_mode", value=True)])[0]
    assert not refused.successful
    assert "z axis is not up" in refused.reason


def test_an_image_without_a_stamp_is_refused(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    robot.status_of(robot.send(0))
    robot.send(1, image=bgr_message(0, "camera", np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)))
    status = robot.status_of(0)
    assert status.status == LocalizationStatus.STALE
    assert "no time stamp" in status.reason


def test_without_a_map_every_image_has_the_status_no_map(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, map="", map_server="missing")
    robot.activate()
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.NO_MAP


def test_every_image_of_a_burst_has_a_status(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, image_depth=10)
    robot.activate()
    stamps = [robot.send(index) for index in range(len(wall.views))]
    names = [status_name(robot.status_of(stamp).status) for stamp in stamps]
    assert set(names) <= {"OK", "DROPPED"}
    assert names[-1] == "OK"  # the newest wins
    last = robot.status_of(stamps[-1])
    assert last.images_received == len(stamps)
    assert last.images_dropped == names.count("DROPPED")


def test_all_states_of_the_lifecycle(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    assert robot.state() == State.PRIMARY_STATE_ACTIVE
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.node.count_subscribers("image") == 0
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert robot.state() == State.PRIMARY_STATE_UNCONFIGURED
    robot.activate()
    assert robot.status_of(robot.send(3)).status == LocalizationStatus.OK


def test_a_missing_map_stops_the_configuration_and_is_diagnosed(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, map="/no/such/map")
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state() == State.PRIMARY_STATE_UNCONFIGURED
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    status = diagnostics.wait(lambda all_: len(all_) > 0, "diagnostics")[-1].status[0]
    assert status.level == b"\x02"
    assert "/no/such/map" in status.message


def test_a_map_without_scale_stops_the_configuration(ros: Ros, wall: Wall, tmp_path: Path) -> None:
    write_map(replace(wall.scene.landmark_map, metric=False), tmp_path / "map")
    robot = Robot(ros, wall, map=str(tmp_path / "map"))
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    status = diagnostics.wait(lambda all_: len(all_) > 0, "diagnostics")[-1].status[0]
    assert "vloc map align" in status.message


def test_autostart_needs_no_manager(ros: Ros, wall: Wall) -> None:
    node = ros.add(LocalizerNode, autostart=True, map=str(wall.map))
    assert node.state == "active"


@pytest.mark.parametrize("timeout_s", [20.0, 1e10, float("inf")])
def test_relocalize_returns_the_result_of_the_next_image(ros: Ros, wall: Wall, timeout_s: float) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    robot.status_of(robot.send(0))
    request = Relocalize.Request(timeout_s=timeout_s)
    response = ros.call_while(Relocalize, "vloc_localizer/relocalize", request, lambda: robot.send(4))
    assert response.result.status == LocalizationStatus.OK
    assert stamp_ns_of(response.result) == robot.stamp_ns(4)
    assert response.result.inliers > 0


def test_a_matcher_is_run_for_relocalize_and_not_for_an_ordinary_image(
    ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = DescriptorNetwork()
    monkeypatch.setattr(models, "read_matching_network", lambda *_: network)
    robot = Robot(ros, wall, matching_network="model")
    robot.activate()
    noise = np.random.default_rng(5).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8)

    def send(index: int) -> int:
        return robot.send(index, image=bgr_message(robot.stamp_ns(index), "camera", noise))

    assert robot.status_of(send(0)).status != LocalizationStatus.OK
    assert network.seen == []
    request = Relocalize.Request(timeout_s=20.0)
    response = ros.call_while(Relocalize, "vloc_localizer/relocalize", request, lambda: send(4))
    assert response.result.status != LocalizationStatus.OK
    assert network.seen


def test_relocalize_without_an_image_is_no_image(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    inactive = ros.call(Relocalize, "vloc_localizer/relocalize", Relocalize.Request()).result
    assert "unconfigured" in inactive.reason
    robot.activate()
    late = ros.call(Relocalize, "vloc_localizer/relocalize", Relocalize.Request(timeout_s=0.1)).result
    assert late.status == inactive.status == LocalizationStatus.NO_IMAGE


def test_the_debug_image_is_drawn_for_a_listener(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    pictures = ros.collect(Image, "vloc_localizer/debug_image")
    robot.activate()
    ros.until(lambda: robot.node.count_subscribers("vloc_localizer/debug_image") > 0)
    robot.send(2)
    picture = pictures.wait(lambda all_: len(all_) > 0, "a debug image")[0]
    assert (picture.width, picture.height, picture.encoding) == (CAMERA.width, CAMERA.height, "bgr8")


def test_rectified_images_use_p(ros: Ros, wall: Wall) -> None:
    """K is that of another, distorted camera; it would be used without the parameter."""
    model, k, _ = CAMERA.to_ros()
    p = np.column_stack([np.array(k).reshape(3, 3), np.zeros(3)]).reshape(-1)
    raw = {"k": (np.array(k) * [2, 1, 1, 1, 2, 1, 1, 1, 1]).tolist(), "d": [0.3, -0.2, 0.0, 0.0, 0.0], "p": p.tolist()}
    size = {"width": CAMERA.width, "height": CAMERA.height, "distortion_model": model}
    robot = Robot(ros, wall, image_rectified=True)
    robot.activate()
    infos = ros.node.create_publisher(CameraInfo, "camera_info", 10)
    ros.until(lambda: infos.get_subscription_count() > 0)
    infos.publish(CameraInfo(header=header(robot.stamp_ns(0), "camera"), **size, **raw))
    status = robot.status_of(robot.send(0, info=False))
    assert status.status == LocalizationStatus.OK
    truth = wall.views[0] @ BASE_FROM_CAMERA.inverse()
    assert truth.distance_to(pose_of(status.pose.pose))[0] < 0.02
