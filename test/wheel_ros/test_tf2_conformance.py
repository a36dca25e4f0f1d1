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

"""The part of tf2_ros that the nodes need, tested with the installed one: the real one or the stand-in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="no ROS 2: rclpy cannot be imported")

import tf2_ros  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.time import Time  # noqa: E402
from tf2_msgs.srv import FrameGraph  # noqa: E402

SECOND_NS = 1_000_000_000
NOW = Time()


@pytest.fixture(autouse=True, scope="module")
def which(request: pytest.FixtureRequest) -> None:
    """Print which tf2_ros was tested."""
    name = "the stand-in of tools/wheel_ros" if hasattr(tf2_ros, "IS_STAND_IN") else "a real one"
    request.config.get_terminal_writer().write(f"\ntf2_ros: {name}, {tf2_ros.__file__}\n")


@pytest.fixture
def nodes(ros_context: None) -> Iterator[tuple[Node, Node]]:
    """A node that sends and one that listens."""
    sender, listener = rclpy.create_node("sender"), rclpy.create_node("listener")
    yield sender, listener
    sender.destroy_node()
    listener.destroy_node()


def transform(parent: str, child: str, *, at_s: float = 0.0, x: float = 0.0, yaw: float = 0.0) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=round(at_s * SECOND_NS)).to_msg()
    message.transform.translation.x = x
    message.transform.rotation.z, message.transform.rotation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def fill_buffer(*moving: TransformStamped, static: tuple[TransformStamped, ...] = ()) -> tf2_ros.Buffer:
    buffer = tf2_ros.Buffer()
    for message in moving:
        buffer.set_transform(message, "test")
    for message in static:
        buffer.set_transform_static(message, "test")
    return buffer


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * SECOND_NS))


def xyz(message: TransformStamped) -> tuple[float, float, float]:
    return message.transform.translation.x, message.transform.translation.y, message.transform.translation.z


def yaw_of(message: TransformStamped) -> float:
    rotation = message.transform.rotation
    return math.atan2(2 * (rotation.w * rotation.z + rotation.x * rotation.y), 1 - 2 * (rotation.y**2 + rotation.z**2))


def test_a_lookup_gives_the_source_frames_place_in_the_target_frame() -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=5, x=2.0, yaw=0.5))
    found = buffer.lookup_transform("odom", "base", at(5))
    assert (found.header.frame_id, found.child_frame_id) == ("odom", "base")
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (5, 0)
    assert xyz(found) == pytest.approx((2, 0, 0))
    assert yaw_of(found) == pytest.approx(0.5)


def test_the_other_way_round_is_the_inverse() -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=5, x=2.0, yaw=math.pi / 2))
    found = buffer.lookup_transform("base", "odom", at(5))
    assert xyz(found) == pytest.approx((0, 2, 0))
    assert yaw_of(found) == pytest.approx(-math.pi / 2)


def test_translation_is_interpolated_in_a_line_and_rotation_at_constant_speed() -> None:
    buffer = fill_buffer(
        transform("odom", "base", at_s=1, x=1.0, yaw=0.0), transform("odom", "base", at_s=2, x=3.0, yaw=1.2)
    )
    found = buffer.lookup_transform("odom", "base", at(1.25))
    assert xyz(found) == pytest.approx((1.5, 0, 0))
    assert yaw_of(found) == pytest.approx(0.3)


def test_rotation_takes_the_shorter_way_whatever_the_quaternions_sign() -> None:
    newer = transform("odom", "base", at_s=2, yaw=0.4)
    newer.transform.rotation.z *= -1
    newer.transform.rotation.w *= -1
    buffer = fill_buffer(transform("odom", "base", at_s=1, yaw=0.2), newer)
    assert yaw_of(buffer.lookup_transform("odom", "base", at(1.5))) == pytest.approx(0.3)


def test_a_chain_goes_through_the_common_ancestor() -> None:
    buffer = fill_buffer(
        transform("odom", "base", at_s=1, x=1.0, yaw=math.pi / 2),
        static=(transform("base", "camera", x=0.5), transform("base", "lidar", x=-0.5, yaw=math.pi)),
    )
    assert xyz(buffer.lookup_transform("odom", "camera", at(1))) == pytest.approx((1, 0.5, 0))
    between = buffer.lookup_transform("lidar", "camera", at(1))
    assert xyz(between) == pytest.approx((-1, 0, 0), abs=1e-12)
    assert abs(yaw_of(between)) == pytest.approx(math.pi)


def test_samples_may_arrive_out_of_order() -> None:
    buffer = fill_buffer(*(transform("odom", "base", at_s=s, x=s) for s in (3, 1, 2)))
    assert xyz(buffer.lookup_transform("odom", "base", at(1.5))) == pytest.approx((1.5, 0, 0))


def test_time_zero_is_the_latest_time_the_whole_chain_is_known() -> None:
    buffer = fill_buffer(
        *(transform("map", "odom", at_s=s, x=10 * s) for s in (1, 2)),
        *(transform("odom", "base", at_s=s, x=s) for s in (1, 2, 3)),
        static=(transform("base", "camera"),),
    )
    found = buffer.lookup_transform("map", "camera", NOW)
    assert found.header.stamp.sec == 2
    assert xyz(found) == pytest.approx((22, 0, 0))


def test_a_static_transform_holds_at_every_time_and_has_none_of_its_own() -> None:
    buffer = fill_buffer(static=(transform("base", "camera", at_s=7, x=0.5),))
    assert xyz(buffer.lookup_transform("base", "camera", at(123.0))) == pytest.approx((0.5, 0, 0))
    assert buffer.lookup_transform("base", "camera", NOW).header.stamp.sec == 0


def test_a_frame_in_itself_is_the_identity_even_if_unknown() -> None:
    found = tf2_ros.Buffer().lookup_transform("base", "base", at(4))
    assert xyz(found) == (0, 0, 0)
    assert found.transform.rotation.w == 1
    assert found.header.stamp.sec == 4


@pytest.mark.parametrize(("target", "source"), [("odom", "nowhere"), ("nowhere", "base")])
def test_an_unknown_frame_is_a_lookup_error_that_names_it(target: str, source: str) -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=1))
    with pytest.raises(tf2_ros.LookupException, match="nowhere"):
        buffer.lookup_transform(target, source, at(1))
    assert not buffer.can_transform(target, source, at(1))


def test_two_trees_are_a_connectivity_error_at_a_time_and_at_the_latest() -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=1), transform("earth", "moon", at_s=1))
    for time in (at(1), NOW):
        with pytest.raises(tf2_ros.ConnectivityException):
            buffer.lookup_transform("moon", "base", time)


@pytest.mark.parametrize(("time_s", "word"), [(0.5, "past"), (3.5, "future")])
def test_outside_the_known_times_is_an_extrapolation_error(time_s: float, word: str) -> None:
    buffer = fill_buffer(*(transform("odom", "base", at_s=s) for s in (1, 2, 3)), static=(transform("base", "camera"),))
    for target, source in (("odom", "camera"), ("camera", "odom")):
        with pytest.raises(tf2_ros.ExtrapolationException, match=word):
            buffer.lookup_transform(target, source, at(time_s))
    assert not buffer.can_transform("odom", "camera", at(time_s))


def test_a_single_sample_is_good_for_its_own_time_only() -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=1))
    assert buffer.can_transform("odom", "base", at(1))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(1.1))


def test_an_ancestor_above_the_common_one_need_not_be_known_at_that_time() -> None:
    buffer = fill_buffer(
        *(transform("map", "odom", at_s=s) for s in (1, 2)), *(transform("odom", "base", at_s=s, x=s) for s in (5, 6))
    )
    assert xyz(buffer.lookup_transform("odom", "base", at(5.5))) == pytest.approx((5.5, 0, 0))


def test_only_the_last_ten_seconds_are_kept() -> None:
    buffer = fill_buffer(*(transform("odom", "base", at_s=s, x=s) for s in (1, 5, 12, 14)))
    assert xyz(buffer.lookup_transform("odom", "base", at(6))) == pytest.approx((6, 0, 0))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(2))
    buffer.set_transform(transform("odom", "base", at_s=3.0), "test")
    assert not buffer.can_transform("odom", "base", at(3.5)), "older than the cache time: to be dropped"


def test_the_cache_time_can_be_chosen() -> None:
    buffer = tf2_ros.Buffer(Duration(seconds=2))
    for seconds in (1, 2, 6, 7):  # the last one drops what was too old by then
        buffer.set_transform(transform("odom", "base", at_s=seconds), "test")
    assert not buffer.can_transform("odom", "base", at(1.5))


def test_a_new_parent_takes_the_frame_over() -> None:
    buffer = fill_buffer(transform("left", "tool", at_s=1, x=1.0), transform("right", "tool", at_s=2, x=2.0))
    assert xyz(buffer.lookup_transform("right", "tool", NOW)) == pytest.approx((2, 0, 0))
    assert xyz(buffer.lookup_transform("left", "tool", at(1.5))) == pytest.approx((1, 0, 0)), "no interpolation"


def test_a_loop_is_a_lookup_error() -> None:
    buffer = fill_buffer(*(transform(a, b, at_s=1) for a, b in ("ab", "bc", "ca")), transform("other", "d", at_s=1))
    for time in (at(1), NOW):
        with pytest.raises(tf2_ros.LookupException, match="loop"):
            buffer.lookup_transform("d", "a", time)


@pytest.mark.parametrize("name", ["", "/odom"])
def test_an_invalid_frame_name_is_an_argument_error(name: str) -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=1))
    with pytest.raises(tf2_ros.InvalidArgumentException):
        buffer.lookup_transform(name, "base", at(1))


def test_every_error_is_a_transform_exception() -> None:
    for error in (
        tf2_ros.LookupException,
        tf2_ros.ConnectivityException,
        tf2_ros.ExtrapolationException,
        tf2_ros.InvalidArgumentException,
    ):
        assert issubclass(error, tf2_ros.TransformException)


def test_invalid_transforms_are_ignored() -> None:
    broken = [transform("odom", "base", at_s=1) for _ in range(2)]
    broken[0].transform.translation.y = math.nan
    broken[1].transform.rotation.w = 0.0
    nameless = transform("odom", "", at_s=1), transform("", "base", at_s=1), transform("base", "base", at_s=1)
    buffer = fill_buffer(*broken, *nameless)
    with pytest.raises(tf2_ros.LookupException):
        buffer.lookup_transform("odom", "base", at(1))


def test_a_quaternion_of_another_length_is_normalised() -> None:
    message = transform("odom", "base", at_s=1, yaw=0.5)
    message.transform.rotation.z *= 2.0
    message.transform.rotation.w *= 2.0
    found = fill_buffer(message).lookup_transform("odom", "base", at(1))
    assert yaw_of(found) == pytest.approx(0.5)
    assert found.transform.rotation.w == pytest.approx(math.cos(0.25))


def test_a_leading_slash_is_dropped_on_the_way_in() -> None:
    buffer = fill_buffer(transform("/odom", "/base", at_s=1, x=1.0))
    assert xyz(buffer.lookup_transform("odom", "base", at(1))) == pytest.approx((1, 0, 0))


def test_clearing_keeps_only_static_transforms() -> None:
    buffer = fill_buffer(transform("odom", "base", at_s=1), static=(transform("base", "camera", x=0.5),))
    buffer.clear()
    assert not buffer.can_transform("odom", "base", at(1))
    assert buffer.can_transform("base", "camera", at(1))


def test_random_trees_agree_with_matrix_products() -> None:
    random = np.random.default_rng(3)
    buffer, world_from = tf2_ros.Buffer(), {"f0": np.eye(4)}
    for index in range(1, 12):
        parent = f"f{random.integers(index)}"
        message = transform(parent, f"f{index}", at_s=1)
        quaternion = random.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        shift = random.normal(size=3)
        translation, rotation = message.transform.translation, message.transform.rotation
        translation.x, translation.y, translation.z = map(float, shift)
        rotation.x, rotation.y, rotation.z, rotation.w = map(float, quaternion)
        buffer.set_transform(message, "test")
        world_from[f"f{index}"] = world_from[parent] @ matrix(message)
    for target in world_from:
        for source in world_from:
            expected = np.linalg.inv(world_from[target]) @ world_from[source]
            np.testing.assert_allclose(matrix(buffer.lookup_transform(target, source, at(1))), expected, atol=1e-12)


def matrix(message: TransformStamped) -> np.ndarray:
    rotation = message.transform.rotation
    x, y, z, w = rotation.x, rotation.y, rotation.z, rotation.w
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = xyz(message)
    return result


def test_broadcast_transforms_reach_a_waiting_lookup(nodes: tuple[Node, Node]) -> None:
    sender, receiver = nodes
    buffer = tf2_ros.Buffer(node=receiver)
    listener = tf2_ros.TransformListener(buffer, receiver, spin_thread=True)
    statics = tf2_ros.StaticTransformBroadcaster(sender)
    statics.sendTransform(transform("base", "camera", x=0.5))
    statics.sendTransform([transform("base", "lidar", x=-0.5)])
    moving = tf2_ros.TransformBroadcaster(sender)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(buffer.lookup_transform, "odom", "lidar", at(1), Duration(seconds=20))
        while not found.done():
            moving.sendTransform(transform("odom", "base", at_s=1, x=1.0))
            wait([found], timeout=0.05)
    assert xyz(found.result()) == pytest.approx((0.5, 0, 0))
    assert listener.buffer is buffer
    listener.executor.shutdown()
    listener.dedicated_listener_thread.join()


def test_late_listeners_get_all_static_transforms(nodes: tuple[Node, Node]) -> None:
    sender, receiver = nodes
    statics = tf2_ros.StaticTransformBroadcaster(sender)
    for child in ("camera", "lidar"):
        statics.sendTransform(transform("base", child))
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, receiver)
    for _ in range(500):
        if buffer.can_transform("camera", "lidar", NOW):
            break
        rclpy.spin_once(receiver, timeout_sec=0.05)
    assert buffer.can_transform("camera", "lidar", NOW)
    listener.unregister()


def test_a_buffer_of_a_node_describes_its_frames(nodes: tuple[Node, Node]) -> None:
    buffer = tf2_ros.Buffer(node=nodes[0])
    buffer.set_transform_static(transform("base", "camera"), "test")
    for seconds in (1, 2):
        buffer.set_transform(transform("odom", "base", at_s=seconds), "test")
    client = nodes[1].create_client(FrameGraph, "tf2_frames")
    assert client.wait_for_service(timeout_sec=20)
    response = client.call_async(FrameGraph.Request())
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    executor.spin_until_future_complete(response, timeout_sec=20)
    executor.shutdown()
    frames = yaml.safe_load(response.result().frame_yaml)
    assert {child: frame["parent"] for child, frame in frames.items()} == {"base": "odom", "camera": "base"}
    assert (frames["base"]["oldest_transform"], frames["base"]["most_recent_transform"]) == (1.0, 2.0)


def test_a_jump_back_in_time_clears_the_buffer(nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    node.set_parameters([rclpy.parameter.Parameter("use_sim_time", value=True)])
    clock = node.get_clock()
    clock.set_ros_time_override(at(100))
    buffer = tf2_ros.Buffer(node=node)
    buffer.set_transform(transform("odom", "base", at_s=100), "test")
    clock.set_ros_time_override(at(101))
    assert buffer.can_transform("odom", "base", at(100))
    clock.set_ros_time_override(at(5))
    assert not buffer.can_transform("odom", "base", at(100))
