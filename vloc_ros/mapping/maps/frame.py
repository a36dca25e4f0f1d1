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

"""The frame of a map: its origin, how uncertain it is where the map lies in it, how far that is from measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.maps.alignment import choose_origin
from vloc_ros.mapping.sfm.anchors import position_distances, position_frame_uncertainty
from vloc_ros.mapping.sfm.measurements import frame_variances, odometry_scale_variance
from vloc_ros.mapping.sfm.placement import Placement
from vloc_ros.mapping.sfm.scale import GivenPoses, MeasuredPositions, ScaleSource


def choose_map_origin(images: Sequence[PosedImage], scale: ScaleSource | None) -> Array:
    """(3,) origin around the images' positions in the frame of the map; zero where that is not known before."""
    if isinstance(scale, MeasuredPositions) or _odometry_is_moved(images, scale):
        return choose_origin([image.position.position for image in images if image.position is not None])
    if scale is None or isinstance(scale, GivenPoses):
        return choose_origin([i.map_from_camera.translation for i in images if i.map_from_camera is not None])
    return np.zeros(3)


def _odometry_is_moved(images: Sequence[PosedImage], scale: ScaleSource | None) -> bool:
    """Whether positions give the frame, and odometry has one of its own."""
    drifting = isinstance(scale, GivenPoses) and scale.drifting
    return drifting and any(image.position is not None for image in images)


def relative_to_origin(origin: Array, image: PosedImage) -> PosedImage:
    """The image with its pose and position relative to the origin; odometry's pose too, whose frame is its own."""
    if not origin.any():
        return image
    pose, position = image.map_from_camera, image.position
    return replace(
        image,
        map_from_camera=pose and Pose(pose.rotation, pose.translation - origin),
        position=position and replace(position, position=position.position - origin),
    )


def frame_uncertainty(landmark_map: LandmarkMap, placement: Placement, scale: ScaleSource | None) -> FrameUncertainty:
    """How uncertain it is where the map lies in the frame of what it was measured by.

    Of given poses, the images that see enough of the map show how it lies in them. Of odometry without positions the
    frame is the map's own, and only scale and bending are uncertain; of images alone, only the bending.
    """
    if scale is None:
        return FrameUncertainty()
    if placement.anchors.positions:
        frame = position_frame_uncertainty(placement.poses, placement.anchors)
        return replace(frame, bending=placement.bending)
    if not isinstance(scale, GivenPoses):
        return FrameUncertainty(bending=placement.bending)
    if not scale.drifting:
        seeing = ~landmark_map.keyframes.see_few_points
        return FrameUncertainty(bending=frame_variances(*placement.measured_and_placed(seeing)))
    measured, placed = placement.measured_and_placed(placement.is_leading)
    variance = odometry_scale_variance(measured, placed)
    centre = np.mean([pose.translation for pose in placed], axis=0)
    return FrameUncertainty(np.diag([0.0] * 6 + [variance]), centre, placement.bending)


def distances_from_measurements(placement: Placement, scale: ScaleSource | None) -> dict[str, float]:
    """Distances of the placed cameras from what was measured, what they turned alike, and the offset of its clock."""
    found = dict[str, float]()
    if scale is None:
        return found
    if isinstance(scale, GivenPoses):
        both = list(zip(*placement.measured_and_placed([True] * len(placement.poses)), strict=True))
        apart_m = [before.distance_to(after)[0] for before, after in both]
        what = "drift_of_odometry" if scale.drifting else "distance_from_given_poses"
        found.update(_median_and_largest(what, apart_m))
        if not scale.drifting:
            turns_rad = [(before.inverse() @ after).rotation_vector for before, after in both]  # in the camera
            found["common_turn_from_given_poses_deg"] = round(
                float(np.degrees(np.linalg.norm(np.mean(turns_rad, axis=0)))), 3
            )
    if placement.anchors.positions:
        off_m = position_distances(placement.poses, placement.anchors)
        found.update(_median_and_largest("distance_from_positions", off_m))
    if placement.time_offset_s:
        found["time_offset_s"] = round(placement.time_offset_s, 4)
    return found


def _median_and_largest(what: str, lengths_m: Sequence[float] | Array) -> dict[str, float]:
    return {
        f"median_{what}_m": round(float(np.median(lengths_m)), 4),
        f"largest_{what}_m": round(float(np.max(lengths_m)), 4),
    }
