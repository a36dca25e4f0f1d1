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

"""Map server and localizer with a map that carries a keypoint model."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from learned_wall import LearnedWall, build_learned_map
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from plane_scene import poses
from rclpy.parameter import Parameter
from recorded_cuda import RecordedCuda
from robot import Robot
from ros_session import Ros
from software_gpu import use_software_gpu, write_software_engine

from vloc_msgs.msg import LocalizationStatus, MapInfo
from vloc_msgs.srv import GetMapChunk, LoadMap
from vloc_ros.core.errors import ModelError
from vloc_ros.inference.engine_cache import EngineKey, Profile, lock_engine
from vloc_ros.nodes.localizer import loaded_map, models
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.storage.maps import map_hash, read_manifest, read_map, write_map

GRAPH = "keypoint_model/graph"
PROFILE: Profile = {"image": ((96, 96), (480, 640), (480, 640)), "min_score": ((1,), (1,), (1,))}


@pytest.fixture
def maps(learned_wall: LearnedWall, tmp_path: Path) -> Path:
    """A folder of maps: `first` and `renamed` of one model, `other` of another one."""
    first = read_map(learned_wall.map)
    write_map(first, tmp_path / "maps" / "first")
    write_map(replace(first, name="renamed"), tmp_path / "maps" / "renamed")
    other = build_learned_map(learned_wall.scene, learned_wall.other_model, poses(14, seed=4))
    write_map(other, tmp_path / "maps" / "other")
    return tmp_path / "maps"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that the map server is requested to send a chunk of."""
    files: list[str] = []
    chunk = MapServerNode._chunk

    def record(self: MapServerNode, request: GetMapChunk.Request) -> tuple[int, str, bytes]:
        files.append(request.file)
        return chunk(self, request)

    monkeypatch.setattr(MapServerNode, "_chunk", record)
    return files


def _file(folder: Path) -> str:
    return str(read_manifest(folder)["arrays"][GRAPH]["file"])


def test_a_localizer_fetches_the_model_with_the_map_and_once(
    ros: Ros, wall: Wall, maps: Path, tmp_path: Path, fetched: list[str]
) -> None:
    ros.add(MapServerNode, autostart=True, map=str(maps / "first"), maps_folder=str(maps))
    robot = Robot(ros, wall, map="", map_cache=str(tmp_path / "cache"))
    robot.activate()
    ros.until(lambda: robot.node.map_hash == map_hash(maps / "first"))
    assert _file(maps / "first") in fetched
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK
    for number, name in enumerate(("renamed", "other"), start=3):
        fetched.clear()
        ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name=name))
        digest = map_hash(maps / name)
        ros.until(lambda digest=digest: robot.node.map_hash == digest)
        assert robot.status_of(robot.send(number)).status == LocalizationStatus.OK
        # a map of another name has all arrays of the first; one of another model has another graph
        assert fetched == ["manifest.json"] if name == "renamed" else _file(maps / name) in fetched


def test_a_damaged_array_of_another_map_in_the_cache_is_fetched(
    ros: Ros, wall: Wall, maps: Path, tmp_path: Path, fetched: list[str]
) -> None:
    ros.add(MapServerNode, autostart=True, map=str(maps / "first"), maps_folder=str(maps))
    robot = Robot(ros, wall, map="", map_cache=str(tmp_path / "cache"))
    robot.activate()
    ros.until(lambda: robot.node.map_hash == map_hash(maps / "first"))
    graph = tmp_path / "cache" / robot.node.map_hash / _file(maps / "first")
    graph.write_bytes(bytes(graph.stat().st_size))
    fetched.clear()
    ros.call(LoadMap, "vloc_map_server/load_map", LoadMap.Request(name="renamed"))
    ros.until(lambda: robot.node.map_hash == map_hash(maps / "renamed"))
    assert graph.name in fetched
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK


def test_changed_parameters_load_no_second_network(
    ros: Ros, wall: Wall, learned_wall: LearnedWall, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(ros, wall, map=str(learned_wall.map))
    robot.activate()
    before, built = robot.node._loaded.localizer.extractor, []
    build = loaded_map.build_localizer
    monkeypatch.setattr(
        loaded_map, "build_localizer", lambda *args, **named: built.append(named) or build(*args, **named)
    )
    (response,) = robot.node.set_parameters([Parameter("candidates.retrieval_top_k", value=7)])
    assert response.successful
    assert built[0]["extractor"] is before is robot.node._loaded.localizer.extractor
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK


def test_where_models_run_is_read_when_the_node_is_configured(ros: Ros, wall: Wall, learned_wall: LearnedWall) -> None:
    robot = Robot(ros, wall, map=str(learned_wall.map), **{"inference.threads": 1})
    robot.activate()
    for name, value in (("inference.provider", "CUDAExecutionProvider"), ("inference.threads", 2)):
        (response,) = robot.node.set_parameters([Parameter(name, value=value)])
        assert not response.successful
        assert response.reason.startswith(f"{name} is read when the node is configured")
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK


def test_a_provider_that_is_not_there_stops_the_configuration(ros: Ros, wall: Wall, learned_wall: LearnedWall) -> None:
    missing = {"inference.provider": "OpenVINOExecutionProvider"}
    robot = Robot(ros, wall, map=str(learned_wall.map), **missing)
    reports = ros.collect(DiagnosticArray, "/diagnostics")
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    wanted = "ONNX Runtime has no OpenVINOExecutionProvider here, expected one of"
    reports.wait(lambda all_: any(wanted in s.message for m in all_ for s in m.status), "the reason")


def test_an_engine_is_waited_for_while_it_is_built_and_its_absence_stops_the_configuration(
    ros: Ros, wall: Wall, learned_wall: LearnedWall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = {"inference.engine": "tensorrt", "inference.precision": "fp16", "inference.engine_wait_s": 0.3}
    robot = Robot(ros, wall, map=str(learned_wall.map), **engine)
    reports = ros.collect(DiagnosticArray, "/diagnostics")
    model_hash = read_map(learned_wall.map).keypoint_model.hash
    key = EngineKey(model_hash, "b" * 64, "tensorrt", "11.4.0", ("sm86",), "fp16", {}, device="RTX")
    with lock_engine(tmp_path / "vloc_ros" / "engines", key, timeout_s=1):  # as a builder holds it
        assert not robot.change(Transition.TRANSITION_CONFIGURE)
    for words in ("waiting for the engine of the model", "run `vloc model build MODEL --engine tensorrt"):
        reports.wait(lambda all_, words=words: any(words in s.message for m in all_ for s in m.status), words)


def test_cleaning_up_ends_the_wait_for_an_engine(
    ros: Ros, wall: Wall, learned_wall: LearnedWall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map server's map is loaded by a thread, which clean-up joins."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = {"inference.engine": "tensorrt", "inference.precision": "fp16", "inference.engine_wait_s": 600.0}
    robot = Robot(ros, wall, map="", map_server="missing", **engine)
    robot.activate()
    key = EngineKey(
        read_map(learned_wall.map).keypoint_model.hash, "b" * 64, "tensorrt", "11.4.0", ("sm86",), "fp16", {}, device=""
    )
    with lock_engine(tmp_path / "vloc_ros" / "engines", key, timeout_s=1):
        monkeypatch.setattr(robot.node._map_source, "_folder_of", lambda _: learned_wall.map)
        robot.node._map_source._announced.put(MapInfo(hash="a" * 64))
        ros.until(lambda: "waiting for the engine" in robot.node._monitor._faults.get("engine", ""))
        start = time.monotonic()
        assert robot.change(Transition.TRANSITION_DEACTIVATE)
        assert robot.change(Transition.TRANSITION_CLEANUP)
        assert time.monotonic() - start < 10.0


def test_models_run_on_onnx_runtime_until_their_engine_is_built_and_no_image_is_lost(
    ros: Ros, wall: Wall, learned_wall: LearnedWall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models, "_PERIOD_S", 0.05)
    landmark_map, cuda, altered = read_map(learned_wall.map), RecordedCuda(), tmp_path / "altered"
    keypoint_model = landmark_map.keypoint_model
    damaged = replace(keypoint_model, graph=keypoint_model.graph[:-1])
    write_map(replace(landmark_map, keypoint_model=damaged), altered)
    engine = {"inference.engine": "tensorrt", "inference.precision": "fp16", "inference.while_building": "onnx"}
    reports = ros.collect(DiagnosticArray, "/diagnostics")

    def wait_for_report(words: str, *, present: bool = True) -> None:
        reports.wait(lambda all_: (words in str(all_[-1:])) is present, words)

    with use_software_gpu(cuda, PROFILE, keypoints=1000):
        robot = Robot(ros, wall, map=str(learned_wall.map), **engine, **{"diagnostics.period_s": 0.1})
        robot.activate()
        wait_for_report("run on ONNX Runtime until their engines are built")
        sent = [robot.send(2)]
        assert robot.status_of(sent[0]).status == LocalizationStatus.OK
        assert "cudaMemcpyAsync" not in cuda.calls
        with pytest.raises(ModelError):  # the previous map stays, and the wait for its engine too
            robot.node._load(altered)
        graph, cache = keypoint_model.graph.tobytes(), tmp_path / "vloc_ros" / "engines"
        write_software_engine(cache, keypoint_model.hash, graph, PROFILE, keypoints=1000)
        for number in range(3, 6):
            sent.append(robot.send(number))
            robot.status_of(sent[-1])
        wait_for_report("ONNX Runtime", present=False)
        before = cuda.calls.count("cudaStreamSynchronize")
        sent.append(robot.send(1))
        assert [robot.status_of(stamp).status for stamp in sent] == [LocalizationStatus.OK] * len(sent)
        assert cuda.calls.count("cudaStreamSynchronize") > before
        assert len(robot.statuses.messages) == len(sent)


def test_what_cannot_run_engines_at_all_is_not_bridged(
    ros: Ros, wall: Wall, learned_wall: LearnedWall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("this machine has TensorRT")
    engine = {"inference.engine": "tensorrt", "inference.while_building": "onnx"}
    robot = Robot(ros, wall, map=str(learned_wall.map), **engine)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
