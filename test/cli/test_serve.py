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

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from plane_scene import CAMERA, make_plane_scene

from vloc_ros.cli.main import main
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import write_map

pytest.importorskip("fastapi", reason="no FastAPI: pip install 'vloc_ros[server]'")


@pytest.fixture
def map_folder(tmp_path: Path) -> Path:
    write_map(make_plane_scene().landmark_map, tmp_path / "map")
    return tmp_path / "map"


@pytest.mark.parametrize("words", [["--host", "localhost"], ["--host", "::1"], ["--port", "0"], ["--port", "70000"]])
def test_an_address_that_is_none_is_refused(map_folder: Path, words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["serve", str(map_folder), *words]) == 1
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "hosts"), [("127.0.0.5", {"127.0.0.1", "localhost", "127.0.0.5"}), ("0.0.0.0", {"*"})]
)
def test_a_loopback_address_is_served_by_its_name_too(
    map_folder: Path, host: str, hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    monkeypatch.setattr("uvicorn.run", lambda app, **_: served.append(app))
    assert main(["serve", str(map_folder), "--host", host]) == 0
    assert set(served[0].user_middleware[-1].kwargs["allowed_hosts"]) == hosts


@pytest.mark.slow
def test_the_command_serves_the_page(map_folder: Path, tmp_path: Path) -> None:
    write_camera(tmp_path / "camera.yaml", CAMERA, name="camera")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(map_folder), "--camera", str(tmp_path / "camera.yaml"), "--port", str(port)]
    command = [sys.executable, "-m", "vloc_ros.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        address = served.stdout.readline().strip()
        try:
            page = _read_when_it_listens(address, served)
        finally:
            served.terminate()
    assert address == f"http://127.0.0.1:{port}"
    assert b"Drop a photograph" in page


def _read_when_it_listens(address: str, served: subprocess.Popen[str]) -> bytes:
    host, _, port = address.removeprefix("http://").partition(":")
    while served.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex((host, int(port))) == 0:
                break
    with urllib.request.urlopen(address, timeout=30) as response:
        return bytes(response.read())
