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

"""A camera in a map of LiDAR places, by its cloud: the pose is found without a prior, and bad input is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch, CameraHypothesis
from vloc_ros.core.sources import PosedScan
from vloc_ros.evaluation.camera_hypotheses import summarize_errors
from vloc_ros.inference.cloud_registration import KissGicpRegistration
from vloc_ros.mapping.maps.lidar_places import make_lidar_map

# x forward, y left, z up from an optical frame
LEVEL_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
TRUTH = Pose(Pose.from_rotation_vector([0.0, 0.0, 0.7], np.zeros(3)).rotation @ LEVEL_FROM_OPTICAL, [2.3, 2.6, 1.1])


def _box(low: tuple[float, ...], high: tuple[float, ...]) -> Array:
    """Points 5 cm apart on the six sides."""
    axes = [np.arange(a, b + 1e-6, 0.05) for a, b in zip(low, high, strict=True)]
    sides = []
    for axis in range(3):
        for end in (low[axis], high[axis]):
            sides.append(np.stack(np.meshgrid(*(axes[k] if k != axis else [end] for k in range(3))), -1).reshape(-1, 3))
    return np.concatenate(sides)


ROOM = np.concatenate([_box((0, 0, 0), (6, 5, 2.5)), _box((4.5, 3.5, 0), (5.5, 5, 1.5)), _box((0, 3, 0), (0.6, 4, 2))])


@pytest.fixture(scope="module")
def search() -> CameraCloudSearch:
    place = Pose(np.eye(3), np.array([2.0, 2.5, 1.0]))
    cloud = PointCloud(place.inverse().apply(ROOM).astype(np.float32))
    landmark_map = make_lidar_map([PosedScan("0", lambda: cloud, place)], name="room", context=ScanContext(10.0))
    return CameraCloudSearch(landmark_map, KissGicpRegistration(voxel_m=0.1), voxel_m=0.1)


def _cloud(points: Array) -> CameraCloud:
    seen = TRUTH.inverse().apply(points)
    seen = seen[(seen[:, 2] > 0.3) & (np.abs(seen[:, :2]) < 0.8 * seen[:, 2:]).all(axis=1)]
    seen = seen[::8]
    seen += np.random.default_rng(0).normal(0.0, 0.02, seen.shape)
    return CameraCloud(seen, np.full(len(seen), 0.03), seen / np.linalg.norm(seen, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def best(search: CameraCloudSearch) -> CameraHypothesis:
    turn = Pose.from_rotation_vector([0.0, 0.0, -2.0], np.zeros(3)).rotation
    return search.find(_cloud(ROOM), turn @ TRUTH.rotation, reach_m=0.6)[0]


def test_the_pose_is_found_without_heading_or_position(best: CameraHypothesis) -> None:
    distance_m, turn_rad = best.map_from_camera.distance_to(TRUTH)
    assert distance_m < 0.1
    assert turn_rad < np.radians(2.0)
    assert best.support > 0.9


def test_another_room_supports_its_best_pose_less(search: CameraCloudSearch, best: CameraHypothesis) -> None:
    other = np.concatenate([_box((-1, 0, 0), (9, 4, 3.5)), _box((3.5, 3, 0), (4, 3.8, 2.5))])
    assert search.find(_cloud(other), TRUTH.rotation, reach_m=0.4)[0].support < best.support - 0.1


def test_too_few_points_are_refused(search: CameraCloudSearch) -> None:
    with pytest.raises(InputError, match="points"):
        search.find(_cloud(ROOM).select(np.arange(50)), TRUTH.rotation, reach_m=0.4)


def test_a_lattice_that_is_too_large_is_refused(search: CameraCloudSearch) -> None:
    with pytest.raises(InputError, match="reach"):
        search.find(_cloud(ROOM), TRUTH.rotation, reach_m=60.0)


def test_images_without_a_hypothesis_count_as_failures() -> None:
    summary = summarize_errors([TRUTH, None], [TRUTH, TRUTH])
    assert summary["within 0.25 m, 2 deg"] == 0.5
