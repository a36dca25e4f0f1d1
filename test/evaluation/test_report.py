"""The report: complete, self-contained, and drawn from the records that it is given."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest
from plane_scene import CAMERA

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation.figures import draw_error_curves, ground_plane
from vloc_ros.evaluation.overlays import draw_overlay
from vloc_ros.evaluation.report import make_report_page
from vloc_ros.evaluation.scores import compute_errors, score_negatives, score_results
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


def report_of(folder, results: Sequence[LocalizationResult], *, negatives: bool = False) -> str:
    scene, truth = folder.scene, folder.truth[: len(results)]

    def reader(pose: Pose):
        return lambda: Query.single(scene.image(pose), CAMERA)

    sources = [QuerySource(f"frame-{i}.png", reader(pose)) for i, pose in enumerate(truth)]
    records = [ResultRecord(q.name, i, result) for i, (q, result) in enumerate(zip(sources, results, strict=True))]
    if negatives:
        scores = score_negatives(records, map_bytes=1000)
        return make_report_page(scene.landmark_map, sources, records, None, scores)
    scores = score_results(records, truth, map_bytes=1000)
    return make_report_page(scene.landmark_map, sources, records, truth, scores)


def assert_self_contained(page: str) -> None:
    """Every address that a browser would load is inside the page."""
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(([^)]*)\)", page)
    assert [address[:40] for address in loaded if not address.startswith("data:")] == []
    assert "@import" not in page
    assert len(page) < 5_000_000


def test_report_shows_trajectory_errors_and_worst_cases_and_loads_nothing(scene_folder):
    truth = scene_folder.truth
    wrong = Pose(truth[1].rotation, truth[1].translation + np.array([3.0, 0.0, 0.0]))
    page = report_of(scene_folder, [found(truth[0]), found(wrong), refused("4 matches, <12 needed>")])
    assert_self_contained(page)
    for heading in ("Trajectory", "Error", "Measures", "Time", "Worst cases"):
        assert f"<h2>{heading}</h2>" in page
    assert "300.00 cm" in page
    assert "4 matches, &lt;12 needed&gt;" in page
    assert page.index("frame-1.png</b>") < page.index("frame-0.png</b>"), "the worst comes first"
    assert page.count("data:image/jpeg") == 3
    assert page.count("data:image/svg+xml") == 5


def test_report_of_nothing_but_refusals(scene_folder):
    page = report_of(scene_folder, [refused("too dark"), refused("too dark")])
    assert_self_contained(page)
    assert "infinite" in page


def test_report_of_negatives_shows_false_accepts_first(scene_folder):
    page = report_of(scene_folder, [refused("no"), found(Pose.identity(), inliers=4)], negatives=True)
    assert_self_contained(page)
    assert page.index("frame-1.png</b>") < page.index("frame-0.png</b>")
    assert "accepted, all falsely" in page


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


def test_report_needs_a_true_pose_per_result(scene_folder):
    records = [ResultRecord("a.png", 0, refused("no"))]
    with pytest.raises(InputError, match="true poses"):
        make_report_page(scene_folder.scene.landmark_map, [], records, scene_folder.truth, {})


def test_overlay_draws_inliers_and_reprojection_errors(scene_folder):
    scene, pose = scene_folder.scene, scene_folder.truth[0]
    query = Query.single(scene.image(pose), CAMERA)
    bare = draw_overlay(scene.landmark_map, query, refused("no"))
    assert bare.startswith(b"\xff\xd8\xff")
    assert draw_overlay(scene.landmark_map, query, found(pose)) != bare


def test_error_curve_draws_the_same_bytes_for_the_same_results():
    records = [ResultRecord("a.png", 0, found(Pose.identity()))]
    errors = compute_errors(records, [Pose.identity()])
    drawing = draw_error_curves(errors)
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert drawing == draw_error_curves(errors)


def test_view_from_above_looks_along_the_cameras_vertical(scene_folder):
    plane = ground_plane(scene_folder.scene.landmark_map)
    np.testing.assert_allclose(plane @ plane.T, np.eye(2), atol=1e-12)
    # the wall's cameras have y down: from above one sees x to the right and z away
    assert np.cross(plane[0], plane[1]) @ [0, -1, 0] > 0.99
    assert plane[0] @ [1, 0, 0] > 0.99
