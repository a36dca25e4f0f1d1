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

"""Builds of maps as processes, without ROS."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.mapper.map_build import BuildReport, BuildState, MapBuilder
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.keyframe_recordings import create_recording

_CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
_BUILD_S = 120.0


class Builds:
    """A builder whose state changes a test can wait for."""

    def __init__(self, folder: Path) -> None:
        self.maps = folder / "maps"
        self.handed_over: list[str] = []
        self._changed = threading.Condition()
        options = ["--frame-id", "map"]
        self.builder = MapBuilder(self.maps, options=options, hand_over=self._take, on_change=self._notify)

    def end(self) -> BuildReport:
        """Wait for the end of the build."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self.builder.is_running, _BUILD_S)
        return self.builder.report

    def _take(self, name: str) -> str:
        self.handed_over.append(name)
        return ""

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[Builds]:
    builds = Builds(tmp_path)
    yield builds
    builds.builder.close()


@pytest.fixture
def black(tmp_path: Path) -> Path:
    """A recording of images that show nothing."""
    recording = create_recording(tmp_path / "recordings" / "black", odom_frame="odom")
    done, data = cv2.imencode(".png", np.zeros((48, 64), np.uint8))
    assert done
    for k in range(4):
        pose = Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.2 * k, 0.0, 0.0])
        stamp_ns = (1_700_000_000 + k) * 1_000_000_000
        recording.add_keyframe(stamp_ns, pose, data.tobytes(), ".png", camera=_CAMERA, camera_frame="camera")
    return recording.folder


def test_a_failure_is_reported_by_the_first_line_of_its_error(builds: Builds, black: Path) -> None:
    assert builds.builder.start(black) == "black"
    assert builds.builder.report.state is BuildState.RUNNING
    with pytest.raises(StorageError, match="the map black is being built"):
        builds.builder.start(black)
    report = builds.end()
    assert report.state is BuildState.FAILED
    assert "none of the 4 images shows a keypoint" in report.message
    assert "vloc: " in (black / "build.log").read_text()
    assert not (builds.maps / "black").exists()
    assert builds.handed_over == []
    builds.builder.start(black)  # the next one may begin
    assert builds.builder.cancel()
    assert builds.end().state is BuildState.CANCELLED
    assert not builds.builder.cancel()


def test_a_build_of_a_node_that_was_killed_is_not_joined_by_another(builds: Builds, black: Path) -> None:
    builds.maps.mkdir()
    with (builds.maps / ".build.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another map is being built into it"):
            builds.builder.start(black)
    assert builds.builder.report.state is BuildState.NONE


def test_a_listener_that_raises_ends_the_build(tmp_path: Path, black: Path) -> None:
    """Without an end it would be running for ever, and no other could begin."""

    def refuse() -> None:
        raise RuntimeError("no node")

    builder = MapBuilder(tmp_path / "maps", options=[], hand_over=lambda _: "", on_change=refuse)
    builder.start(black)
    assert builder._thread is not None
    builder._thread.join(_BUILD_S)
    assert builder.report.state is BuildState.FAILED
    assert "no node" in builder.report.message
    builder.start(black)
    builder.close()
    assert builder.report.state is BuildState.FAILED


def test_the_process_is_ended_even_if_nobody_follows_it(
    builds: Builds, black: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MapBuilder, "_follow", lambda *_: None)
    builds.builder.start(black)
    builds.builder.close()
    assert builds.builder._process is not None
    assert builds.builder._process.returncode is not None


def test_names_of_maps_are_plain_and_new(builds: Builds, black: Path) -> None:
    (builds.maps / "black").mkdir(parents=True)
    for name in ("../black", ".black", "a/b"):
        with pytest.raises(ConfigError, match="expected a plain name"):
            builds.builder.start(black, name)
    with pytest.raises(InputError, match="exists already"):
        builds.builder.start(black, "black")
    assert builds.builder.start(black) == "black-2"
    builds.builder.close()
    assert builds.builder.report.state is BuildState.CANCELLED
