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

import json
from pathlib import Path

import pytest
from geometry_msgs.msg import TransformStamped
from ros_session import Ros
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.bag_tools.recorder import PartFile, RecorderNode
from vloc_ros.nodes.rclpy_support.conversion import header, transform_message
from vloc_ros.storage.atomic import StorageError


def test_an_invalid_transform_is_left_out(ros_context: None, tmp_path: Path) -> None:
    ros = Ros()
    out = tmp_path / "record.jsonl"
    node = ros.add(RecorderNode, out=str(out), expected=1)
    tf = ros.node.create_publisher(TFMessage, "/tf", 10)
    statuses = ros.node.create_publisher(LocalizationStatus, "vloc_localizer/status", 10)
    ros.until(lambda: tf.get_subscription_count() * statuses.get_subscription_count() > 0)
    broken = TransformStamped(header=header(1, "map"), child_frame_id="broken")
    broken.transform.rotation.w = 0.0
    tf.publish(TFMessage(transforms=[broken, transform_message(2, "map", "odom", Pose.identity())]))
    statuses.publish(LocalizationStatus(header=header(3, "camera")))
    ros.until(node.done.done)
    assert not out.exists()
    ros.close()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(row["kind"], row["stamp_ns"]) for row in rows} == {("tf", 2), ("status", 3)}


def test_rows_are_written_at_once_and_the_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    file = PartFile(path)
    file.write("x" * 100_000)
    (part,) = tmp_path.iterdir()
    assert part.stat().st_size > 50_000
    assert part != path
    file.finish()
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size == 100_000


def test_a_file_that_cannot_be_written_is_named() -> None:
    with pytest.raises(StorageError, match="/dev/null/record"):
        PartFile(Path("/dev/null/record"))
