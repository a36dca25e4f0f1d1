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

"""How uncertain motions are by the covariances of nav_msgs/Odometry, for images that are taken meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vloc_ros.bags.messages import ODOMETRY
from vloc_ros.bags.reading import TF, Bag
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.bag_frames import frame_of_poses
from vloc_ros.datasets.bag_images import odometry_topic_of_path

# errors of a velocity are alike for so long
_ALIKE_S = 1.0
# drivers mark what they do not measure by variances this large, or larger
_UNMEASURED = 1e3
_PART = 0.1
_PLANAR = np.array([0, 1, 5])


def with_motion_noise(
    images: Sequence[PosedImage],
    path: Path,
    camera_frame: str,
    *,
    odom_topic: str | None = None,
    base_frame: str | None = None,
    tf_topic: str = TF,
) -> list[PosedImage]:
    """The images, with the uncertainty of the motion from the one before by the covariances of odometry.

    A covariance of the pose that grows is that of the integrated pose: its growth is the motion's. Where it does not
    grow, as with drivers that fill in a constant, that of the twist is the velocity's, whose errors are taken to be
    alike for a second. What a driver marks as not measured keeps the usual uncertainty, and so does what it leaves at
    zero, what does not grow between two images, and all where neither is filled in.

    Args:
        images: of one camera, in the order of time.
        path: of the bag.
        camera_frame: the camera's optical frame.
        odom_topic: as `read_bag_keyframes` has it; TF, whose poses it takes where there is none, has no covariance.
        base_frame: whose poses the topic's are, where the messages have no name for it; None is `base_link`.
        tf_topic: of the transforms; static ones are on `<tf_topic>_static`.

    Raises:
        InputError: there is no such topic, or TF does not connect base and camera.
    """
    with Bag(path, tf_topic=tf_topic) as bag:
        topic = odometry_topic_of_path(bag, odom_topic)
        noise = None if topic is None else _read_noise(bag, topic)
        if noise is None or topic is None:
            return list(images)
        transforms, base = bag.transforms(), frame_of_poses(bag, topic, base_frame)
        mounts = [_mount(transforms, base, camera_frame, image.stamp_ns) for image in images]
    stds = [
        None if mount is None else noise.between(before, after, mount)
        for (before, after), mount in zip(pairwise(images), mounts, strict=False)
    ]
    return [images[0], *(replace(image, motion_std=std) for image, std in zip(images[1:], stds, strict=True))]


def _mount(transforms: TransformTree, base: str, camera_frame: str, stamp_ns: int) -> Pose | None:
    """base_from_camera at a time, on which a camera may be turned; None in a gap."""
    return Pose.identity() if base == camera_frame else transforms.lookup(base, camera_frame, stamp_ns)


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    """Variances of odometry.

    Attributes:
        stamps_ns: (M,) ascending.
        variances: (M, 6) of the pose in the frame of odometry, or of the twist in that of the base, per second then.
        of_pose: whether they are of the pose.
    """

    stamps_ns: Array
    variances: Array
    of_pose: bool

    def between(self, before: PosedImage, after: PosedImage, base_from_camera: Pose) -> Array | None:
        """(6,) standard deviations of the camera's motion, along the first image's axes; NaN where not measured."""
        assert before.map_from_camera is not None
        if self.of_pose:
            start, end = (
                np.array([np.interp(one.stamp_ns, self.stamps_ns, v) for v in self.variances.T])
                for one in (before, after)
            )
            # a constant is filled in and not measured; what shrinks was started anew, or corrected
            grown = np.where((end > start) & (end < _UNMEASURED), end - start, np.nan)
            return _of_camera(grown, before.map_from_camera, base_from_camera)
        near = slice(*np.searchsorted(self.stamps_ns, [before.stamp_ns, after.stamp_ns + 1]))
        if near.start == near.stop:
            return None
        seconds = 1e-9 * (after.stamp_ns - before.stamp_ns)
        filled_in = ((self.variances[near] > 0.0) & (self.variances[near] < _UNMEASURED)).all(axis=0)
        of_velocity = np.where(filled_in, self.variances[near].mean(axis=0), np.nan)
        return _of_camera(of_velocity * seconds * min(seconds, _ALIKE_S), base_from_camera, base_from_camera)


def _of_camera(variances: Array, target_from_camera: Pose, base_from_camera: Pose) -> Array:
    """(6,) standard deviations along the camera's axes, by (6,) variances of the base along the target's; or NaN."""
    lever = -(target_from_camera.rotation @ base_from_camera.inverse().translation)
    measured = ~np.isnan(variances)
    covariance = np.diag(np.where(measured, variances, 0.0))
    carried = carry_covariance(covariance, Pose.identity(), Pose(np.eye(3), lever))
    turn = np.kron(np.eye(2), target_from_camera.rotation.T)
    # an axis of the camera with a part in one that is not measured is not measured either
    is_open = (np.abs(turn) > _PART) @ ~measured
    return np.asarray(np.where(is_open, np.nan, np.sqrt(np.diag(turn @ carried @ turn.T))))


def _read_noise(bag: Bag, topic: str) -> _Noise | None:
    """None where the messages know no covariance."""
    stamped = sorted(((stamp_ns, m) for stamp_ns, m in bag.stamped(topic, ODOMETRY)), key=lambda one: one[0])
    if not stamped:
        return None
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in stamped])
    of_pose, of_twist = (
        np.array([np.reshape(getattr(m, part).covariance, (6, 6)).diagonal() for _, m in stamped])
        for part in ("pose", "twist")
    )
    if _is_known(of_pose) and (np.diff(of_pose[:, _PLANAR].sum(axis=1)) > 0.0).mean() > 0.5:
        return _Noise(stamps_ns, of_pose, of_pose=True)
    return _Noise(stamps_ns, of_twist, of_pose=False) if _is_known(of_twist) else None


def _is_known(variances: Array) -> bool:
    """Whether they are variances, and those of a planar motion are filled in."""
    valid = np.isfinite(variances).all() and (variances >= 0.0).all()
    planar = variances[1:, _PLANAR] if len(variances) > 1 else variances[:, _PLANAR]  # at the start a pose is exact
    return bool(valid and (planar[:, [0, 2]] > 0.0).all() and (planar[:, [0, 2]] < _UNMEASURED).all())
