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

"""Keypoint models that are missing from a map, damaged or of another version, and a GPU that is not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive
from fault_rows import FaultRow, count_statuses
from learned_wall import LearnedWall
from rclpy.parameter import Parameter
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import LoadMap
from vloc_ros.inference import models
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.storage.arrays import encode_array
from vloc_ros.storage.manifests import MANIFEST, manifest_bytes
from vloc_ros.storage.maps import map_hash, read_map

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_GRAPH = "keypoint_model/graph"


@pytest.fixture
def maps(learned_wall: LearnedWall, tmp_path: Path) -> Path:
    """A folder of maps that a test may damage."""
    shutil.copytree(learned_wall.map, tmp_path / "maps" / "learned")
    return tmp_path / "maps"


@pytest.fixture
def served(ros: Ros, drive_with: Callable[..., Drive], maps: Path, tmp_path: Path) -> Drive:
    """A robot that gets its map, with the model, from a map server."""
    ros.add(MapServerNode, autostart=True, map=str(maps / "learned"), maps_folder=str(maps))
    drive = drive_with(map="", map_cache=str(tmp_path / "cache"))
    drive.await_map(map_hash(maps / "learned"))
    drive.warm_up()
    return drive


def _load(ros: Ros, name: str) -> LoadMap.Response:
    return ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name=name))


def _graph_file(folder: Path) -> Path:
    return folder / json.loads((folder / MANIFEST).read_text())["arrays"][_GRAPH]["file"]


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a map, with a valid hash."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    del manifest["hash"]
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest)[0])


def _without_an_entry(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest.pop("keypoint_model"))


def _without_a_file(folder: Path) -> None:
    _graph_file(folder).unlink()


def _truncated(folder: Path) -> None:
    os.truncate(_graph_file(folder), _graph_file(folder).stat().st_size // 2)


def _altered(folder: Path) -> None:
    data = bytearray(_graph_file(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _graph_file(folder).write_bytes(data)


def _of_another_hash(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest["extractor"].update(model_hash="ab" * 32))


_DAMAGES = {
    "missing from the manifest": _without_an_entry,
    "missing as a file": _without_a_file,
    "truncated": _truncated,
    "altered": _altered,
    "not that of the extractor": _of_another_hash,
}


def test_maps_whose_model_is_missing_or_damaged(served: Drive, maps: Path, row: FaultRow) -> None:
    expected, reasons = map_hash(maps / "learned"), []
    for number, damage in enumerate(_DAMAGES.values()):
        shutil.copytree(maps / "learned", maps / f"damaged-{number}")
        damage(maps / f"damaged-{number}")
        response = _load(served.ros, f"damaged-{number}")
        assert response.result == LoadMap.Response.INVALID_MAP, damage
        reasons.append(response.message)
        assert served.status_of(served.send().stamp_ns).map_hash == expected
    assert all("again" in reason for reason in reasons)
    row.record(
        f"load_map of maps of a learned extractor whose keypoint model is {', '.join(_DAMAGES)}, one after the other",
        f"{len(reasons)} INVALID_MAP, each with its reason; the previous map stays in use",
        back_s=served.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _altered_behind_its_checksums(folder: Path) -> None:
    graph = read_map(folder).keypoint_model.graph.copy()
    graph[len(graph) // 2] ^= 1
    entry, data = encode_array(_GRAPH, graph)
    (folder / entry["file"]).write_bytes(data)
    _edit(folder, lambda manifest: manifest["arrays"].update({_GRAPH: entry}))


def _of_a_newer_version(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest["keypoint_model"].update(version=models.VERSION + 1))


def test_maps_whose_model_only_the_localizer_can_check(served: Drive, ros: Ros, maps: Path, row: FaultRow) -> None:
    expected, first, reasons = map_hash(maps / "learned"), len(served.sent), []
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    changes = {"has format version": _of_a_newer_version, "was altered": _altered_behind_its_checksums}
    for number, (words, change) in enumerate(changes.items()):
        shutil.copytree(maps / "learned", maps / f"changed-{number}")
        change(maps / f"changed-{number}")
        assert _load(ros, f"changed-{number}").result == LoadMap.Response.SUCCESS
        found = diagnostics.wait(lambda all_, words=words: any(_error_with(m, words) for m in all_), words)
        reasons.append(next(text for message in found if (text := _error_with(message, words))))
        assert served.status_of(served.send().stamp_ns).map_hash == expected
    statuses = served.wait_for_statuses()[first:]
    assert {status.status for status in statuses} == {LocalizationStatus.OK}
    assert _load(ros, "learned").result == LoadMap.Response.SUCCESS
    row.record(
        "load_map of maps whose keypoint model is of a newer version, and altered together with the map's checksums",
        f"the localizer refuses both, and the previous map stays in use: {count_statuses(statuses)}; on /diagnostics: "
        + "; ".join(reason.partition(": ")[2] for reason in reasons),
        back_s=served.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _error_with(message: DiagnosticArray, words: str) -> str:
    errors = [s.message for s in message.status if s.level == DiagnosticStatus.ERROR]
    return next((text for text in errors if words in text), "")


def test_a_gpu_that_is_not_there(
    ros: Ros,
    drive_with: Callable[..., Drive],
    learned_wall: LearnedWall,
    row: FaultRow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    diagnostics, words = ros.collect(DiagnosticArray, "/diagnostics"), "no CUDAExecutionProvider here"
    drive = drive_with(map=str(learned_wall.map))
    drive.warm_up()
    for transition in (drive.node.trigger_deactivate, drive.node.trigger_cleanup):
        transition()
    assert drive.node.set_parameters([Parameter("inference.provider", value="CUDAExecutionProvider")])[0].successful
    drive.node.trigger_configure()
    assert drive.node.state == "unconfigured"
    found = diagnostics.wait(lambda all_: any(_error_with(m, words) for m in all_), words)
    reason = next(text for message in found if (text := _error_with(message, words)))
    assert drive.node.set_parameters([Parameter("inference.provider", value="CPUExecutionProvider")])[0].successful
    drive.node.trigger_configure()
    drive.node.trigger_activate()
    drive.await_listener()
    row.record(
        "the localizer is configured with inference.provider CUDAExecutionProvider where ONNX Runtime has none, then "
        "with CPUExecutionProvider",
        f"it stays unconfigured and runs nothing on the CPU instead; on /diagnostics: {reason}",
        back_s=drive.localize_next(within_s=_BACK_S),
        within_s=_BACK_S,
    )
