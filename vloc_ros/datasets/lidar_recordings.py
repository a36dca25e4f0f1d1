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

"""Recordings of a LiDAR, and bags with PointCloud2 as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vloc_ros.bags.messages import POINT_CLOUD, stamp_ns_of
from vloc_ros.bags.point_clouds import point_cloud_of
from vloc_ros.bags.reading import Bag
from vloc_ros.bags.transforms import TransformTree
from vloc_ros.core.clouds.point_cloud import PointCloud, deskew
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedScan, QuerySource
from vloc_ros.datasets.bag_frames import child_frame, choose_base_frame, frame_of_poses
from vloc_ros.storage.trajectories import LARGEST_GAP_NS, Trajectory, format_stamp, read_tum

ODOM = "odom"


@dataclass(frozen=True, slots=True, eq=False)
class LidarRecording:
    """Scans in the order of time.

    Attributes:
        scans: with their poses where they are known.
        frame_id: of the sensor, in which the points are; empty where it has no name.
        left_out: scans without a pose, where poses were given.
        camera_from_lidar: of the recording's camera, optical frame; None where it is not known.
        base_from_sensor: where the sensor sits on the base, whose z axis points up; the identity where it is the base.
    """

    scans: list[PosedScan]
    frame_id: str = ""
    left_out: int = 0
    camera_from_lidar: Pose | None = None
    base_from_sensor: Pose = field(default_factory=Pose.identity)

    def queries(self) -> list[QuerySource]:
        """The scans as queries without a camera; the pose that is found is that of the base."""

        def read(scan: PosedScan) -> Query:
            cloud = replace(scan.load(), rig_from_sensor=self.base_from_sensor)
            return Query((), stamp_ns=scan.stamp_ns, cloud=cloud)

        return [QuerySource(scan.name, partial(read, scan), scan.stamp_ns) for scan in self.scans]

    def map_from_base(self) -> list[Pose]:
        """The true pose of the base of every scan.

        Raises:
            InputError: a scan has none.
        """
        sensor_from_base = self.base_from_sensor.inverse()
        poses = [scan.map_from_sensor for scan in self.scans]
        if missing := sum(pose is None for pose in poses):
            raise InputError(f"{missing} of {len(poses)} scans have no pose, expected true ones; give their --poses")
        return [pose @ sensor_from_base for pose in poses if pose is not None]


@dataclass(frozen=True, slots=True)
class PoseTopic:
    """Poses on a topic of a bag, of its base in the map."""

    name: str


def choose_cloud_topic(bag: Bag, wanted: str | None) -> str:
    """The wanted topic, or the only one with point clouds.

    Raises:
        InputError: there is none, or several.
    """
    there = [topic.name for topic in bag.topics if topic.msgtype == POINT_CLOUD and topic.count]
    if wanted is None and len(there) != 1:
        found = ", ".join(there) or "none"
        raise InputError(f"{bag.path}: has point clouds on {found}, expected one topic; name it with --cloud-topic")
    return wanted or there[0]


def read_lidar_bag(
    path: Path,
    *,
    topic: str | None = None,
    poses: Path | PoseTopic | None = None,
    base_frame: str | None = None,
    compensated: bool = False,
) -> LidarRecording:
    """The scans of a bag.

    Args:
        path: of the bag.
        topic: of the clouds; None takes the only one.
        poses: TUM rows or a topic, of the base in the map; None for scans to localize.
        base_frame: whose poses they are; None takes the frame that the topic of poses names, or else `base_link`, or
            the LiDAR's own where the bag has no TF.
        compensated: the points were moved to where they would be at the time of the stamp; their times do not count.

    Raises:
        InputError: the bag lacks something of these, or it is damaged.
    """
    with Bag(path) as bag:
        cloud_topic = choose_cloud_topic(bag, topic)
        frame_id, transforms = bag.frame_id(cloud_topic), bag.transforms()
        found = [
            (stamp_ns_of(message.decoded()), message.recorded_ns)
            for message in bag.messages([cloud_topic])
            if message.msgtype == POINT_CLOUD
        ]
        trajectory = bag.poses(poses.name) if isinstance(poses, PoseTopic) else None
        if isinstance(poses, PoseTopic) and (transforms.frames or child_frame(bag, poses.name)):
            base_frame = frame_of_poses(bag, poses.name, base_frame)
        base = choose_base_frame(bag, transforms, base_frame, frame_id, sensor="LiDAR")
    if isinstance(poses, Path):
        trajectory = read_tum(poses)
    moving = _SensorPath(transforms, trajectory, base, frame_id)
    read = partial(_read_scan, path, cloud_topic, None if compensated else moving.at_any_time)
    scans = [
        PosedScan(format_stamp(stamp_ns), partial(read, stamp_ns, recorded_ns), moving.in_map(stamp_ns), stamp_ns)
        for stamp_ns, recorded_ns in found
    ]
    posed = [scan for scan in scans if scan.map_from_sensor is not None]
    extrinsics = _extrinsics(path, moving, found[0][0] if found else 0)
    if trajectory is None:
        return LidarRecording(scans, frame_id, base_from_sensor=extrinsics)
    if not posed:
        raise InputError(
            f"{path}: none of {len(scans)} scans on {cloud_topic} has a pose at its time; do the times fit?"
        )
    return LidarRecording(posed, frame_id, len(scans) - len(posed), base_from_sensor=extrinsics)


def _extrinsics(path: Path, moving: _SensorPath, stamp_ns: int) -> Pose:
    found = moving.base_from_sensor(stamp_ns)
    if found is None:
        raise InputError(
            f"{path}: TF has no {moving.sensor} on {moving.base} at the first scan; record /tf_static, or name another "
            "--base-frame"
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _SensorPath:
    """Where a sensor was over time: in the map by poses of the base, and anywhere by odometry."""

    transforms: TransformTree
    trajectory: Trajectory | None
    base: str
    sensor: str

    def in_map(self, stamp_ns: int) -> Pose | None:
        """map_from_sensor; None where it is not known."""
        if self.trajectory is None:
            return None
        map_from_base = self.trajectory.interpolate(stamp_ns, largest_gap_ns=LARGEST_GAP_NS)
        base_from_sensor = self.base_from_sensor(stamp_ns)
        return None if map_from_base is None or base_from_sensor is None else map_from_base @ base_from_sensor

    def at_any_time(self, stamp_ns: int) -> Pose | None:
        """The sensor in the frame of odometry, or else in the map."""
        if ODOM in self.transforms.frames:
            return self.transforms.lookup(ODOM, self.sensor, stamp_ns, largest_gap_ns=LARGEST_GAP_NS)
        return self.in_map(stamp_ns)

    def base_from_sensor(self, stamp_ns: int) -> Pose | None:
        """Where it sits; None where TF does not know it at this time."""
        if self.base == self.sensor:
            return Pose.identity()
        return self.transforms.lookup(self.base, self.sensor, stamp_ns)


def _read_scan(
    path: Path, topic: str, fixed_from_sensor: Callable[[int], Pose | None] | None, stamp_ns: int, recorded_ns: int
) -> PointCloud:
    with Bag(path) as bag:
        for message in bag.messages([topic], recorded_ns=recorded_ns):
            decoded = message.decoded()
            if stamp_ns_of(decoded) == stamp_ns:
                cloud = point_cloud_of(decoded)
                if fixed_from_sensor is None:
                    return replace(cloud, offsets_ns=None)
                return deskew(cloud, fixed_from_sensor)
    raise InputError(f"{path}: the scan at {stamp_ns} ns on {topic} is gone; the bag was changed meanwhile")
