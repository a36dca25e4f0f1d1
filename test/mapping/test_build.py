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

"""From images to a map, end to end, on features with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from posed_points import CAMERA, UTM, PosedPoints, extracting, make_posed_points

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError, MapError, VlocError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.frame import distances_from_measurements
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.placement import Placement
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, KnownDistance, ScaleSource

_SMALL = MappingConfig(landmark_max_points=50, vocabulary_words=8, pairs_per_image=6, calibration_gap_m=0.0)


def _build(
    scene: PosedPoints,
    *,
    images: Sequence[PosedImage] | None = None,
    config: MappingConfig = _SMALL,
    scale: ScaleSource | None = None,
    features: Sequence[Features] | None = None,
) -> LandmarkMap:
    with extracting(scene.features if features is None else features):
        return build_map(scene.images() if images is None else images, name="row", config=config, scale=scale)


def _median_error_m(scene: PosedPoints, landmark_map: LandmarkMap) -> float:
    localizer = build_localizer(LocalizerConfig(), landmark_map)
    query = Query.single(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA)
    errors = []
    for found, truth in zip(scene.features, scene.poses, strict=True):
        result = localizer.localize_features((found,), query)
        errors.append(result.map_from_rig.distance_to(truth)[0] if result.map_from_rig is not None else np.inf)
    return float(np.median(errors))


def test_a_map_of_posed_images_localizes_and_describes_itself() -> None:
    scene = make_posed_points(images=12, points=350)
    landmark_map = _build(scene)
    assert _median_error_m(scene, landmark_map) < 0.01
    assert landmark_map.metric
    assert len(landmark_map.keyframes) == 12
    assert landmark_map.codes.shape == (len(landmark_map.points), 64)
    assert landmark_map.retrieval[VLAD].items.tolist() == list(range(12))
    assert landmark_map.provenance["mean_reprojection_error_px"] < 1.0
    assert landmark_map.provenance["mean_track_length"] >= 3.0


def test_keyframes_name_only_what_projects_into_them() -> None:
    landmark_map = _build(make_posed_points(images=8, points=350))
    for k in range(len(landmark_map.keyframes)):
        seen = landmark_map.points[landmark_map.keyframes.visible(k)]
        pixels = CAMERA.project(landmark_map.keyframes.pose(k).inverse().apply(seen))
        assert len(seen) > 20
        assert CAMERA.contains(pixels).mean() > 0.95


def test_the_same_images_give_the_same_map() -> None:
    scene = make_posed_points(images=6, points=350)
    first, second = _build(scene), _build(scene)
    for name in ("points", "codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.retrieval[VLAD].encoder == second.retrieval[VLAD].encoder


def test_a_map_far_from_zero_is_the_same_relative_to_its_origin() -> None:
    scene = make_posed_points(images=16, points=350)
    config = replace(_SMALL, calibration_gap_m=1.0)
    near, far = _build(scene, config=config), _build(scene.shift(UTM), config=config)
    origin = far.scene().origin
    assert not near.scene().origin.any()
    assert np.linalg.norm(origin - UTM) < 10
    assert (origin == np.round(origin)).all()
    np.testing.assert_allclose(far.points + (origin - UTM), near.points, atol=1e-5)
    np.testing.assert_allclose(far.keyframes.translations + (origin - UTM), near.keyframes.translations, atol=1e-8)
    for array in ("codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(far, array), getattr(near, array))
    np.testing.assert_array_equal(far.keyframes.point_indices, near.keyframes.point_indices)
    assert far.scene().calibration.samples == near.scene().calibration.samples > 0
    assert far.scene().calibration.scale == pytest.approx(near.scene().calibration.scale, rel=0.02)
    assert _median_error_m(scene.shift(UTM), far) < 0.01


@pytest.mark.parametrize("scale", [GivenPoses(), UNKNOWN_SCALE])
def test_images_alone_far_from_zero_give_a_map_near_its_origin(scale: ScaleSource) -> None:
    scene = make_posed_points(images=8, points=350).shift(UTM)
    landmark_map = _build(scene, scale=scale)
    assert np.abs(landmark_map.points).max() < 100
    if isinstance(scale, GivenPoses):
        assert landmark_map.provenance["largest_distance_from_given_poses_m"] < 0.03
        assert _median_error_m(scene, landmark_map) < 0.03
    else:
        assert not landmark_map.scene().origin.any()


@pytest.mark.parametrize("scale", [None, GivenPoses()])
def test_a_map_too_large_for_its_numbers_is_refused_before_the_work(scale: ScaleSource | None) -> None:
    """As it is when it is moved: float32 would lose the centimetres."""
    images = make_posed_points(images=12, points=350).images()
    far = images[5].map_from_camera
    assert far is not None
    images[5] = replace(images[5], map_from_camera=replace(far, translation=np.add(far.translation, [0.0, 2e5, 0.0])))
    with pytest.raises(InputError, match=r"images lie up to 20.... m from the map's origin, expected at most 100000 m"):
        build_map(images, name="row", config=_SMALL, scale=scale)


def test_images_alone_with_poses_for_scale_give_a_metric_map() -> None:
    scene = make_posed_points(images=8, points=350)
    landmark_map = _build(scene, scale=GivenPoses())
    assert landmark_map.metric
    agreement = [landmark_map.provenance[f"{which}_distance_from_given_poses_m"] for which in ("median", "largest")]
    assert 0 < agreement[0] < agreement[1] < 0.03
    assert _median_error_m(scene, landmark_map) < 0.03
    assert landmark_map.provenance["common_turn_from_given_poses_deg"] < 0.2


def test_a_turn_that_all_cameras_share_is_told_apart_from_those_of_each() -> None:
    """As extrinsics that are off turn them, whichever way they look."""
    rng, placed = np.random.default_rng(1), make_posed_points(images=8, points=350).poses
    scattered = [Pose.from_rotation_vector(vector, np.zeros(3)) for vector in rng.normal(0.0, 0.01, (8, 3))]
    turn = Pose.from_rotation_vector(np.radians([0.0, 2.0, 0.0]), np.zeros(3))
    for extrinsics, expected_deg in ((turn, 2.0), (Pose.identity(), 0.0)):
        measured = [pose @ extrinsics @ one for pose, one in zip(placed, scattered, strict=True)]
        found = distances_from_measurements(Placement(placed, {}, measured, Anchors()), GivenPoses())
        assert found["common_turn_from_given_poses_deg"] == pytest.approx(expected_deg, abs=0.5)


def test_an_unknown_scale_is_declared() -> None:
    scene = make_posed_points(images=6, points=350)
    assert not _build(scene, images=scene.images(posed=False), scale=UNKNOWN_SCALE).metric


@pytest.mark.parametrize(
    ("scale", "arbitrary"),
    [
        (UNKNOWN_SCALE, True),
        pytest.param(KnownDistance("000.png", "005.png", 2.0), True, marks=pytest.mark.slow),
        (GivenPoses(), False),
        (None, False),
    ],
)
def test_a_frame_that_images_alone_chose_is_declared(scale: ScaleSource | None, arbitrary: bool) -> None:
    scene = make_posed_points(images=6, points=350)
    assert _build(scene, scale=scale).scene().frame_is_arbitrary == arbitrary


def test_left_out_segments_calibrate_the_covariance() -> None:
    scene = make_posed_points(images=16, points=350)
    calibration = _build(scene, config=replace(_SMALL, calibration_gap_m=1.0)).scene().calibration
    assert 8 <= calibration.samples <= 16
    assert 0.3 <= calibration.scale <= 20.0
    assert (calibration.floor >= 0).all()


def test_too_few_images_to_leave_any_out_say_so() -> None:
    scene = make_posed_points(images=7, points=350)
    calibration = _build(scene, config=replace(_SMALL, calibration_gap_m=1.0)).scene().calibration
    assert (calibration.samples, calibration.scale) == (0, 2.0)
    assert not calibration.floor.any()


def test_the_scale_of_odometry_is_in_the_covariance_of_a_pose() -> None:
    """At the map's far end it moves a pose by its part of the way there."""
    scene = make_posed_points(images=12, points=350)
    landmark_map = _build(scene, scale=GivenPoses(drifting=True))
    exact = replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_uncertainty=FrameUncertainty()),))
    query = Query.single(np.zeros((CAMERA.height, CAMERA.width), np.uint8), CAMERA)
    results = [
        build_localizer(LocalizerConfig(), one).localize_features((scene.features[0],), query)
        for one in (landmark_map, exact)
    ]
    added, frame = results[0].covariance - results[1].covariance, landmark_map.scene().frame_uncertainty
    lever_m = results[0].map_from_rig.translation - frame.centre
    assert frame.covariance[6, 6] > 0
    of_scale = frame.covariance[6, 6] * np.outer(lever_m, lever_m)
    assert added[:3, :3] == pytest.approx(of_scale + np.diag(frame.bending[:3]))
    assert added[3:] == pytest.approx(np.diag(frame.bending)[3:])
    assert results[0].frame_covariance == pytest.approx(added)
    assert frame.bending.min() > 0


def test_an_image_that_shows_nothing_does_no_harm() -> None:
    scene = make_posed_points(images=12, points=350)
    features = [Features.empty(128) if k == 5 else found for k, found in enumerate(scene.features)]
    landmark_map = _build(scene, features=features)
    assert len(landmark_map.points) > 100
    assert not len(landmark_map.keyframes.visible(5))


def test_every_image_is_accounted_for() -> None:
    scene = make_posed_points(images=12, points=350)
    dark = [Features.empty(128) if k in (5, 6) else found for k, found in enumerate(scene.features)]
    carried = _build(scene, features=dark, scale=GivenPoses(drifting=True))
    assert np.flatnonzero(carried.keyframes.see_few_points).tolist() == [5, 6]
    assert "images_left_out" not in carried.provenance
    alone = _build(scene, images=scene.images(posed=False), features=dark, scale=UNKNOWN_SCALE)
    assert alone.provenance["images_left_out"] == ["005.png", "006.png"]


def test_a_map_of_few_of_the_images_is_refused_unless_asked_for() -> None:
    scene = make_posed_points(images=12, points=350)
    dark = [Features.empty(128) if k > 4 else found for k, found in enumerate(scene.features)]
    with pytest.raises(MapError, match=r"5 of 12 images see at least 25 points of the map, expected of at least 6"):
        _build(scene, features=dark)
    assert len(_build(scene, features=dark, config=replace(_SMALL, min_placed_share=0.4)).points) > 100


@pytest.mark.parametrize("moved_m", [pytest.param(0.0, marks=pytest.mark.slow), 0.001])
@pytest.mark.parametrize("scale", [None, GivenPoses(), UNKNOWN_SCALE])
def test_a_camera_that_stood_still_is_told_to_move(scale: ScaleSource | None, moved_m: float) -> None:
    rng, scene = np.random.default_rng(2), make_posed_points(images=2, noise_px=0.0)
    seen = scene.features[0]
    still = tuple(replace(seen, xy=seen.xy + rng.normal(0, 0.3, seen.xy.shape).astype(np.float32)) for _ in range(8))
    poses = tuple(replace(scene.poses[0], translation=rng.normal(0, moved_m, 3)) for _ in still)
    standing = replace(scene, poses=poses, features=still, point_of_keypoint=scene.point_of_keypoint[:1] * 8)
    images = standing.images(posed=scale is not UNKNOWN_SCALE)
    with pytest.raises(MapError, match="several places"):
        _build(standing, images=images, scale=scale)


def _wrong(scene: PosedPoints, what: str) -> tuple[list[PosedImage], list[Features]]:
    images, features = scene.images(), list(scene.features)
    if what == "few":
        images = images[:2]
    if what == "twice":
        images[1] = replace(images[1], name=images[0].name)
    if what == "size":
        images[1] = replace(images[1], load=lambda: np.zeros((20, 30), np.uint8))
    if what == "unposed":
        images[1] = replace(images[1], map_from_camera=None)
    if what == "black":
        features = [Features.empty(128) for _ in features]
    if what == "other poses":
        given = [image.map_from_camera for image in images]
        images = [replace(image, map_from_camera=given[-k]) for k, image in enumerate(images)]
        images = [
            replace(
                image,
                map_from_camera=replace(p, translation=p.translation + np.random.default_rng(k).normal(0, 3, 3)),
            )
            for k, (image, p) in enumerate(zip(images, given, strict=True))
        ]
    return images, features


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("few", InputError, "2 images are too few"),
        ("twice", InputError, "different names"),
        ("size", InputError, r"001\.png is 30x20.*640x480"),
        ("unposed", InputError, r"001\.png has no pose"),
        ("black", MapError, "no two of the 6 images"),
        ("other poses", MapError, "optical frames|no point is seen|has no points|too few"),
    ],
)
def test_what_makes_no_map_is_refused_in_one_line(what: str, error: type[VlocError], message: str) -> None:
    scene = make_posed_points(images=6, points=150)
    images, features = _wrong(scene, what)
    with pytest.raises(VlocError, match=message) as caught:
        _build(scene, images=images, features=features)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, error)


def test_black_images_alone_are_refused_in_one_line() -> None:
    scene = make_posed_points(images=6, points=350)
    black = [Features.empty(128) for _ in scene.features]
    with pytest.raises(VlocError, match="keypoint"):
        _build(scene, images=scene.images(posed=False), features=black, scale=UNKNOWN_SCALE)
