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

"""Frames of a bag: transforms over time, looked up along the tree as tf2 does, without extrapolation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from vloc_ros.bags.messages import pose_of, stamp_ns_of
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.trajectories import Trajectory


def trajectory_of(stamped: Iterable[tuple[int, Pose]]) -> Trajectory:
    """Stamped poses in any order as a trajectory; of equal stamps the last one counts."""
    latest = dict(stamped)
    stamps_ns = sorted(latest)
    return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(latest[stamp_ns] for stamp_ns in stamps_ns))


class TransformTree:
    """Every transform of a recording.

    Args:
        moving: TFMessages of /tf.
        static: TFMessages of /tf_static.
    """

    def __init__(self, moving: Iterable[Any], static: Iterable[Any]) -> None:
        collected: dict[str, list[tuple[int, Pose]]] = defaultdict(list)
        self._parents: dict[str, str] = {}
        self._static: dict[str, Pose] = {}
        for transform in _transforms(moving):
            self._parents[_plain(transform.child_frame_id)] = _plain(transform.header.frame_id)
            stamped = (stamp_ns_of(transform), pose_of(transform.transform))
            collected[_plain(transform.child_frame_id)].append(stamped)
        for transform in _transforms(static):
            self._parents[_plain(transform.child_frame_id)] = _plain(transform.header.frame_id)
            self._static[_plain(transform.child_frame_id)] = pose_of(transform.transform)
        self._moving = {child: trajectory_of(stamped) for child, stamped in collected.items()}

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames."""
        return tuple(sorted({*self._parents, *self._parents.values()}))

    def lookup(self, target: str, source: str, stamp_ns: int, *, largest_gap_ns: int | None = None) -> Pose | None:
        """target_from_source at a time; None before the first and after the last transform on the way.

        Args:
            target: frame.
            source: frame.
            stamp_ns: the time.
            largest_gap_ns: gives None, too, in larger gaps of a moving transform on the way, see
                `Trajectory.interpolate`; None interpolates over any gap, as tf2 does.

        Raises:
            InputError: a frame is unknown, or the two are not connected.
        """
        target_path, source_path = self._path(target), self._path(source)
        common = next((frame for frame in source_path if frame in target_path), None)
        if common is None:
            raise InputError(f"frames {target} and {source} are not connected; frames there: {', '.join(self.frames)}")
        common_from_target = self._down(target_path[: target_path.index(common)], stamp_ns, largest_gap_ns)
        common_from_source = self._down(source_path[: source_path.index(common)], stamp_ns, largest_gap_ns)
        if common_from_target is None or common_from_source is None:
            return None
        return common_from_target.inverse() @ common_from_source

    def _path(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        if not self.frames:
            raise InputError("the bag has no transforms")
        if frame not in self.frames:
            raise InputError(f"frame {frame!r} is not in the bag's transforms; frames there: {', '.join(self.frames)}")
        path = [frame]
        while path[-1] in self._parents:
            path.append(self._parents[path[-1]])
            if path[-1] in path[:-1]:
                raise InputError(f"the bag's transforms go in a circle: {' -> '.join(path)}")
        return path

    def _down(self, children: list[str], stamp_ns: int, largest_gap_ns: int | None) -> Pose | None:
        ancestor_from_frame = Pose.identity()
        for child in children:
            parent_from_child = self._static.get(child)
            if parent_from_child is None:
                parent_from_child = self._moving[child].interpolate(stamp_ns, largest_gap_ns=largest_gap_ns)
            if parent_from_child is None:
                return None
            ancestor_from_frame = parent_from_child @ ancestor_from_frame
        return ancestor_from_frame


def _transforms(tf_messages: Iterable[Any]) -> Iterable[Any]:
    return (transform for message in tf_messages for transform in message.transforms)


def _plain(frame: str) -> str:
    """Without the leading slash that older drivers write."""
    return frame.lstrip("/")
