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

"""The position of a query by local features, from images of which only the positions are known."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.retrieval.ranking import normalize
from vloc_ros.mapping.sfm.place_pose import LocalFeatures, PoseReranker

CAMERA = Camera("SIMPLE_PINHOLE", 640, 480, (500.0, 320.0, 240.0))
# the optical axis ahead along x, the camera upright
_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class Street:
    """Points on both sides of a street along a direction, and what cameras in it see of them."""

    def __init__(self, yaw: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        along, side = rng.uniform(-10, 90, 3000), rng.choice([-7.0, 7.0], 3000)
        self.turn = Pose.from_rotation_vector([0.0, 0.0, yaw], np.array([500.0, -300.0, 0.0]))
        self.points = self.turn.apply(np.column_stack([along, side, rng.uniform(0, 8, 3000)]))
        self.descriptors = normalize(rng.standard_normal((3000, 32)))

    def pose(self, along: float, across: float = 0.0) -> Pose:
        return self.turn @ Pose(_AHEAD, np.array([along, across, 1.6]))

    def see(self, pose: Pose, seed: int) -> LocalFeatures:
        rng = np.random.default_rng(seed)
        xy = CAMERA.project(pose.inverse().apply(self.points))
        near = np.linalg.norm(self.points - pose.translation, axis=1) < 40
        seen = np.flatnonzero(near & np.isfinite(xy).all(axis=1) & CAMERA.contains(xy))
        noisy = (xy[seen] + rng.normal(0, 0.3, (len(seen), 2))).astype(np.float32)
        found = normalize(self.descriptors[seen] + 0.03 * rng.standard_normal((len(seen), 32)))
        return LocalFeatures.of(Features(noisy, found, np.ones(len(seen), np.float32)), CAMERA)


def reranker_of(street: Street, at: Array, **options: float) -> PoseReranker:
    poses = [street.pose(float(along)) for along in at]
    positions = np.array([pose.translation[:2] for pose in poses])
    return PoseReranker(lambda k: street.see(poses[k], k), positions, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("yaw", [0.0, 2.0, -1.2])
def test_a_query_between_images_is_located_in_metres(yaw: float) -> None:
    street, at = Street(yaw), np.arange(0.0, 60.0, 6.0)
    truth = street.pose(20.5, 1.5)
    # the order of retrieval is wrong: the first is 27.5 m away, just outside of 25
    rows = np.array([8, 3, 4, 2, 5, 1, 0, 6, 7, 9])
    found = reranker_of(street, at).rerank(street.see(truth, 99), rows)
    assert found.position is not None
    assert np.linalg.norm(found.position - truth.translation[:2]) < 0.5
    assert found.rows[0] == 3
    assert sorted(found.rows) == sorted(rows)


def test_the_nearest_image_comes_first_even_where_it_was_not_retrieved() -> None:
    street, at = Street(0.4), np.arange(0.0, 60.0, 6.0)
    found = reranker_of(street, at, count=2).rerank(street.see(street.pose(30.5), 99), np.array([4, 3, 9]))
    assert found.rows.tolist() == [5, 4, 3]


def test_results_that_were_not_verified_stay_in_their_order() -> None:
    street, other = Street(0.4), Street(0.4, seed=7)
    poses = [street.pose(along) for along in np.arange(0.0, 60.0, 6.0)]
    # the last two are of another street, beside the query by their positions
    positions = np.array([pose.translation[:2] for pose in [*poses[:8], poses[5], poses[6]]])
    views = [*(street.see(pose, k) for k, pose in enumerate(poses[:8])), *(other.see(poses[k], k) for k in (5, 6))]
    rows = np.array([4, 8, 9, 3])
    found = PoseReranker(lambda k: views[k], positions).rerank(street.see(street.pose(20.5), 99), rows)
    assert found.position is not None
    assert found.rows.tolist() == [3, 4, 8, 9]
    assert found.inliers >= 20


def test_without_clear_evidence_the_first_result_says_the_position() -> None:
    street, at = Street(0.0), np.arange(0.0, 60.0, 6.0)
    reranker, query = reranker_of(street, at, radius_m=1.0), street.see(street.pose(13.5), 99)
    # image 2, at 12 m, has more matches than image 1 has, but not half as many more
    inliers = [reranker.rerank(query, np.array([row])).inliers for row in (1, 2)]
    assert inliers[0] < inliers[1] < 1.5 * inliers[0]
    found = reranker.rerank(query, np.array([1, 2]))
    assert found.inliers == inliers[0]
    assert found.position is not None
    assert np.linalg.norm(found.position - street.pose(13.5).translation[:2]) < 0.5


def test_an_unknown_place_leaves_the_order() -> None:
    street, other = Street(0.0), Street(0.0, seed=7)
    rows = np.array([3, 1, 2, 0])
    found = reranker_of(street, np.arange(0.0, 24.0, 6.0)).rerank(other.see(other.pose(10.0), 99), rows)
    assert found.position is None
    assert found.rows.tolist() == rows.tolist()


def test_without_a_neighbour_there_is_no_position_but_the_evidence_counts() -> None:
    street = Street(0.0)
    poses, positions = [street.pose(70.0), street.pose(10.0)], np.array([[900.0, 0.0], [0.0, 0.0]])
    reranker = PoseReranker(lambda k: street.see(poses[k], k), positions)
    found = reranker.rerank(street.see(street.pose(11.0), 99), np.array([0, 1]))
    assert found.position is None
    assert found.rows.tolist() == [1, 0]
