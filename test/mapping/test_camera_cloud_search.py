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

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

from camera_room import ROOM, TRUTH, box, make_room_map, see

from vloc_ros.assembly import build_camera_cloud_search
from vloc_ros.core.clouds.lidar_overlay import draw_lidar_overlay
from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_alignment import CameraAlignment
from vloc_ros.core.localization.camera_cloud_covariance import estimate_camera_covariance
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_search import MISFIT, CameraCloudSearch
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.result import Status
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.evaluation.camera_hypotheses import summarize_errors
from vloc_ros.inference.cloud_registration import KissGicpRegistration


@pytest.fixture(scope="module")
def search() -> CameraCloudSearch:
    return build_camera_cloud_search(LocalizerConfig(), make_room_map())[0]


@pytest.fixture(scope="module")
def found(search: CameraCloudSearch) -> list[CameraHypothesis]:
    turn = Pose.from_rotation_vector([0.0, 0.0, -2.0], np.zeros(3)).rotation
    return search.find(see(ROOM), turn @ TRUTH.rotation, reach_m=0.6)


def test_the_pose_is_found_without_heading_or_position(found: list[CameraHypothesis]) -> None:
    best = max(found, key=lambda one: one.evidence.strength)
    distance_m, turn_rad = best.map_from_camera.distance_to(TRUTH)
    assert distance_m < 0.1
    assert turn_rad < np.radians(2.0)
    assert best.evidence.support > 0.9
    assert best.evidence.margin > 0.05


def test_each_optimum_is_found_once(found: list[CameraHypothesis]) -> None:
    apart = [one.map_from_camera.distance_to(other.map_from_camera) for one in found for other in found[:1]]
    assert sum(distance_m < 0.05 and turn_rad < 0.02 for distance_m, turn_rad in apart) == 1


@pytest.mark.parametrize("worse", [{"scale_std": 0.1}, {"focal_std": 0.1}])
def test_a_scale_or_a_focal_length_that_is_less_certain_makes_the_pose_less_certain(worse: dict[str, float]) -> None:
    known, unknown = _covariance(CameraErrors()), _covariance(replace(CameraErrors(), **worse))
    assert np.trace(unknown[:3, :3]) > 2 * np.trace(known[:3, :3])


def test_a_principal_point_that_is_less_certain_makes_the_rotation_less_certain() -> None:
    known, unknown = _covariance(CameraErrors()), _covariance(CameraErrors(centre_std_rad=0.05))
    assert np.trace(unknown[3:, 3:]) > 4 * np.trace(known[3:, 3:])


def _covariance(errors: CameraErrors) -> Array:
    cloud, registration = see(ROOM), KissGicpRegistration(voxel_m=0.1)
    alignment = CameraAlignment(registration, 0.1)
    agreement = alignment.compare(cloud, registration.prepare(ROOM), TRUTH)
    return estimate_camera_covariance(cloud, TRUTH, agreement, errors).covariance


def test_a_surface_in_the_way_is_seen(search: CameraCloudSearch, found: list[CameraHypothesis]) -> None:
    """From behind the room's wall most rays to its points go through the wall."""
    best = max(found, key=lambda one: one.evidence.strength)
    outside = Pose(TRUTH.rotation, TRUTH.translation - 4.0 * TRUTH.rotation[:, 2])
    shifted = CameraCloud(
        outside.inverse().apply(TRUTH.apply(see(ROOM).points)),
        *_noise_and_rays(outside),
        np.zeros_like(see(ROOM).points),
    )
    (behind,) = search.measure(shifted, [(0, _in_scene(search, outside))])
    assert best.evidence.free_space > 0.95
    assert behind.evidence.free_space < 0.5


def _noise_and_rays(seen_from: Pose) -> tuple[Array, Array]:
    cloud = see(ROOM)
    points = seen_from.inverse().apply(TRUTH.apply(cloud.points))
    return cloud.stds_m, points / np.linalg.norm(points, axis=1, keepdims=True)


def _in_scene(search: CameraCloudSearch, map_from_camera: Pose) -> Pose:
    return search._map.scenes[0].scene_from(map_from_camera)


def test_too_few_points_are_refused(search: CameraCloudSearch) -> None:
    few = see(ROOM).select(np.arange(50))
    with pytest.raises(InputError, match="points"):
        search.find(few, TRUTH.rotation, reach_m=0.4)
    result, hypotheses = search.localize(few, TRUTH.rotation, reach_m=0.4)
    assert result.status is Status.NO_FEATURES
    assert not hypotheses


@pytest.mark.parametrize("threshold", [-20.0, 20.0])
def test_the_best_is_accepted_with_a_covariance_or_all_are_refused(
    search: CameraCloudSearch, found: list[CameraHypothesis], threshold: float
) -> None:
    model = replace(search._decision.model, rates=np.array([0.02]), thresholds=np.array([threshold]))
    result = replace(search._decision, model=model).decide(found, search._map)
    assert result.ok == (threshold < 0)
    assert (result.covariance is not None) == result.ok
    assert bool(result.reason) != result.ok


def test_another_room_is_refused(search: CameraCloudSearch, found: list[CameraHypothesis]) -> None:
    other = np.concatenate([box((-1, 0, 0), (9, 4, 3.5)), box((3.5, 3, 0), (4, 3.8, 2.5))])
    result, hypotheses = search.localize(see(other), TRUTH.rotation, reach_m=0.4)
    assert result.status in {Status.POSE_REJECTED, Status.AMBIGUOUS}
    assert max(one.evidence.support for one in hypotheses) < max(one.evidence.support for one in found) - 0.1


def test_a_view_too_narrow_to_tell_how_far_off_it_is_has_no_certain_pose(search: CameraCloudSearch) -> None:
    cloud = see(ROOM)
    narrow = cloud.select(np.flatnonzero((np.abs(cloud.rays[:, :2]) < np.sin(np.radians(12.0))).all(axis=1)))
    (one,) = search.measure(narrow, [(0, _in_scene(search, TRUTH))])
    (wide,) = search.measure(cloud, [(0, _in_scene(search, TRUTH))])
    assert one.covariance[0, 0] > 1e4 * wide.covariance[0, 0]
    assert one.evidence.agreement < -5 < wide.evidence.agreement
    model = replace(search._decision.model, rates=np.array([0.02]), thresholds=np.array([-100.0]))
    assert replace(search._decision, model=model).decide([one], search._map).status is Status.POSE_REJECTED


def test_a_position_that_is_too_uncertain_is_refused(search: CameraCloudSearch, found: list[CameraHypothesis]) -> None:
    result = replace(search._decision, max_position_std_m=1e-4).decide(found, search._map)
    assert result.status is Status.POSE_REJECTED
    assert "uncertain" in result.reason


@pytest.mark.parametrize(
    ("turn", "shift"),
    [([0.0, 0.17, 0.0], [0, 0, 0]), ([0.17, 0.0, 0.0], [0, 0, 0]), ([0.0] * 3, [0.3, 0, 0]), ([0.0] * 3, [0, 0, 0.3])],
)
def test_the_score_of_an_overlay_catches_wrong_extrinsics(
    search: CameraCloudSearch, turn: list[float], shift: list[float]
) -> None:
    cloud = see(ROOM)
    assert search.check_pose(cloud, 0, TRUTH) > 0.0
    assert search.check_pose(cloud, 0, TRUTH @ Pose.from_rotation_vector(turn, shift)) < MISFIT


def test_an_overlay_shows_what_is_before_the_camera() -> None:
    camera = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
    points = np.array([[0.0, 0.0, 2.0], [0.05, 0.0, 6.0], [0.5, 0.0, 3.0], [0.0, 0.0, -2.0], [0.0, 0.0, 90.0]])
    image = draw_lidar_overlay(np.zeros((48, 64), np.uint8), camera, Pose.identity(), points, far_m=10.0)
    assert image.shape == (48, 64, 3)
    drawn, _ = cv2.connectedComponents((image.max(axis=2) > 0).astype(np.uint8))
    assert drawn == 3


def test_a_lattice_that_is_too_large_is_refused(search: CameraCloudSearch) -> None:
    with pytest.raises(InputError, match="reach"):
        search.find(see(ROOM), TRUTH.rotation, reach_m=60.0)


def test_a_map_that_is_too_large_is_refused_before_its_points_are_read() -> None:
    room = make_room_map()
    without_points = replace(room, places={LIDAR: replace(room.places[LIDAR], payloads={})})
    search = build_camera_cloud_search(LocalizerConfig(), room)[0]
    search._map = without_points
    with pytest.raises(InputError, match="positions lie within"):
        search.find(see(ROOM), TRUTH.rotation, reach_m=60.0)


def test_images_without_a_hypothesis_count_as_failures() -> None:
    summary = summarize_errors([TRUTH, None], [TRUTH, TRUTH])
    assert summary["within 0.25 m, 2 deg"] == 0.5
