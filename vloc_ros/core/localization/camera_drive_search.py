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

"""Poses of a moving camera in a map of LiDAR places, by several clouds of one drive that agree by odometry.

The hypotheses of the single clouds are followed along the drive, see `camera_drive_following`, and those of the whole
drive are decided on by a table of their own, see `acceptance`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_alignment import LEAST_POINTS
from vloc_ros.core.localization.camera_cloud_decision import CameraDecision, CameraHypothesis
from vloc_ros.core.localization.camera_cloud_search import REACH_UP_M, CameraCloudSearch, weigh
from vloc_ros.core.localization.camera_drive_following import DriveCloud, DriveFollower
from vloc_ros.core.localization.camera_drive_hypotheses import DriveHypothesis, join_drive
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap

# clouds of a drive that are compared together: the last ones
MOST_CLOUDS = 4


class CameraDriveSearch:
    """Compares the last clouds of a drive with the LiDAR places of one map.

    Attributes:
        of_clouds: the search by single clouds.
    """

    def __init__(
        self,
        search: CameraCloudSearch,
        landmark_map: LandmarkMap,
        *,
        decision: CameraDecision,
        errors: CameraErrors,
    ) -> None:
        """A search in a map with LiDAR places, see `assembly.build_camera_drive_search`.

        Args:
            search: finds and decides on poses by single clouds.
            landmark_map: the map of it.
            decision: accepts a hypothesis of two clouds or more, or refuses all.
            errors: of odometry and calibration.
        """
        self.of_clouds, self._map = search, landmark_map
        self._follower = DriveFollower(search)
        self._decision, self._errors = decision, errors

    def localize(self, clouds: Sequence[DriveCloud]) -> tuple[LocalizationResult, list[CameraHypothesis]]:
        """The pose of the last cloud's optical frame by all of them or why there is none, and all hypotheses.

        Raises:
            InputError: they are fewer than two.
        """
        odometry = [cloud.odom_from_camera for cloud in clouds]
        followed = self._follower.find(clouds)
        joined = join_all(followed, odometry, errors=self._errors, voxel_m=self.of_clouds.voxel_m)
        found = self._decision.rank(joined)
        return self._decision.decide(found, self._map), found

    def search_cloud(
        self, cloud: CameraCloud, odom_from_camera: Pose, *, reach_m: float, reach_up_m: float = REACH_UP_M
    ) -> tuple[DriveCloud | None, LocalizationResult]:
        """A cloud with what its own search finds, and the decision on it alone; no cloud where it has too few points.

        Raises:
            InputError: the lattice would be too large.
        """
        result, found = self.of_clouds.localize(
            cloud, odom_from_camera.rotation, reach_m=reach_m, reach_up_m=reach_up_m
        )
        return (DriveCloud(cloud, odom_from_camera, found) if len(cloud) >= LEAST_POINTS else None), result


def join_all(
    found: Sequence[DriveHypothesis],
    odom_from_camera: Sequence[Pose],
    *,
    errors: CameraErrors,
    voxel_m: float,
) -> list[CameraHypothesis]:
    """The hypotheses of the last cloud's camera by those of a drive, with the margin of each.

    Args:
        found: of the drive.
        odom_from_camera: of each cloud.
        errors: of odometry and calibration.
        voxel_m: size of the map's voxels.
    """
    joined = [join_drive(one, odom_from_camera, errors=errors, voxel_m=voxel_m) for one in found]
    return weigh(joined, voxel_m=voxel_m)
