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

"""Odometry of an image that is late: waited for as long as it is known to come, whoever publishes the transform."""

from __future__ import annotations

from typing import Any

import pytest

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms

IMAGE = Reference(1, "base_link", "camera")


class Odometry:
    """What TF has of it now, and what it has after a wait."""

    def __init__(self) -> None:
        self.now: Pose | None = Pose.identity()
        self.later: Pose | None = None
        self.newest: tuple[int, Pose] | None = None
        self.waits = 0

    def lookup_available(self, *_: Any) -> Pose | None:
        return self.now

    def lookup_newest(self, *_: Any) -> tuple[int, Pose] | None:
        return self.newest

    def lookup(self, *_: Any, patience_s: float | None = None, **__: Any) -> Pose:
        self.waits += patience_s != 0.0
        found = self.now if patience_s == 0.0 else self.later
        if found is None:
            raise Refused(LocalizationStatus.NO_ODOMETRY, "it does not come")
        return found


def make_transforms(odometry: Any, publish_tf: str) -> RigTransforms:
    return RigTransforms(LocalizerNodeConfig(publish_tf=publish_tf), odometry)


@pytest.mark.parametrize("publish_tf", ["none", "map_base", "map_odom"])
def test_late_odometry_is_waited_for_once_there_was_some(publish_tf: str) -> None:
    odometry = Odometry()
    transforms = make_transforms(odometry, publish_tf)
    odometry.now, odometry.later = None, Pose.identity()
    assert transforms.odometry(IMAGE) is None, "there may be none at all"
    odometry.now = Pose.identity()
    assert transforms.odometry(IMAGE) is odometry.now
    odometry.now = None
    assert [transforms.odometry(IMAGE) for _ in range(2)] == [odometry.later] * 2
    assert odometry.waits == 2


def test_odometry_that_ended_is_waited_for_once_unless_the_transform_needs_it() -> None:
    odometry = Odometry()
    free, bound = make_transforms(odometry, "none"), make_transforms(odometry, "map_odom")
    for transforms in (free, bound):
        transforms.odometry(IMAGE)
    odometry.now = None
    assert free.odometry(IMAGE) is None
    odometry.now = Pose.identity()
    free.late_odometry(IMAGE)  # after the image was localized it is there
    odometry.now = None
    assert [free.odometry(IMAGE) for _ in range(3)] == [None] * 3
    assert odometry.waits == 1
    for _ in range(2):
        with pytest.raises(Refused):
            bound.odometry(IMAGE)


def image_at(seconds: float) -> Reference:
    return Reference(int(seconds * 1e9), "base_link", "camera")


@pytest.mark.parametrize("publish_tf", ["none", "map_base", "map_odom"])
def test_odometry_that_a_search_from_above_needs_is_waited_for_from_the_first_image_on(publish_tf: str) -> None:
    odometry = Odometry()
    odometry.now, odometry.later = None, Pose.identity()
    transforms = make_transforms(odometry, publish_tf)
    assert [transforms.needed_odometry(image_at(k)) for k in (1, 2, 3)] == [odometry.later] * 3


def test_needed_odometry_that_never_comes_is_waited_for_once() -> None:
    odometry = Odometry()
    odometry.now = None
    transforms = make_transforms(odometry, "none")
    assert [transforms.needed_odometry(image_at(k)) for k in (1, 2, 3)] == [None] * 3
    assert odometry.waits == 1


@pytest.mark.parametrize(("behind_s", "waits"), [(0.05, 2), (0.15, 2), (0.3, 1), (-0.5, 1)])
def test_needed_odometry_that_was_missed_once_is_waited_for_where_it_is_late(behind_s: float, waits: int) -> None:
    """transform_timeout_s is 0.2 s: what is further behind does not come in time, and what is ahead lacks the past."""
    odometry = Odometry()
    odometry.now = None
    transforms = make_transforms(odometry, "map_base")
    assert transforms.needed_odometry(image_at(1.0)) is None
    odometry.newest, odometry.later = (int((5.0 - behind_s) * 1e9), Pose.identity()), Pose.identity()
    found = transforms.needed_odometry(image_at(5.0))
    assert odometry.waits == waits
    assert found is (odometry.later if waits == 2 else None)
