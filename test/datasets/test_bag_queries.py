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

"""A bag as queries: images without ground truth, frames of other names, and what is held in memory."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plane_scene import CAMERA, SceneFolder
from recorded_order import OrderedWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vloc_ros.bags.names import Topics
from vloc_ros.bags.reading import Bag, BagMessage
from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.bag_images import read_bag_keyframes
from vloc_ros.datasets.bag_queries import BagQueries, TruthFile, TruthTopic, read_bag_queries

BASE_FROM_CAMERA = Pose.from_rotation_vector([0.1, -1.2, 0.7], [0.2, 0.1, 0.5])
STEP_NS = 100_000_000


@pytest.fixture(scope="module")
def bag(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, the first of them a nanosecond before the first truth, as recordings begin."""
    folder = tmp_path_factory.mktemp("source") / "bag"
    with BagWriter(folder, camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        for index, map_from_camera in enumerate(scene_folder.truth):
            stamp_ns = index * STEP_NS
            writer.write_image(stamp_ns, scene_folder.scene.image(map_from_camera))
            map_from_base = map_from_camera @ BASE_FROM_CAMERA.inverse()
            writer.write_odometry(stamp_ns + (index == 0), map_from_base)
            writer.write_truth(stamp_ns + (index == 0), map_from_base)
    return folder


def source_of(bag: Path, **options: Any) -> BagQueries:
    return read_bag_queries(bag, ground_truth=TruthTopic("/truth"), **options)


def test_an_image_without_a_true_pose_is_left_out_and_counted(
    bag: Path, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(bag)
    assert source.stamps_ns == [k * STEP_NS for k in range(1, 6)]
    assert (source.left_out, len(source.queries), len(source.base_from_camera)) == (1, 5, 5)
    assert source.truth is not None
    for map_from_base, map_from_camera in zip(source.truth, scene_folder.truth[1:], strict=True):
        assert max((map_from_base @ BASE_FROM_CAMERA).distance_to(map_from_camera)) < 1e-8
    words = ["evaluate", "--map", scene_folder.map, "--bag", bag, "--truth-topic", "/truth"]
    assert main([str(word) for word in [*words, "--json", tmp_path / "s.json"]]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["queries"], scores["left_out"], scores["false_accepts"]) == (5, 1, 0)
    assert "left out" in capsys.readouterr().out


def test_truth_is_not_interpolated_over_gaps(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """Neither that of a topic nor the camera's place on a base that moves it; images in gaps are left out."""
    truth = [pose @ BASE_FROM_CAMERA.inverse() for pose in scene_folder.truth]
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        for index, map_from_base in enumerate(truth):
            writer.write_image(index * STEP_NS + 1, scene_folder.scene.image(scene_folder.truth[index]))
            if index not in (2, 3):
                writer.write_truth(index * STEP_NS, map_from_base)
                writer.write_odometry(index * STEP_NS, map_from_base)
    source = source_of(tmp_path / "bag")
    assert [stamp_ns // STEP_NS for stamp_ns in source.stamps_ns] == [0, 4]
    assert source.left_out == 4
    assert len(source_of(tmp_path / "bag", largest_gap_ns=3 * STEP_NS).stamps_ns) == 5
    by_camera = read_bag_queries(tmp_path / "bag", ground_truth=None, base_frame="odom")
    assert [stamp_ns // STEP_NS for stamp_ns in by_camera.stamps_ns] == [0, 4]


def test_an_image_with_the_stamp_of_another_time_is_left_out(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """It would be compared with the true pose of that time."""
    stamps_ns = [STEP_NS, 4 * STEP_NS + 1, 3 * STEP_NS, 4 * STEP_NS, 5 * STEP_NS, 6 * STEP_NS]
    with OrderedWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        for index, (stamp_ns, pose) in enumerate(zip(stamps_ns, scene_folder.truth, strict=True)):
            writer.write_image(stamp_ns, scene_folder.scene.image(pose))
            writer.write_truth((index + 1) * STEP_NS, pose @ BASE_FROM_CAMERA.inverse())
    source = source_of(tmp_path / "bag")
    assert source.stamps_ns == [stamp_ns for stamp_ns in stamps_ns if not stamp_ns % STEP_NS]
    assert source.left_out == 1


def test_no_true_pose_at_all_is_an_error(bag: Path) -> None:
    with pytest.raises(InputError, match="/truth has no pose at the time of any of 1 images"):
        source_of(bag, limit=1)


def test_frames_are_named_and_never_guessed(bag: Path) -> None:
    with pytest.raises(InputError, match=r"no extrinsics of .* on 'base_footprint' .*; .* name the base with --base-f"):
        source_of(bag, base_frame="base_footprint")
    with pytest.raises(InputError, match="no frame 'odometry'; name the odometry's with --odom-frame"):
        source_of(bag, odom_frame="odometry")
    assert source_of(bag, odom_frame="", requires_odometry=True).odom_frame == ""
    assert source_of(bag, requires_odometry=True).odom_frame == "odom"
    of_camera = source_of(bag, base_frame="camera_optical_frame")
    assert max(of_camera.base_from_camera[0].distance_to(Pose.identity())) == 0


@pytest.fixture(scope="module")
def bag_without_tf(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transforms of a robot with a namespace, and true poses of its base."""
    folder, topics = tmp_path_factory.mktemp("robot") / "bag", Topics(tf="/robot1/tf", tf_static="/robot1/tf_static")
    with BagWriter(folder, camera=CAMERA, base_from_camera=BASE_FROM_CAMERA, topics=topics) as writer:
        for index, map_from_camera in enumerate(scene_folder.truth, start=1):
            writer.write_image(index * STEP_NS, scene_folder.scene.image(map_from_camera))
            writer.write_truth(index * STEP_NS, map_from_camera @ BASE_FROM_CAMERA.inverse())
    return folder


def test_a_base_without_extrinsics_is_not_the_camera(bag_without_tf: Path) -> None:
    """Poses of a topic are those of the base: nothing says where the camera is on it."""
    for given in ({}, {"base_frame": "base_link"}, {"base_frame": "gripper"}):
        with pytest.raises(InputError, match=r"no extrinsics of .* no transforms; but it has /robot1/tf_static"):
            source_of(bag_without_tf, **given)
    with pytest.raises(InputError, match=r"no extrinsics of .* on 'base_link'"):
        read_bag_queries(bag_without_tf, ground_truth=None, base_frame="base_link")


def test_transforms_of_a_namespace_are_named(bag_without_tf: Path, scene_folder: SceneFolder) -> None:
    source = source_of(bag_without_tf, tf_topic="/robot1/tf")
    assert (source.base_frame, source.truth is not None) == ("base_link", True)
    found = source.map_from_camera()
    assert found is not None
    assert max(max(a.distance_to(b)) for a, b in zip(found, scene_folder.truth, strict=True)) < 1e-8
    with pytest.raises(InputError, match=r"has no transforms on /robot2/tf; on others: /robot1/tf_static"):
        source_of(bag_without_tf, tf_topic="/robot2/tf")


def test_calibration_by_another_topic_or_a_file(scene_folder: SceneFolder, tmp_path: Path) -> None:
    topics = Topics(camera_info="/calibration/info")
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=BASE_FROM_CAMERA, topics=topics) as writer:
        writer.write_image(STEP_NS, scene_folder.scene.image(scene_folder.truth[0]))
    with pytest.raises(
        InputError, match=r"no topic /camera/camera_info .* camera_info: /calibration/info; name .*--cam"
    ):
        read_bag_queries(tmp_path / "bag", ground_truth=None)
    named = read_bag_queries(tmp_path / "bag", ground_truth=None, camera_info_topic="/calibration/info")
    other = replace(CAMERA, parameters=(300.0, 300.0, 160.0, 120.0))
    given = read_bag_queries(tmp_path / "bag", ground_truth=None, camera=other)
    assert [one.queries[0].read().views[0].camera for one in (named, given)] == [CAMERA, other]


def test_video_is_named_where_images_are_missed(tmp_path: Path) -> None:
    kind, store = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("std_msgs/Header header\nuint8[] data", kind))
    with Writer(tmp_path / "bag", version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/camera/ffmpeg", kind, typestore=store)
    with pytest.raises(InputError, match=r"images: none; video on /camera/ffmpeg \(ffmpeg.*republish it as compressed"):
        read_bag_queries(tmp_path / "bag", ground_truth=None)


def test_without_tf_the_camera_itself_is_localized(bag_without_tf: Path, scene_folder: SceneFolder) -> None:
    """By the poses of a file, which are those of the camera; by those of a topic only when it is said so."""
    by_file = read_bag_queries(bag_without_tf, ground_truth=TruthFile(scene_folder.poses))
    assert by_file.base_frame == "camera_optical_frame"
    assert by_file.paired_by_row, "its times are 0 to 5 s"
    assert by_file.truth is not None
    assert max(max(a.distance_to(b)) for a, b in zip(by_file.truth, scene_folder.truth, strict=True)) < 1e-8
    assert source_of(bag_without_tf, base_frame="camera_optical_frame").base_frame == "camera_optical_frame"


def test_a_topic_names_whose_poses_it_holds(bag: Path) -> None:
    named = read_bag_queries(bag, ground_truth=TruthTopic("/odom"))
    assert named.base_frame == "base_link"
    with pytest.raises(InputError, match="/odom holds poses of 'base_link', --base-frame is 'camera_optical_frame'"):
        read_bag_queries(bag, ground_truth=TruthTopic("/odom"), base_frame="camera_optical_frame")


def test_images_that_were_not_stamped_are_refused(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """They are all of time 0, where the truth of one of them is taken for that of all."""
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=BASE_FROM_CAMERA) as writer:
        for map_from_camera in scene_folder.truth:
            writer.write_odometry(0, map_from_camera @ BASE_FROM_CAMERA.inverse())
            writer.write_truth(0, map_from_camera @ BASE_FROM_CAMERA.inverse())
            writer.write_image(0, scene_folder.scene.image(map_from_camera))
    for read in (source_of, read_bag_keyframes):
        with pytest.raises(InputError, match="images on /camera/image have the stamp 0, expected the time"):
            read(tmp_path / "bag")


def test_images_stay_in_the_bag_until_they_are_read(bag: Path) -> None:
    source = source_of(bag)
    gc.collect()
    assert not [held for held in gc.get_objects() if isinstance(held, BagMessage)]
    with Bag(bag) as opened:
        recorded = dict(opened.images(source.image_topic))
    for queried, stamp_ns in reversed(list(zip(source.queries, source.stamps_ns, strict=True))):
        query = queried.read()
        assert query.stamp_ns == stamp_ns
        assert (query.views[0].image == recorded[stamp_ns]).all()


def test_a_limit_reads_no_further(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decoded = BagMessage.decoded

    def counted(message: BagMessage) -> Any:
        read.extend([message.recorded_ns] * (message.topic == "/camera/image"))
        return decoded(message)

    monkeypatch.setattr(BagMessage, "decoded", counted)
    assert len(source_of(bag, limit=2).stamps_ns) == 1
    assert sorted(set(read)) == [0, STEP_NS]


def test_a_bag_is_read_once_with_poses_of_a_file(
    bag: Path, scene_folder: SceneFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all images, since rows may be of each; only the first are taken."""
    read: list[int] = []
    decoded = BagMessage.decoded

    def counted(message: BagMessage) -> Any:
        read.extend([message.recorded_ns] * (message.topic == "/camera/image"))
        return decoded(message)

    monkeypatch.setattr(BagMessage, "decoded", counted)
    source = read_bag_queries(bag, ground_truth=TruthFile(scene_folder.poses), limit=2)
    assert len(source.stamps_ns) + source.left_out == 2
    first_of_all = [0]  # once more, for the frame of the camera
    assert sorted(read) == first_of_all + [index * STEP_NS for index in range(6)]
