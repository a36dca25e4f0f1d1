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


def timeline_of(parts: list, name: str) -> list:
    """When the rows of an entity are, however rerun has divided them into chunks."""
    return sorted(
        value for part in parts for value in part.to_record_batch().column(name).to_numpy(zero_copy_only=False)
    )


def test_dates_are_exact(scene_folder, tmp_path):
    """To the nanosecond, which seconds as a floating-point number are not."""
    scene, stamps_ns = scene_folder.scene, [1_700_000_000_123_456_789, 1_700_000_000_223_456_790]
    source = QuerySource("a.png", lambda: Query.single(np.zeros((240, 320), np.uint8), CAMERA))
    records = [ResultRecord("a.png", stamp_ns, refused("dark")) for stamp_ns in stamps_ns]
    entities = entities_in(record_run(scene.landmark_map, [source] * 2, records, None), tmp_path)
    assert timeline_of(entities["/results"], "time") == [np.datetime64(stamp_ns, "ns") for stamp_ns in stamps_ns]


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
    assert sum(part.num_rows for part in entities["/scene/estimate/image"]) == 3
    assert timeline_of(entities["/scene/estimate/image"], "query") == [0, 1, 2]
    assert timeline_of(entities["/scene/estimate/image"], "time") == [np.timedelta64(i, "s") for i in range(3)]
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
