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

"""`vloc serve`: what it refuses before it listens, and that it answers on this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA, make_plane_scene, poses

from vloc_ros.cli.main import main
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import write_map

pytest.importorskip("fastapi", reason="no FastAPI: pip install 'vloc_ros[server]'")


@pytest.fixture
def map_folder(tmp_path: Path) -> Path:
    write_map(make_plane_scene().landmark_map, tmp_path / "map")
    return tmp_path / "map"


@pytest.mark.parametrize(
    "words",
    [
        ["--host", "localhost"],
        ["--host", "::1"],
        ["--port", "0"],
        ["--port", "70000"],
        ["--focal-px", "0"],
        ["--focal-px", "9"],
        ["--size", "9x9"],
        ["--size", "9", "--focal-px", "9"],
    ],
)
def test_an_address_or_a_focal_length_that_is_none_is_refused(
    map_folder: Path, words: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["serve", str(map_folder), *words]) == 1
    assert words[0] in capsys.readouterr().err


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_port_in_use_is_refused(map_folder: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(map_folder), "--port", port]) == 1
    said = capsys.readouterr()
    assert f"--port {port}" in said.err
    assert "serving" not in said.out


@pytest.mark.parametrize(
    ("host", "hosts"), [("127.0.0.5", {"127.0.0.1", "localhost", "127.0.0.5"}), ("0.0.0.0", {"*"})]
)
def test_a_loopback_address_is_served_by_its_name_too(
    map_folder: Path, host: str, hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, **_: served.append(self.config.app))
    assert main(["serve", str(map_folder), "--host", host, "--port", str(find_free_port())]) == 0
    assert set(served[0].user_middleware[-1].kwargs["allowed_hosts"]) == hosts


def test_a_focal_length_is_that_of_photographs_of_one_size(map_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("fastapi.testclient", reason="no httpx: pip install httpx")
    served, image = [], cv2.imencode(".png", make_plane_scene().image(poses(3)[1]))[1].tobytes()
    client = partial(testing.TestClient, base_url="http://localhost")
    monkeypatch.setattr("uvicorn.Server.run", lambda self, **_: served.append(client(self.config.app)))
    focal = ["--focal-px", f"{CAMERA.intrinsics[0]}", "--size", f"{CAMERA.width}x{CAMERA.height}"]
    for words in ([], focal):
        assert main(["serve", str(map_folder), "--port", str(find_free_port()), *words]) == 0
    without, given = served
    needs = [one.get("/api/map").json()["needs_camera"] for one in served]
    assert needs == [True, False]
    refused = without.post("/api/locate", content=image)
    assert (refused.status_code, "--focal-px" in refused.json()["error"]) == (422, True)
    assert given.post("/api/locate", content=image).json()["status"] == "ok"
    resized = cv2.imencode(".png", np.zeros((CAMERA.height // 2, CAMERA.width // 2), np.uint8))[1].tobytes()
    refused = given.post("/api/locate", content=resized)
    assert (refused.status_code, "focal length" in refused.json()["error"]) == (422, True)


@pytest.mark.slow
def test_the_command_serves_the_page(map_folder: Path, tmp_path: Path) -> None:
    write_camera(tmp_path / "camera.yaml", CAMERA, name="camera")
    port = find_free_port()
    words = ["serve", str(map_folder), "--camera", str(tmp_path / "camera.yaml"), "--port", str(port)]
    command = [sys.executable, "-m", "vloc_ros.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        line = served.stdout.readline()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30) as response:
                page = response.read()
            served.send_signal(signal.SIGINT)
            assert served.wait(30) == 0
        finally:
            served.kill()
    assert f"serving {map_folder}: open http://127.0.0.1:{port} in" in line
    assert b"Drop a photograph" in page
