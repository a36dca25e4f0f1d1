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

"""LiDAR places: chosen by distance, stored, and kept by what changes maps; scans localized among them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.assembly import build_localizer, explain_unused_matcher
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig, VerificationConfig
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.localization.result import Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, Query, View
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.lidar_places import add_lidar_places, choose_places, make_lidar_map
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import read_map, write_map

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")
sys.path.append(str(Path(__file__).parents[1] / "core"))
from descriptor_network import DescriptorNetwork


def _scans(drive: LidarDrive) -> list[PosedScan]:
    return [
        PosedScan(f"{k:03d}", partial(_cloud, drive, k), pose, k * 10**9) for k, pose in enumerate(drive.map_from_lidar)
    ]


def _cloud(drive: LidarDrive, number: int) -> PointCloud:
    return PointCloud(drive.scan(number))


@pytest.fixture(scope="module")
def drive() -> LidarDrive:
    """The lap of a robot with a LiDAR of 16 rings through an apartment."""
    return drive_with_lidar(make_world("apartment", 7), spacing_m=0.35, seed=3, longest_m=10.0)


@pytest.fixture(scope="module")
def lidar_map(drive: LidarDrive) -> LandmarkMap:
    """A map of it."""
    return make_lidar_map(_scans(drive), name="apartment", spacing_m=0.3)


@pytest.fixture(scope="module")
def queries() -> LidarDrive:
    """Another lap, by another way."""
    return drive_with_lidar(make_world("apartment", 7), spacing_m=3.5, seed=8, longest_m=10.0)


def test_places_are_chosen_by_the_distance_travelled() -> None:
    poses = [Pose(np.eye(3), np.array([0.4 * k, 0.0, 0.0])) for k in range(20)]
    scans = [PosedScan(str(k), lambda: PointCloud(np.ones((1, 3), np.float32)), pose) for k, pose in enumerate(poses)]
    unknown = replace(scans[0], name="unknown", map_from_sensor=None)
    assert [one.name for one in choose_places([unknown, *scans], spacing_m=1.0)] == [
        "0",
        "3",
        "6",
        "9",
        "12",
        "15",
        "18",
    ]


def test_a_map_of_scans_is_what_was_written(lidar_map: LandmarkMap, tmp_path: Path) -> None:
    write_map(lidar_map, tmp_path / "map")
    again = read_map(tmp_path / "map")
    places = again.places["lidar"]
    assert (len(again.points), len(places)) == (0, len(lidar_map.places["lidar"]))
    np.testing.assert_array_equal(
        places.payloads["points_cm"].values, lidar_map.places["lidar"].payloads["points_cm"].values
    )
    np.testing.assert_array_equal(again.retrieval["scan_context"].items, np.arange(len(places)))
    assert again.provenance["lidar"][0]["places"] == len(places)


def test_scans_are_localized_with_a_covariance(lidar_map: LandmarkMap, queries: LidarDrive) -> None:
    localizer = build_localizer(LocalizerConfig(), lidar_map)
    for k, truth in enumerate(queries.map_from_lidar):
        result = localizer.localize(Query((), cloud=_cloud(queries, k)))
        assert result.ok, result.reason
        assert result.map_from_rig is not None
        assert result.covariance is not None
        metres, radians = result.map_from_rig.distance_to(truth)
        assert metres < 0.1
        assert radians < np.radians(1.0)
        assert np.sqrt(np.diag(result.covariance)).max() < 0.2
        assert (result.candidate, result.frame_id) == ("retrieval/lidar", "map")


def test_the_pose_is_that_of_the_rig(lidar_map: LandmarkMap, queries: LidarDrive) -> None:
    """A LiDAR that is mounted askew on the base, turned by half a turn."""
    base_from_sensor = Pose.from_rotation_vector([0.0, 0.0, np.pi], [0.3, -0.1, 0.9]) @ Pose.from_rotation_vector(
        [0.0, 0.3, 0.0], np.zeros(3)
    )
    base_from_level = Pose(np.eye(3), base_from_sensor.translation)
    points = base_from_sensor.inverse().apply(base_from_level.apply(queries.scan(1))).astype(np.float32)
    localizer = build_localizer(LocalizerConfig(), lidar_map)
    result = localizer.localize(Query((), cloud=PointCloud(points, rig_from_sensor=base_from_sensor)))
    assert result.map_from_rig is not None
    expected = queries.map_from_lidar[1] @ base_from_level.inverse()
    assert result.map_from_rig.distance_to(expected)[0] < 0.1


def test_a_scan_is_localized_near_a_prior_and_despite_it(lidar_map: LandmarkMap, queries: LidarDrive) -> None:
    localizer = build_localizer(LocalizerConfig(), lidar_map)
    truth, query = queries.map_from_lidar[1], Query((), cloud=_cloud(queries, 1))
    near = truth @ Pose.from_rotation_vector([0.0, 0.0, 0.05], [0.3, -0.2, 0.0])
    prior = PosePrior(near, np.diag([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]))
    result = localizer.localize(replace(query, prior=prior))
    assert result.map_from_rig is not None, result.reason
    assert result.map_from_rig.distance_to(truth)[0] < 0.1
    far = truth @ Pose.from_rotation_vector([0.0, 0.0, 2.0], [9.0, 5.0, 0.0])
    result = localizer.localize(replace(query, prior=replace(prior, map_from_rig=far)))
    assert result.map_from_rig is not None
    assert result.map_from_rig.distance_to(truth)[0] < 0.1


@pytest.mark.parametrize("kind", ["room", "apartment"])
def test_scans_of_another_place_are_refused(lidar_map: LandmarkMap, kind: str) -> None:
    localizer = build_localizer(LocalizerConfig(), lidar_map)
    other = drive_with_lidar(make_world(kind, 23), spacing_m=4.0, seed=1, longest_m=5.0)
    for k in range(len(other)):
        result = localizer.localize(Query((), cloud=_cloud(other, k)))
        assert not result.ok
        assert result.reason


def _corridor(length_m: float = 60.0) -> Array:
    """A corridor without doors that reaches beyond what is seen, around a sensor 1 m above its floor."""
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-length_m, length_m, (2, 60_000))[0], rng.uniform(0, 1, 60_000)
    side = rng.integers(0, 4, 60_000)
    y = np.select([side == 0, side == 1], [np.full(60_000, -1.2), np.full(60_000, 1.2)], u * 2.4 - 1.2)
    z = np.select([side == 2, side == 3], [np.full(60_000, -1.0), np.full(60_000, 1.6)], u * 2.6 - 1.0)
    return (np.column_stack([x, y, z]) + rng.normal(0, 0.01, (60_000, 3))).astype(np.float32)


def test_the_covariance_of_real_scans_covers_their_errors(shared_data: Callable[[str], Path]) -> None:
    """Scans of KITTI, four apart: about 5 m. Poses of a drive are known to some centimetres."""
    scans, squared = read_kitti_recording(shared_data("kitti") / "drive_04").scans, []
    for first in (0, 11, 23, 35, 46):
        place, query = scans[first], scans[first + 4]
        result = build_localizer(LocalizerConfig(), make_lidar_map([place], name="place")).localize(
            Query((), cloud=query.load())
        )
        assert result.map_from_rig is not None, result.reason
        assert result.covariance is not None
        assert query.map_from_sensor is not None
        error = result.map_from_rig.error_to(query.map_from_sensor)
        squared.append(float(squared_mahalanobis_distances(error[None], result.covariance[None])[0]))
    # 6 where the covariance is right
    assert 0.5 < np.median(squared) < 18.0, squared


def test_a_corridor_that_leaves_a_direction_open_is_refused() -> None:
    points = _corridor()
    pose = Pose.from_rotation_vector([0.0, 0.0, 0.4], [3.0, 1.0, 1.0])
    landmark_map = make_lidar_map([PosedScan("a", lambda: PointCloud(points), pose)], name="corridor")
    result = build_localizer(LocalizerConfig(), landmark_map).localize(Query((), cloud=PointCloud(points)))
    assert result.status is Status.POSE_REJECTED
    assert "leave the position open along" in result.reason


def test_what_images_need_is_not_asked_of_scans(lidar_map: LandmarkMap) -> None:
    strict = LocalizerConfig(verification=VerificationConfig(false_accept_rate=1e-4))
    assert build_localizer(strict, lidar_map)


def test_a_matcher_is_not_used_for_scans_which_is_explained(lidar_map: LandmarkMap) -> None:
    network = DescriptorNetwork()
    build_localizer(LocalizerConfig(), lidar_map, network=network)
    assert "no keypoints" in explain_unused_matcher(LocalizerConfig(), lidar_map, network)


def test_a_scan_of_too_few_points_is_refused(lidar_map: LandmarkMap) -> None:
    cloud = PointCloud(np.ones((30, 3), np.float32))
    result = build_localizer(LocalizerConfig(), lidar_map).localize(Query((), cloud=cloud))
    assert result.status is Status.NO_FEATURES
    assert "voxels with points" in result.reason


def _floor() -> Array:
    """A level floor 1 m below the sensor."""
    x = np.arange(-6.0, 6.0, 0.04)
    return np.stack(np.broadcast_arrays(x[:, None], x, -1.0), axis=-1).reshape(-1, 3).astype(np.float32)


def test_a_scan_of_the_floor_alone_is_refused(lidar_map: LandmarkMap) -> None:
    result = build_localizer(LocalizerConfig(), lidar_map).localize(Query((), cloud=PointCloud(_floor())))
    assert result.status is Status.POSE_REJECTED, result.reason


def test_a_place_of_the_floor_alone_accepts_nothing(queries: LidarDrive) -> None:
    place = PosedScan("floor", lambda: PointCloud(_floor()), Pose.identity())
    localizer = build_localizer(LocalizerConfig(), make_lidar_map([place], name="floor"))
    for cloud in (_cloud(queries, 0), PointCloud(_floor())):
        assert localizer.localize(Query((), cloud=cloud)).status is Status.POSE_REJECTED


def _yard_with_posts(seed: int) -> Array:
    """Posts of different heights on level ground, around a sensor."""
    rng = np.random.default_rng(seed)
    feet, tops = rng.uniform(-30.0, 30.0, (60, 2)), rng.uniform(0.0, 6.0, 60)
    posts = [
        np.column_stack([foot + rng.normal(0, 0.1, (60, 2)), rng.uniform(-1.7, top, 60)])
        for foot, top in zip(feet, tops, strict=True)
    ]
    ground = np.column_stack([rng.uniform(-35.0, 35.0, (6000, 2)), rng.normal(-1.7, 0.02, 6000)])
    return np.concatenate([*posts, ground]).astype(np.float32)


def test_a_prior_does_not_choose_between_places_that_look_alike() -> None:
    points = _yard_with_posts(0)
    poses = [Pose(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 70.0)]
    scans = [PosedScan(str(k), lambda: PointCloud(points), pose) for k, pose in enumerate(poses)]
    prior = PosePrior(poses[1], np.diag([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]))
    query = Query((), cloud=PointCloud(points), prior=prior)
    alone = build_localizer(LocalizerConfig(), make_lidar_map(scans[1:], name="yard", spacing_m=1.0)).localize(query)
    assert (alone.status, alone.candidate) == (Status.OK, "prior/lidar")
    both = build_localizer(LocalizerConfig(), make_lidar_map(scans, name="yards", spacing_m=1.0)).localize(query)
    assert both.status is Status.AMBIGUOUS, both.reason


def test_a_wrong_frame_is_told_by_the_ground() -> None:
    """Poses or scans in the axes of a camera's optical frame."""
    points = _yard_with_posts(0)
    landmark_map = make_lidar_map([PosedScan("a", lambda: PointCloud(points), Pose.identity())], name="yard")
    optical = points[:, [1, 2, 0]] * np.float32([-1, -1, 1])
    result = build_localizer(LocalizerConfig(), landmark_map).localize(Query((), cloud=PointCloud(optical)))
    assert not result.ok
    assert "no level ground: does the z axis" in result.reason
    optical_from_lidar = Pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))
    with pytest.raises(InputError, match="are the poses those of the LiDAR in a map whose z axis points up"):
        make_lidar_map([PosedScan("a", lambda: PointCloud(points), optical_from_lidar)], name="yard")


@pytest.mark.slow
def test_two_million_points_are_down_sampled(lidar_map: LandmarkMap, queries: LidarDrive) -> None:
    points = queries.scan(0)
    rng = np.random.default_rng(0)
    many = np.repeat(points, 2_000_000 // len(points), axis=0)
    many = (many + rng.normal(0, 0.01, many.shape)).astype(np.float32)
    result = build_localizer(LocalizerConfig(), lidar_map).localize(Query((), cloud=PointCloud(many)))
    assert result.ok


def test_an_image_alone_is_refused_by_a_map_of_scans(lidar_map: LandmarkMap, scene_view: View) -> None:
    result = build_localizer(LocalizerConfig(), lidar_map).localize(Query((scene_view,)))
    assert result.status is Status.NO_CANDIDATES
    assert "give a point cloud" in result.reason


@pytest.fixture
def scene_view() -> View:
    """An image of nothing."""
    from vloc_ros.core.geometry.camera import Camera

    return View(np.zeros((48, 64), np.uint8), Camera("PINHOLE", 64, 48, (60.0, 60.0, 32.0, 24.0)))


def test_scans_without_a_pose_make_no_map(drive: LidarDrive) -> None:
    with pytest.raises(InputError, match="none of the 1 scans has a pose"):
        make_lidar_map([replace(_scans(drive)[0], map_from_sensor=None)], name="apartment")


def test_a_map_grows_and_moves_with_its_places(lidar_map: LandmarkMap, drive: LidarDrive, queries: LidarDrive) -> None:
    grown = add_lidar_places(lidar_map, _scans(drive)[:3], spacing_m=0.8)
    before = len(lidar_map.places["lidar"])
    assert len(grown.places["lidar"]) > before
    assert grown.retrieval["scan_context"].items[-1] == len(grown.places["lidar"]) - 1
    move = Pose.from_rotation_vector([0.0, 0.0, 1.1], [100.0, -20.0, 3.0])
    moved = transform_map(lidar_map, Similarity(1.0, move.rotation, move.translation))
    result = build_localizer(LocalizerConfig(), moved).localize(Query((), cloud=_cloud(queries, 0)))
    assert result.map_from_rig is not None
    assert result.map_from_rig.distance_to(move @ queries.map_from_lidar[0])[0] < 0.1


def test_a_change_of_scale_is_refused(lidar_map: LandmarkMap) -> None:
    with pytest.raises(MapError, match="scale"):
        transform_map(lidar_map, Similarity(1.1, np.eye(3), np.zeros(3)))
