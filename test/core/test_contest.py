"""Two rooms that are furnished alike: the one that the image shows leads, also where the other's map holds more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.scoring import KeypointGrid, PredictedVisibility
from vloc_ros.core.localization.selection import Hypothesis, score_margin
from vloc_ros.core.map.landmark_map import Keyframes, LandmarkMap, LandmarkTable, Scene

MIN_LEAD = LocalizerConfig().verification.min_score_margin
AWAY = np.array([20.0, 0.0, 0.0])
NO_MATCHES = Matches(np.zeros(0, np.int32), np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros((0, 3)))
VIEWS = [looking(yaw, (0.2, -0.3, 1.1)) for yaw in (0.4, 1.9, 3.3, 4.6)]


def _with_twin(scene: SyntheticScene, *, mapped: float, different: float) -> LandmarkMap:
    """The room with a part of its points mapped, and 20 m away a twin with all, a part of which look different."""
    room, rng = scene.landmark_map, np.random.default_rng(3)
    count = len(room.points)
    kept = np.sort(rng.permutation(count)[: round(mapped * count)])
    codes = room.codes.copy()
    # things, not points, differ: whole stretches of the walls
    stretch = (room.points @ np.array([1.3, 0.7, 0.0]) // 0.2).astype(int)
    other = rng.random(stretch.max() - stretch.min() + 1)[stretch - stretch.min()] < different
    codes[other] = np.roll(room.codes, 7, axis=0)[other]
    number = np.full(count, -1)
    number[kept] = np.arange(len(kept))
    here = [number[room.keyframes.visible(k)] for k in range(len(room.keyframes))]
    there = [room.keyframes.visible(k) + len(kept) for k in range(len(room.keyframes))]
    visible = [*(v[v >= 0] for v in here), *there]
    return replace(
        room,
        scenes=(replace(room.scene(), points=range(len(kept) + count), keyframes=range(len(visible))),),
        points=np.concatenate([room.points[kept], room.points + AWAY]).astype(np.float32),
        landmark_ids=np.concatenate([room.landmark_ids[kept], room.landmark_ids]),
        codes=np.concatenate([room.codes[kept], codes]),
        keyframes=Keyframes(
            tuple(f"{k}.png" for k in range(len(visible))),
            np.concatenate([room.keyframes.rotations] * 2),
            np.concatenate([room.keyframes.translations, room.keyframes.translations + AWAY]),
            np.cumsum([0, *map(len, visible)]),
            np.concatenate(visible).astype(np.int32),
        ),
        places={},
    )


def _in_two_scenes(landmark_map: LandmarkMap, first: int) -> LandmarkMap:
    """Each of the rooms in a scene of its own, as of maps that were merged."""
    points, keyframes = len(landmark_map.points), len(landmark_map.keyframes)
    ids = landmark_map.landmark_ids.copy()
    ids[first:] += 4
    scenes = (
        Scene("here", range(first), range(keyframes // 2)),
        Scene("there", range(first, points), range(keyframes // 2, keyframes)),
    )
    table = LandmarkTable(np.arange(8), np.repeat(np.arange(2, dtype=np.int32), 4))
    return replace(landmark_map, scenes=scenes, landmark_ids=ids, landmarks=table)


# in one scene the two rooms of this map share their landmarks
@pytest.mark.parametrize(("two_scenes", "landmarks_min_points"), [(False, 30000), (True, 30000), (True, 0)])
@pytest.mark.parametrize(("mapped", "different"), [(0.7, 0.0), (0.7, 0.15), (0.7, 0.3), (0.5, 0.0), (0.5, 0.15)])
def test_the_twin_is_not_taken_for_the_room(
    scene: SyntheticScene, mapped: float, different: float, two_scenes: bool, landmarks_min_points: int
) -> None:
    """Where the twin is mapped better, in the same scene or in another one, whichever way it is searched."""
    landmark_map = _with_twin(scene, mapped=mapped, different=different)
    if two_scenes:
        landmark_map = _in_two_scenes(landmark_map, len(landmark_map.points) - len(scene.landmark_map.points))
    config = LocalizerConfig(candidates=CandidateConfig(landmarks_min_points=landmarks_min_points))
    localizer = build_localizer(config, landmark_map)
    results = [localizer.localize_features((scene.features(v, noise_px=1.0),), scene.query()) for v in VIEWS]
    for view, result in zip(VIEWS, results, strict=True):
        assert result.frame_id in ("", "here", "map")
        assert not result.ok or result.map_from_rig.distance_to(view)[0] < 0.05
    answered = sum(result.ok for result in results)
    assert answered >= 3 if different else all(result.status is Status.AMBIGUOUS for result in results)


def _hypothesis(landmark_map: LandmarkMap, lookout: KeypointGrid, pose: Pose, points: Array) -> Hypothesis:
    inliers = lookout.sight(pose, points).matches.point_indices
    return Hypothesis.of(pose, inliers, lookout, landmark_map)


def _leads(scene: SyntheticScene, *, mapped: float, different: float) -> list[float]:
    landmark_map = _with_twin(scene, mapped=mapped, different=different)
    first = len(landmark_map.points) - len(scene.landmark_map.points)
    leads = []
    for view in VIEWS:
        lookout = KeypointGrid(landmark_map, (scene.features(view, noise_px=1.0),), scene.query())
        right = _hypothesis(landmark_map, lookout, view, np.arange(first))
        there = Pose(view.rotation, view.translation + AWAY)
        wrong = _hypothesis(landmark_map, lookout, there, np.arange(first, len(landmark_map.points)))
        assert score_margin(right, wrong) == pytest.approx(-score_margin(wrong, right))
        leads.append(score_margin(right, wrong))
    return leads


@pytest.mark.parametrize("mapped", [1.0, 0.5])
def test_the_room_that_the_image_shows_leads(scene: SyntheticScene, mapped: float) -> None:
    assert min(_leads(scene, mapped=mapped, different=0.3)) > MIN_LEAD


def test_neither_of_two_copies_leads(scene: SyntheticScene) -> None:
    assert max(np.abs(_leads(scene, mapped=1.0, different=0.0))) < 0.01
    assert max(np.abs(_leads(scene, mapped=0.5, different=0.0))) < 0.01


def test_how_many_keypoints_a_place_was_found_by_does_not_matter(scene: SyntheticScene) -> None:
    landmark_map = _with_twin(scene, mapped=1.0, different=0.0)
    count = len(scene.landmark_map.points)
    lookout = KeypointGrid(landmark_map, (scene.features(VIEWS[0]),), scene.query())
    many = _hypothesis(landmark_map, lookout, VIEWS[0], np.arange(count))
    there = _hypothesis(landmark_map, lookout, Pose(VIEWS[0].rotation, VIEWS[0].translation + AWAY),
                        np.arange(count, 2 * count))  # fmt: skip
    few = Hypothesis.of(there.map_from_rig, there.inlier_points[::8], lookout, landmark_map)
    assert abs(score_margin(many, few)) < 0.02


def _seen(expected: list[int], likeness: list[float]) -> Hypothesis:
    """What a hypothesis predicts in some regions of each view, and how alike the image is there."""
    counts, alike = np.zeros((len(expected) // 4, 64), int), np.zeros((len(expected) // 4, 64))
    counts[:, :4], alike[:, :4] = np.reshape(expected, (-1, 4)), np.reshape(likeness, (-1, 4))
    sight = PredictedVisibility(counts.ravel(), counts.ravel(), alike.ravel(), counts.ravel(), NO_MATCHES)
    return Hypothesis(Pose.identity(), np.zeros(0, np.int64), sight)


def test_a_bare_wall_counts_as_much_as_a_full_shelf() -> None:
    shelf_and_wall = [400, 300, 2, 1]
    right, wrong = _seen(shelf_and_wall, [0.7, 0.7, 0.9, 0.8]), _seen(shelf_and_wall, [0.75, 0.7, 0.1, 0.2])
    assert score_margin(right, wrong) == pytest.approx(((-(0.05**2) + 0.8**2 + 0.6**2) / 4) ** 0.5)
    blind = _seen([400, 300, 0, 1], [0.7, 0.7, 0, 0.2])
    assert score_margin(right, blind) == pytest.approx((0.6**2 / 3) ** 0.5)


def test_one_region_in_common_does_not_decide() -> None:
    wide, narrow = _seen([30, 30, 30, 30], [0.3, 0.8, 0.8, 0.8]), _seen([1, 0, 0, 0], [0.5, 0, 0, 0])
    assert score_margin(wide, narrow) > 0.3
    assert score_margin(narrow, wide) == pytest.approx(-score_margin(wide, narrow))
    assert score_margin(wide, _seen([0] * 4, [0.0] * 4)) > 0


def test_one_camera_has_one_voice_however_much_it_sees() -> None:
    right = _seen([9, 9, 9, 9, 0, 9, 0, 0, 9, 0, 0, 0], [0.1] * 4 + [0, 0.9, 0, 0] + [0.9, 0, 0, 0])
    wrong = _seen([9, 9, 9, 9, 0, 9, 0, 0, 9, 0, 0, 0], [0.9] * 4 + [0, 0.1, 0, 0] + [0.1, 0, 0, 0])
    assert score_margin(right, wrong) == pytest.approx(0.8 / 3**0.5)


@pytest.mark.parametrize("covered", [1, 3])
def test_a_covered_camera_has_no_voice(covered: int) -> None:
    expected, dark = [9] * 4 * (1 + covered), [0.0] * 4 * covered
    right, wrong = _seen(expected, [0.9, 0.8, 0.7, 0.6, *dark]), _seen(expected, [0.8, 0.7, 0.6, 0.5, *dark])
    keypoints = np.concatenate([np.full(64, 5), np.zeros(64 * covered, int)])
    sights = [replace(found, sight=replace(found.sight, keypoints=keypoints)) for found in (right, wrong)]
    assert score_margin(*sights) == pytest.approx(0.1)
