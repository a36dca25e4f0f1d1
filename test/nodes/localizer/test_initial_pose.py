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

from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from nodes_world import BASE_FROM_CAMERA, Wall
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.covariance import carry_covariance, raise_variances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import Query
from vloc_ros.nodes.localizer.initial_pose import InitialPose
from vloc_ros.nodes.rclpy_support.conversion import pose_with_covariance_stamped

COVARIANCE = np.diag([0.25, 0.25, 0.0, 0.0, 0.0, 0.07])  # as RViz sends it
S = 1_000_000_000


def at_x(x: float) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, 0.0], [x, 0.0, 0.0])


def message(pose: Pose | None = None, *, frame: str = "map", covariance: Array = COVARIANCE, stamp_ns: int = 0) -> Any:
    return pose_with_covariance_stamped(stamp_ns, frame, pose or Pose.identity(), covariance)


def test_it_is_the_prior_until_an_image_is_localized_or_it_is_too_old() -> None:
    initial = InitialPose(max_age_s=30.0)
    assert initial.prior(0) is None
    initial.set_pose(message(), map_frames=["map"], now_ns=100 * S)
    prior = initial.prior(129 * S)
    assert prior is not None
    assert initial.prior(130 * S) is None
    initial.consume(None)  # an image that was localized without it
    assert initial.prior(101 * S) is prior
    initial.consume(prior)
    assert initial.prior(101 * S) is None
    initial.set_pose(message(), map_frames=["map"], now_ns=100 * S)
    initial.clear()
    assert initial.prior(101 * S) is None


@pytest.mark.parametrize(
    ("changes", "map_frames", "expected"),
    [
        ({"frame": "odom"}, ["map"], "frame 'odom'"),
        ({}, [], "none is loaded"),
        ({"covariance": np.full((6, 6), np.nan)}, ["map"], "not finite"),
        ({"covariance": -np.eye(6)}, ["map"], "negative"),
    ],
)
def test_an_invalid_initial_pose_is_refused(changes: dict[str, Any], map_frames: list[str], expected: str) -> None:
    initial = InitialPose(max_age_s=30.0)
    with pytest.raises(InputError, match=expected):
        initial.set_pose(message(**changes), map_frames=map_frames, now_ns=0)
    assert initial.prior(0) is None


@pytest.mark.parametrize(("stamp_ns", "given_s"), [(98 * S, 98), (0, 100), (60 * S, 100), (101 * S, 100)])
def test_odometry_carries_it_on_from_its_stamp_or_its_arrival(stamp_ns: int, given_s: int) -> None:
    """The robot drives a metre a second along x; the buffer of odometry begins after the pose, and forgets it."""
    initial, config = InitialPose(max_age_s=30.0), FixFilterConfig()
    initial.set_pose(message(at_x(5.0), stamp_ns=stamp_ns), map_frames=["map"], now_ns=100 * S)
    prior = initial.prior(101 * S)
    assert prior is not None
    known: dict[int, Pose] = {}

    def carry(now_s: int, odometry: Pose | None) -> Any:
        return initial.carry(prior, config, odom_from_base=odometry, stamp_ns=now_s * S, odometry_at=known.get)

    known[given_s * S] = at_x(float(given_s))
    assert carry(102, None) is prior
    assert carry(104, at_x(104.0)).map_from_rig.translation[0] == pytest.approx(5.0 + 104 - given_s)
    known.clear()
    for now_s in range(105, 121):
        moved = carry(now_s, at_x(float(now_s)))
    assert moved.map_from_rig.translation[0] == pytest.approx(5.0 + 120 - given_s)
    assert (np.diag(moved.covariance)[:2] > np.diag(prior.covariance)[:2] + 0.01).all(), "odometry drifts"
    moved = carry(121, at_x(0.0))
    assert moved.map_from_rig.translation[0] == pytest.approx(5.0 + 120 - given_s), "odometry was reset"


def test_it_grows_where_odometry_at_its_stamp_is_forgotten() -> None:
    initial = InitialPose(max_age_s=30.0)
    initial.set_pose(message(at_x(5.0), stamp_ns=80 * S), map_frames=["map"], now_ns=100 * S)
    prior = initial.prior(101 * S)
    assert prior is not None
    moved = initial.carry(
        prior, FixFilterConfig(), odom_from_base=at_x(100.0), stamp_ns=100 * S, odometry_at=lambda _: None
    )
    assert moved.map_from_rig.translation[0] == 5.0
    assert np.sqrt(moved.covariance[0, 0]) > 5.0, "it may have moved for 20 s"


def test_a_covariance_of_zero_is_not_taken_literally() -> None:
    initial = InitialPose(max_age_s=30.0)
    initial.set_pose(message(covariance=np.zeros((6, 6))), map_frames=["map"], now_ns=0)
    prior = initial.prior(0)
    assert prior is not None
    np.testing.assert_allclose(np.sqrt(np.diag(prior.covariance)), [0.1] * 3 + [0.05] * 3)


def test_it_is_the_prior_of_the_next_image(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    queries: list[Query] = []
    localizer = robot.node._loaded.localizer
    localize = localizer.localize
    localizer.localize = lambda query, **options: (queries.append(query), localize(query, **options))[1]
    map_from_base = wall.views[2] @ BASE_FROM_CAMERA.inverse()
    publisher = ros.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
    ros.until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(message(map_from_base))
    ros.until(lambda: robot.node._initial_pose.prior(0) is not None)
    first, second = (robot.status_of(robot.send(index)) for index in (2, 3))
    assert first.status == second.status == LocalizationStatus.OK
    assert (first.candidate, queries[1].prior) == ("prior", None)
    prior = queries[0].prior
    assert prior is not None
    assert max(prior.map_from_rig.distance_to(wall.views[2])) < 1e-9
    expected = carry_covariance(raise_variances(COVARIANCE, 0.1, 0.05), map_from_base, BASE_FROM_CAMERA)
    np.testing.assert_allclose(prior.covariance, expected, atol=1e-12)
