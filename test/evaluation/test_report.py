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

"""The report: complete, self-contained, and made from the records that it is given."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation import report_images
from vloc_ros.evaluation.report import make_report_page
from vloc_ros.evaluation.scores import score_negatives, score_results
from vloc_ros.storage.results import ResultRecord

TIMES = {"features": 40.0, "matching": 10.0}


def found(pose: Pose, inliers: int = 5) -> LocalizationResult:
    points = np.arange(inliers) * 10
    return LocalizationResult(
        Status.OK,
        pose,
        np.eye(6) * 1e-4,
        matches=9,
        inliers=inliers,
        candidate="whole_map",
        inlier_xy=np.random.default_rng(0).uniform(20, 200, (inliers, 2)).astype(np.float32),
        inlier_points=points,
        inlier_views=np.zeros(inliers, np.int32),
        times_ms=TIMES,
    )


def refused(reason: str) -> LocalizationResult:
    return LocalizationResult(Status.TOO_FEW_MATCHES, reason=reason, times_ms=TIMES)


def report_of(
    folder,
    results: Sequence[LocalizationResult],
    *,
    negatives: bool = False,
    name="frame-{}.png",
    keyframe_images=(),
    truth_from_map=None,
    **more,
) -> str:
    scene, truth = folder.scene, [folder.truth[i % len(folder.truth)] for i in range(len(results))]

    def reader(pose: Pose):
        return lambda: Query.single(scene.image(pose), CAMERA)

    sources = [QuerySource(name.format(i), reader(pose)) for i, pose in enumerate(truth)]
    records = [ResultRecord(q.name, i, result) for i, (q, result) in enumerate(zip(sources, results, strict=True))]
    if negatives:
        scores = score_negatives(records, map_bytes=1000)
        return make_report_page(scene.landmark_map, sources, records, None, scores)
    scores = score_results(records, truth, map_bytes=1000) | more
    return make_report_page(
        scene.landmark_map,
        sources,
        records,
        truth,
        scores,
        keyframe_images=keyframe_images,
        truth_from_map=truth_from_map,
    )


def data_in(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def assert_self_contained(page: str, most_bytes: int = 3_000_000) -> None:
    """Every address that a browser would load is inside the page."""
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", markup) + re.findall(r"url\(([^)]*)\)", markup)
    assert [address[:40] for address in loaded if not address.startswith("data:")] == []
    assert "@import" not in markup
    assert not re.findall(r"<script[^>]+src", page)
    assert len(page) < most_bytes


def test_report_holds_every_query_and_the_images_and_loads_nothing(scene_folder):
    truth = scene_folder.truth
    wrong = Pose(truth[1].rotation, truth[1].translation + np.array([3.0, 0.0, 0.0]))
    page = report_of(scene_folder, [found(truth[0]), found(wrong), refused("4 matches, <12 needed>")])
    data = data_in(page)
    assert_self_contained(page)
    for heading in ("Trajectory", "Error", "Queries", "Measures", "Time"):
        assert f"<h2>{heading}</h2>" in page
    assert [row["image"] for row in data["rows"]] == ["frame-0.png", "frame-1.png", "frame-2.png"]
    assert [row["false_accept"] for row in data["rows"]] == [False, True, False]
    assert data["rows"][1]["translation_m"] == pytest.approx(3.0)
    assert data["rows"][2]["translation_m"] is None
    assert sorted(data["queries"]) == ["0", "1", "2"]
    assert all(query["src"].startswith("data:image/jpeg") for query in data["queries"].values())
    assert (len(data["queries"]["0"]["inliers"]), len(data["queries"]["2"]["inliers"])) == (5, 0)


def test_the_drawing_is_of_the_cameras_whatever_outliers_the_map_has(scene_folder):
    far = scene_folder.scene.landmark_map.points.copy()
    far[0] = [5000.0, 0.0, 0.0]
    scene = replace(scene_folder.scene, landmark_map=replace(scene_folder.scene.landmark_map, points=far))
    view = data_in(report_of(replace(scene_folder, scene=scene), [found(scene_folder.truth[0])]))["view"]
    assert view["high"][0] - view["low"][0] < 10
    inside = np.array([*view["truth"], *view["keyframes"]])
    assert (inside > view["low"]).all()
    assert (inside < view["high"]).all()


def test_results_that_are_not_comparable_are_drawn_without_truth_and_errors(scene_folder):
    page = report_of(scene_folder, [found(scene_folder.truth[0])], not_comparable="another frame")
    assert "Not comparable: another frame." in page
    assert "<h2>Error</h2>" not in page
    assert data_in(page)["view"]["truth"] == [None]


def test_the_truth_of_aligned_results_is_drawn_where_it_lies_in_the_map(scene_folder):
    """The truth has axes of its own: turned by a right angle about z, moved, and twice as long."""
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    truth_from_map = Similarity(2.0, turn, np.array([7.0, 8.0, 9.0]))
    folder = replace(scene_folder, truth=[truth_from_map.apply_to_pose(pose) for pose in scene_folder.truth])
    results = [found(pose) for pose in scene_folder.truth]
    view = data_in(report_of(folder, results, truth_from_map=truth_from_map))["view"]
    np.testing.assert_allclose(view["truth"], view["estimates"], atol=2e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_report_of_nothing_but_refusals(scene_folder, count):
    page = report_of(scene_folder, [refused("too dark")] * count)
    assert_self_contained(page)
    assert "infinite" in page
    assert data_in(page)["view"]["estimates"] == [None] * count


def test_report_of_negatives_has_no_errors(scene_folder):
    page = report_of(scene_folder, [refused("no"), found(Pose.identity(), inliers=4)], negatives=True)
    data = data_in(page)
    assert_self_contained(page)
    assert [row["false_accept"] for row in data["rows"]] == [False, True]
    assert data["view"] is None
    assert "accepted, all falsely" in page
    assert "<h2>Trajectory</h2>" not in page


def test_a_name_cannot_break_out_of_the_page(scene_folder):
    name = "</script ><script>alert(1)</script>{}<b>&.png"
    page = report_of(scene_folder, [refused("</script><i>")], name=name)
    assert data_in(page)["rows"][0]["image"] == name.format(0)
    assert "<" not in page.split('id="data">')[1].split("</script>")[0]
    assert "alert(1)</script>" not in page
    assert "</script><i>" not in page


LIVE = {"images": 80, "answered": 80, "dropped": 54, "handled": 26, "handled_hz": 1.6, "rate_hz": 6.0}


@pytest.mark.parametrize("changes", [{}, {"not_comparable": "its frame is arbitrary"}])
def test_dropped_images_have_a_tile_and_no_latency_is_no_number(scene_folder, changes):
    records = [ResultRecord("a.png", 0, LocalizationResult.refused(Status.NO_CANDIDATES, "no transform"))]
    truth = scene_folder.truth[:1]
    scores = score_results(records, truth, map_bytes=1) | changes | {"live": LIVE}
    sources = [QuerySource("a.png", lambda: Query.single(scene_folder.scene.image(truth[0]), CAMERA))]
    page = make_report_page(scene_folder.scene.landmark_map, sources, records, truth, scores)
    assert "<b>54 / 80</b><span>dropped, 1.6 of 6.0 Hz handled</span>" in page
    assert "<b>unknown</b><span>per image, median</span>" in page
    assert ("Not comparable: its frame is arbitrary." in page) == bool(changes)


@pytest.mark.parametrize(
    ("nees", "bad"), [(1.2, False), (2.9, False), (0.4, False), (3.1, True), (0.3, True), (None, True)]
)
def test_the_tile_of_the_nees_is_bad_far_from_one(scene_folder, nees, bad):
    covariance = {"nees_per_dof": nees, "inside_95": 1.0, "position_inside_95": 1.0}
    page = report_of(scene_folder, [found(scene_folder.truth[0])], covariance=covariance)
    text = "infinite" if nees is None else f"{nees:.2f}"
    assert f'<div class="tile{" bad" if bad else ""}"><b>{text}</b><span>NEES' in page


@pytest.mark.parametrize(("error_m", "text"), [(0.0234, "2.34 cm"), (17.7947, "17.79 m")])
def test_a_large_error_is_in_metres(scene_folder, error_m, text):
    truth = scene_folder.truth[0]
    page = report_of(scene_folder, [found(Pose(truth.rotation, truth.translation + np.array([error_m, 0.0, 0.0])))])
    assert f"<b>{text}</b><span>median position error" in page


def test_report_needs_a_true_pose_per_result(scene_folder):
    records = [ResultRecord("a.png", 0, refused("no"))]
    with pytest.raises(InputError, match="true poses"):
        make_report_page(scene_folder.scene.landmark_map, [], records, scene_folder.truth, {})


def test_of_many_queries_the_worst_and_an_even_sample_have_images(scene_folder, monkeypatch):
    monkeypatch.setattr(report_images, "WORST", 2)
    monkeypatch.setattr(report_images, "SAMPLED", 3)
    truth = scene_folder.truth
    results = [found(truth[i % len(truth)]) for i in range(21)]
    results[7] = refused("no")
    results[13] = found(Pose(truth[1].rotation, truth[1].translation + np.array([3.0, 0.0, 0.0])))
    page = report_of(scene_folder, results)
    assert sorted(map(int, data_in(page)["queries"])) == [0, 7, 10, 13, 20]
    assert len(data_in(page)["rows"]) == 21
    assert "All 21, of which 5 have their image" in page


def test_a_query_stands_beside_the_keyframe_that_shares_most_inliers(scene_folder, tmp_path):
    scene = scene_folder.scene
    keyframes = replace(scene.landmark_map.keyframes, cameras=(CAMERA,) * 8)
    with_cameras = replace(scene, landmark_map=replace(scene.landmark_map, keyframes=keyframes))
    paths = []
    for k in range(8):
        paths.append(tmp_path / f"{k}.png")
        cv2.imwrite(str(paths[-1]), scene.image(keyframes.pose(k)))
    seen = keyframes.visible(3)[::40]
    result = replace(found(scene_folder.truth[0], inliers=len(seen)), inlier_points=seen.astype(np.int64))
    data = data_in(report_of(replace(scene_folder, scene=with_cameras), [result], keyframe_images=paths))
    query = data["queries"]["0"]
    shared = [np.isin(seen, keyframes.visible(k)).sum() for k in range(8)]
    assert query["keyframe"] == int(np.argmax(shared))
    assert data["keyframes"][str(query["keyframe"])]["name"] == f"{query['keyframe']}.png"
    expected = CAMERA.project(keyframes.pose(query["keyframe"]).inverse().apply(scene.landmark_map.points[seen]))
    own = np.array([row[4:] for row in query["inliers"]], dtype=float)
    visible = np.isfinite(own[:, 0])
    assert visible.any()
    np.testing.assert_allclose(own[visible], expected[visible], atol=0.06)


def test_the_view_from_above_has_the_axes_and_coordinates_of_the_map(scene_folder):
    """Also where the map lies far from zero."""
    landmark_map = scene_folder.scene.landmark_map
    away = np.array([500.0, 0.0, -900.0])
    moved = replace(landmark_map, scenes=(replace(landmark_map.scenes[0], origin=away),))
    truth = [Pose(pose.rotation, pose.translation + away) for pose in scene_folder.truth]
    folder = replace(scene_folder, scene=replace(scene_folder.scene, landmark_map=moved))
    view = data_in(report_of(replace(folder, truth=truth), [refused("no")]))["view"]
    assert view["axes"] == ["x, m", "z, m"]
    np.testing.assert_allclose(view["truth"][0], truth[0].translation[[0, 2]], atol=1e-4)
    inside = np.array(view["keyframes"])
    assert ((inside > view["low"]) & (inside < view["high"])).all()
