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

"""The frame tree of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vloc_ros.bags.messages import tf_message
from vloc_ros.bags.transforms import TransformTree, trajectory_of
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose

_S = 10**9
_BASE_FROM_MAST = Pose.from_rotation_vector([0, 0.2, 0], [0.1, 0, 1.0])
_MAST_FROM_CAMERA = Pose.from_rotation_vector([1.0, 0, 0], [0, 0, 0.1])
_BASE_FROM_LIDAR = Pose.from_rotation_vector([0, 0, 3.0], [0.5, 0, 0])


def _tree(*moving: Any) -> TransformTree:
    static = [
        tf_message(0, ("base", "mast"), _BASE_FROM_MAST),
        tf_message(0, ("/mast", "/camera"), _MAST_FROM_CAMERA),
        tf_message(0, ("base", "lidar"), _BASE_FROM_LIDAR),
    ]
    return TransformTree(moving, static)


def _odom(second: int) -> Any:
    return tf_message(second * _S, ("odom", "base"), Pose.from_rotation_vector([0, 0, 0.2 * second], [second, 0, 0]))


def test_down_up_and_across() -> None:
    tree = _tree(_odom(1), _odom(2))
    base_from_camera = _BASE_FROM_MAST @ _MAST_FROM_CAMERA
    expected = {
        ("base", "camera"): base_from_camera,
        ("camera", "base"): base_from_camera.inverse(),
        ("lidar", "camera"): _BASE_FROM_LIDAR.inverse() @ base_from_camera,
        ("camera", "camera"): Pose.identity(),
        ("odom", "mast"): Pose.from_rotation_vector([0, 0, 0.3], [1.5, 0, 0]) @ _BASE_FROM_MAST,
    }
    for (target, source), pose in expected.items():
        found = tree.lookup(target, source, 3 * _S // 2)
        assert found is not None
        assert max(found.distance_to(pose)) < 1e-12


def test_no_extrapolation() -> None:
    tree = _tree(_odom(1), _odom(2))
    assert tree.lookup("odom", "base", _S - 1) is None
    assert tree.lookup("odom", "base", 2 * _S + 1) is None
    assert tree.lookup("odom", "base", 2 * _S) is not None
    assert tree.lookup("base", "camera", 99 * _S) is not None


def test_order_and_repetition_do_not_matter() -> None:
    tree = _tree(_odom(3), _odom(1), _odom(2), _odom(2))
    found = tree.lookup("odom", "base", 2 * _S)
    assert found is not None
    np.testing.assert_allclose(found.translation, [2, 0, 0])


def test_unknown_unconnected_and_circular_frames() -> None:
    with pytest.raises(InputError, match="frame 'nose' is not in the bag's transforms; frames there: base, camera"):
        _tree().lookup("base", "nose", 0)
    with pytest.raises(InputError, match=r"^the bag has no transforms$"):
        TransformTree([], []).lookup("base", "camera", 0)
    island = tf_message(0, ("island", "palm"), Pose.identity())
    with pytest.raises(InputError, match="base and palm are not connected"):
        _tree(island).lookup("base", "palm", 0)
    circle = [tf_message(0, frames, Pose.identity()) for frames in (("a", "b"), ("b", "a"))]
    with pytest.raises(InputError, match="go in a circle"):
        TransformTree(circle, []).lookup("a", "b", 0)


def test_trajectories_from_unordered_stamps() -> None:
    poses = [Pose.from_rotation_vector([0, 0, 0], [x, 0, 0]) for x in range(3)]
    trajectory = trajectory_of([(5, poses[0]), (1, poses[1]), (5, poses[2])])
    assert trajectory.stamps_ns.tolist() == [1, 5]
    assert trajectory.poses == (poses[1], poses[2])
