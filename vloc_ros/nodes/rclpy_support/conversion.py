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

"""Conversion between ROS messages and the types of the core; no other module does it.

The functions that read images, calibrations and poses are shared with bags, so that an image gives the same pixels
whether its bag is played or read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import KeyValue
from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import (
    PoseArray,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Transform,
    TransformStamped,
)
from sensor_msgs.msg import Image, NavSatFix, NavSatStatus, PointCloud2, PointField
from std_msgs.msg import Header

from vloc_msgs.msg import LocalizationStatus, MapInfo, RetrievedPlace
from vloc_ros.bags.messages import camera_of, image_of, image_size_of, pose_of, stamp_ns_of
from vloc_ros.core.geometry.earth_pose import EarthPose
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.place_query import FoundPlace
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene

__all__ = ["camera_of", "image_of", "image_size_of", "pose_of", "stamp_ns_of"]

_NS_PER_S = 1_000_000_000
# of a height that is not known, metres²
_UNKNOWN_VARIANCE = 1e6
STATUS_CODES = {status: int(getattr(LocalizationStatus, status.name)) for status in Status}


def time_message(stamp_ns: int) -> Time:
    """Return a Time message from integer nanoseconds."""
    return Time(sec=stamp_ns // _NS_PER_S, nanosec=stamp_ns % _NS_PER_S)


def header(stamp_ns: int, frame_id: str) -> Header:
    """Return a Header."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def rotation_of(quaternion: Any) -> Array:
    """Return the (3, 3) rotation of a Quaternion message.

    Raises:
        InputError: it is zero or not finite.
    """
    return Pose.from_quaternion([quaternion.x, quaternion.y, quaternion.z, quaternion.w], [0.0] * 3).rotation


def pose_message(pose: Pose) -> PoseMessage:
    """Return a Pose message."""
    message = PoseMessage()
    message.position.x, message.position.y, message.position.z = pose.translation.tolist()
    q = message.orientation
    q.x, q.y, q.z, q.w = pose.quaternion.tolist()
    return message


def transform_message(stamp_ns: int, parent: str, child: str, parent_from_child: Pose) -> TransformStamped:
    """Return a stamped transform for TF: the pose of the child in its parent."""
    transform = Transform()
    t, q = transform.translation, transform.rotation
    t.x, t.y, t.z = parent_from_child.translation.tolist()
    q.x, q.y, q.z, q.w = parent_from_child.quaternion.tolist()
    return TransformStamped(header=header(stamp_ns, parent), child_frame_id=child, transform=transform)


def pose_stamped(stamp_ns: int, frame_id: str, pose: Pose) -> PoseStamped:
    """Return a PoseStamped."""
    return PoseStamped(header=header(stamp_ns, frame_id), pose=pose_message(pose))


def pose_with_covariance(pose: Pose, covariance: Array) -> PoseWithCovariance:
    """Return a pose with its (6, 6) covariance, order x y z rx ry rz."""
    return PoseWithCovariance(pose=pose_message(pose), covariance=covariance.reshape(-1).astype(np.float64))


def pose_with_covariance_stamped(stamp_ns: int, frame_id: str, pose: Pose, cov: Array) -> PoseWithCovarianceStamped:
    """Return a stamped pose with its (6, 6) covariance."""
    return PoseWithCovarianceStamped(header=header(stamp_ns, frame_id), pose=pose_with_covariance(pose, cov))


def nav_sat_fix(stamp_ns: int, frame_id: str, earth: EarthPose) -> NavSatFix:
    """Return a NavSatFix of known covariance; a height that is not known is NaN, with a variance that says so."""
    covariance = earth.covariance.copy()
    if np.isnan(earth.altitude_m):
        covariance[2, :] = covariance[:, 2] = 0.0
        covariance[2, 2] = _UNKNOWN_VARIANCE
    return NavSatFix(
        header=header(stamp_ns, frame_id),
        # of no satellites: service stays 0
        status=NavSatStatus(status=NavSatStatus.STATUS_FIX, service=0),
        latitude=earth.latitude,
        longitude=earth.longitude,
        altitude=earth.altitude_m,
        position_covariance=covariance.reshape(-1).astype(np.float64),
        position_covariance_type=NavSatFix.COVARIANCE_TYPE_KNOWN,
    )


def geo_pose_stamped(kind: Any, stamp_ns: int, frame_id: str, earth: EarthPose) -> Any:
    """Return a GeoPoseStamped, `kind`, of geographic_msgs, which not every robot has."""
    message = kind(header=header(stamp_ns, frame_id))
    position, orientation = message.pose.position, message.pose.orientation
    position.latitude, position.longitude, position.altitude = earth.latitude, earth.longitude, earth.altitude_m
    x, y, z, w = Pose(earth.enu_from_body, np.zeros(3)).quaternion.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = x, y, z, w
    return message


def status_without_pose(**fields: Any) -> LocalizationStatus:
    """Return a status whose pose is all zero; the message itself begins with a quaternion of w = 1."""
    message = LocalizationStatus(**fields)
    message.pose.pose.orientation.w = 0.0
    return message


def fill_status(message: LocalizationStatus, result: LocalizationResult) -> None:
    """Fill in everything but the pose: that of the body is added by the node."""
    message.status = STATUS_CODES[result.status]
    message.reason = result.reason
    message.keypoints, message.matches, message.inliers = result.keypoints, result.matches, result.inliers
    message.confidence, message.candidate = float(result.confidence), result.candidate
    message.stages = list(result.times_ms)
    message.stage_times_s = [float(ms) * 1e-3 for ms in result.times_ms.values()]


def status_name(code: int) -> str:
    """Return the name of a code of LocalizationStatus, such as `OK` or `NO_FEATURES`."""
    return _STATUS_NAMES[code]


def map_info(stamp_ns: int, manifest: dict[str, Any], text: str, files: list[tuple[str, int]]) -> MapInfo:
    """Return the announcement of a map."""
    return MapInfo(
        header=header(stamp_ns, str(manifest["scenes"][0]["frame_id"])),
        name=str(manifest["name"]),
        hash=str(manifest["hash"]),
        manifest=text,
        frame_ids=[str(scene["frame_id"]) for scene in manifest["scenes"]],
        files=[name for name, _ in files],
        file_sizes=[size for _, size in files],
    )


def origin_transform(stamp_ns: int, scene: Scene) -> TransformStamped:
    """Return the static transform from a scene's map frame to the frame of its origin."""
    return transform_message(stamp_ns, scene.frame_id, scene.origin_frame_id, scene.map_from(Pose.identity()))


def landmark_cloud(stamp_ns: int, landmark_map: LandmarkMap, scene: Scene) -> PointCloud2:
    """Return all points of a scene as a cloud in the frame of its origin, each with the id of its landmark."""
    own = slice(scene.points.start, scene.points.stop)
    layout = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("landmark", "<i4")]
    cloud = np.empty(len(scene.points), dtype=layout)
    for axis, name in enumerate("xyz"):
        cloud[name] = landmark_map.points[own, axis]
    cloud["landmark"] = landmark_map.landmark_ids[own]
    message = PointCloud2(header=header(stamp_ns, scene.origin_frame_id), height=1, width=len(cloud), is_dense=True)
    types = [PointField.FLOAT32] * 3 + [PointField.INT32]
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=kind, count=1)
        for index, ((name, _), kind) in enumerate(zip(layout, types, strict=True))
    ]
    message.point_step, message.row_step = cloud.itemsize, cloud.nbytes
    message.data.frombytes(cloud.tobytes())
    return message


def keyframe_poses(stamp_ns: int, landmark_map: LandmarkMap, scene: Scene) -> PoseArray:
    """Return the poses of a scene's keyframes in the map frame: optical frames, z forward."""
    poses = [pose_message(scene.map_from(landmark_map.keyframes.pose(k))) for k in scene.keyframes]
    return PoseArray(header=header(stamp_ns, scene.frame_id), poses=poses)


def retrieved_place(found: FoundPlace) -> RetrievedPlace:
    """Return a place of the map that a query resembles."""
    return RetrievedPlace(
        modality=found.modality,
        name=found.name,
        frame_id=found.frame_id,
        pose=pose_message(found.map_from_place),
        similarity=found.similarity,
        side_m=found.side_m,
        latitude=found.geodetic[0],
        longitude=found.geodetic[1],
        altitude=found.geodetic[2],
    )


def bgr_message(stamp_ns: int, frame_id: str, image: Array) -> Image:
    """Return an Image from (H, W, 3) BGR uint8 pixels."""
    height, width = image.shape[:2]
    message = Image(header=header(stamp_ns, frame_id), height=height, width=width, encoding="bgr8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(image).tobytes())
    return message


def key_values(values: dict[str, Any]) -> list[KeyValue]:
    """Return the values as KeyValue messages for diagnostics."""
    return [KeyValue(key=key, value=str(value)) for key, value in values.items()]


_STATUS_NAMES = {
    getattr(LocalizationStatus, name): name
    for name in (
        *(status.name for status in Status),
        *(
            "NO_MAP",
            "NO_CALIBRATION",
            "NO_TRANSFORM",
            "NO_ODOMETRY",
            "STALE",
            "DROPPED",
            "BAD_IMAGE",
            "NO_IMAGE",
            "INTERNAL_ERROR",
        ),
    )
}
