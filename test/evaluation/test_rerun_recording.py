"""Recordings hold what the viewer of rerun shows: read back by rerun itself."""

from pathlib import Path

import numpy as np
import pytest

chunk = pytest.importorskip(
    "rerun.chunk", reason="no rerun, or one that reads no recordings: pip install 'vloc_ros[rerun]'"
)

from plane_scene import CAMERA  # noqa: E402
from test_report import found, refused  # noqa: E402

from vloc_ros.core.query import Query  # noqa: E402
from vloc_ros.core.sources import QuerySource  # noqa: E402
from vloc_ros.evaluation.map_page import QueryPose  # noqa: E402
from vloc_ros.evaluation.rerun_recording import record_map, record_run  # noqa: E402
from vloc_ros.storage.results import ResultRecord  # noqa: E402


def entities_in(recording: bytes, folder: Path) -> dict[str, list]:
    """The chunks of every entity, among them one for each timeline and component."""
    path = folder / "recording.rrd"
    path.write_bytes(recording)
    chunks: dict[str, list] = {}
    for part in chunk.RrdReader(path).stream():
        chunks.setdefault(str(part.entity_path), []).append(part)
    return chunks


def test_a_run_has_image_inliers_pose_covariance_and_truth(scene_folder, tmp_path):
    scene, truth = scene_folder.scene, scene_folder.truth[:3]
    sources = [QuerySource(f"{i}.png", lambda p=p: Query.single(scene.image(p), CAMERA)) for i, p in enumerate(truth)]
    results = [found(truth[0]), refused("dark"), found(truth[2])]
    records = [ResultRecord(f"{i}.png", i * 10**9, result) for i, result in enumerate(results)]
    entities = entities_in(record_run(scene.landmark_map, sources, records, truth), tmp_path)
    assert {
        "/scene/points",
        "/scene/truth",
        "/scene/true_pose",
        "/scene/estimate",
        "/scene/estimate/image",
        "/scene/estimate/image/inliers",
        "/scene/covariance",
        "/plots/position_error_cm",
        "/results",
    } <= set(entities)
    assert [part.num_rows for part in entities["/scene/estimate/image"]] == [3]
    assert {"query", "time"} <= set(entities["/scene/estimate/image"][0].timeline_names)
    assert sum(part.num_rows for part in entities["/plots/position_error_cm"]) == 2


def test_negatives_have_no_truth(scene_folder, tmp_path):
    scene = scene_folder.scene
    source = QuerySource("a.png", lambda: Query.single(np.zeros((240, 320), np.uint8), CAMERA))
    recording = record_run(scene.landmark_map, [source], [ResultRecord("a.png", None, refused("dark"))], None)
    entities = entities_in(recording, tmp_path)
    assert "/scene/estimate/image" in entities
    assert not {"/scene/truth", "/scene/true_pose", "/plots/position_error_cm"} & set(entities)


def test_a_map_has_points_keyframes_and_queries(scene_folder, tmp_path):
    query = QueryPose("a.png", scene_folder.truth[0], "error 1.00 cm")
    entities = entities_in(record_map(scene_folder.scene.landmark_map, queries=[query]), tmp_path)
    assert {"/scene/points", "/scene/queries", *(f"/scene/keyframes/{k}" for k in range(8))} <= set(entities)
