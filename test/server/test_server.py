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

"""The web application of an aerial map and of a landmark map, through its API and in a browser."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from plain import CAMERA, SIZE_M, accept_many_inliers, look_down, make_ground, photograph
from plane_scene import CAMERA as WALL_CAMERA
from plane_scene import make_plane_scene, poses

pytest.importorskip("fastapi", reason="no FastAPI: pip install 'vloc_ros[server]'")
pytest.importorskip("httpx", reason="no httpx: pip install httpx")

import uvicorn
from fastapi.testclient import TestClient

from vloc_ros.assembly import build_localizer, build_tile_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.server.aerial import AerialService
from vloc_ros.server.app import make_app
from vloc_ros.server.landmarks import LandmarkService
from vloc_ros.server.queries import KnownOfView, MapService

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
POSE = look_down(12.0, -8.0, 60.0, yaw=0.7)
GROUND = make_ground(3, side_px=700)
BASE = "http://localhost"


def encode(image: Array) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def service() -> AerialService:
    datum = Datum(46.84, -91.99, position_std_m=3.0, yaw_std_rad=0.02)
    landmark_map = make_aerial_map([GROUND], name="plain", datum=datum, ground_sizes_m=(2 * SIZE_M,), tile_px=128)
    search = build_tile_search(
        LocalizerConfig(), landmark_map, acceptance=accept_many_inliers(), calibration=CovarianceCalibration()
    )
    return AerialService(landmark_map, None, search=search)


@pytest.fixture(scope="module")
def aerial(service: AerialService) -> TestClient:
    return TestClient(make_app(service), base_url=BASE)


@pytest.fixture(scope="module")
def landmarks() -> TestClient:
    localizer = build_localizer(LocalizerConfig(), make_plane_scene().landmark_map)
    return TestClient(make_app(LandmarkService(localizer, WALL_CAMERA)), base_url=BASE)


def test_a_photograph_from_above_is_located(aerial: TestClient) -> None:
    known = {"focal_px": 400, "altitude_m": 60, "nadir": True}
    answer = aerial.post("/api/locate", params=known, content=encode(photograph(GROUND, POSE))).json()
    overview = aerial.get("/api/map").json()
    assert answer["status"] == "ok"
    fix = answer["fix"]
    assert [fix["x"], fix["y"], fix["z"]] == pytest.approx(POSE.translation.tolist(), abs=1.0)
    assert fix["yaw_deg"] == pytest.approx(np.degrees(0.7) + 90, abs=1.0)
    assert fix["latitude"] == pytest.approx(46.84 - 8.0 / 111_200, abs=2e-5)
    assert all(3.0 < std < 4.0 for std in fix["earth_std_m"])
    assert np.radians(fix["heading_std_deg"]) > 0.02
    # the ellipse lies around the position, as wide as 95 % of two dimensions
    away = np.linalg.norm(np.array(fix["ellipse"]) - [fix["x"], fix["y"]], axis=1)
    assert away.max() == pytest.approx(2.4477 * max(fix["position_std_m"][:2]), rel=0.2)
    assert sum(answer["weights"]) == pytest.approx(1.0)
    best = overview["places"][answer["places"][0]["place"]]
    assert abs(best["x"] - 12.0) < best["side_m"]


def test_a_photograph_from_above_is_extracted_once(service: AerialService, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, calls = service._search._extractor, []
    extract = type(extractor).extract
    monkeypatch.setattr(type(extractor), "extract", lambda self, image: calls.append(1) or extract(self, image))
    answer = service.locate(photograph(GROUND, POSE), KnownOfView(400.0, 60.0, nadir=True))
    assert answer.fix is not None
    assert len(calls) == 1


def test_matches_join_pixels_and_the_ground_that_they_show(aerial: TestClient) -> None:
    known = {"focal_px": 400, "altitude_m": 60, "nadir": True}
    matches = aerial.post("/api/locate", params=known, content=encode(photograph(GROUND, POSE))).json()["matches"]
    points = np.array([[one["x"], one["y"], 0.0] for one in matches])
    pixels = np.array([[one["u"], one["v"]] for one in matches])
    errors = np.linalg.norm(CAMERA.project(POSE.inverse().apply(points)) - pixels, axis=1)
    assert len(matches) > 20
    assert np.median(errors) < 2.0


def test_another_place_is_refused_with_a_reason(aerial: TestClient) -> None:
    other = encode(photograph(make_ground(99, side_px=700), POSE))
    answer = aerial.post("/api/locate", params={"focal_px": 400, "altitude_m": 60, "nadir": True}, content=other).json()
    assert answer["status"] != "ok"
    assert answer["fix"] is None
    assert answer["reason"]
    assert not answer["matches"]


def test_a_photograph_of_a_landmark_map_is_located(landmarks: TestClient) -> None:
    pose = poses(5, seed=4)[2]
    answer = landmarks.post("/api/locate", content=encode(make_plane_scene().image(pose))).json()
    assert answer["status"] == "ok"
    fix = answer["fix"]
    assert [fix["x"], fix["y"], fix["z"]] == pytest.approx(pose.translation.tolist(), abs=0.02)
    assert len(answer["matches"]) > 20
    # the y axis of this map points down: from above one sees x and z, and the wall is a line
    overview = landmarks.get("/api/map").json()
    assert overview["kind"] == "landmarks"
    assert [axis["name"] for axis in overview["axes"]] == ["x", "z"]
    assert fix["at"] == [fix["x"], fix["z"]]
    assert {y for _, y in overview["points"]} == {one["y"] for one in answer["matches"]} == {0.0}


def test_a_map_far_from_zero_is_served_in_its_frame() -> None:
    plane, away = make_plane_scene(), np.array([4e5, 50.0, 5e6])
    moved = replace(plane.landmark_map, scenes=(replace(plane.landmark_map.scene(), origin=away),))
    service = LandmarkService(build_localizer(LocalizerConfig(), moved), WALL_CAMERA)
    pose, overview = poses(5, seed=4)[2], service.describe()
    answer = service.locate(plane.image(pose), KnownOfView())
    assert answer.fix is not None
    assert [answer.fix.x, answer.fix.y, answer.fix.z] == pytest.approx((pose.translation + away).tolist(), abs=0.02)
    (left, lower), (right, upper) = overview.extent
    shown = [*overview.points, answer.fix.at, *((one.x, one.y) for one in answer.matches)]
    assert all(left - 1 < x < right + 1 and lower - 1 < y < upper + 1 for x, y in shown)


def test_a_landmark_map_on_earth_says_how_well_it_is_known() -> None:
    plane = make_plane_scene()
    datum = Datum(46.84, -91.99, yaw_rad=0.3, position_std_m=2.0, yaw_std_rad=0.05)
    on_earth = replace(plane.landmark_map, scenes=(replace(plane.landmark_map.scene(), datum=datum),))
    service = LandmarkService(build_localizer(LocalizerConfig(), on_earth), WALL_CAMERA)
    fix = service.locate(plane.image(poses(5, seed=4)[2]), KnownOfView()).fix
    assert fix is not None
    assert fix.earth_std_m == pytest.approx((2.0, 2.0), abs=0.2)
    assert fix.heading_deg == pytest.approx((90.0 - np.degrees(0.3) - fix.yaw_deg) % 360)
    assert np.radians(fix.heading_std_deg or 0.0) == pytest.approx(0.05, rel=0.2)


def test_a_missing_focal_length_becomes_no_number(aerial: TestClient) -> None:
    response = aerial.post("/api/locate", content=encode(photograph(GROUND, POSE)))
    assert response.status_code == 422
    assert "focal length" in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"<svg/>", 422), (b"\0" * (33 << 20), 413), (encode(np.zeros((40, 40), np.uint8))[:40], 422)],
)
def test_bad_uploads_are_refused(landmarks: TestClient, content: bytes, status: int) -> None:
    response = landmarks.post("/api/locate", content=content)
    assert response.status_code == status
    assert response.json()["error"]


@pytest.mark.parametrize(
    "words",
    [{"focal_px": "nan"}, {"focal_px": "0"}, {"focal_px": "1172px"}, {"altitude_m": "0"}, {"altitude_m": "inf"}],
)
def test_numbers_out_of_range_are_refused(aerial: TestClient, words: dict[str, str]) -> None:
    response = aerial.post("/api/locate", params=words, content=b"x")
    ((name, value),) = words.items()
    assert response.status_code == 422
    assert response.json()["error"].startswith(f"{name} is {value!r}, expected ")


def test_an_image_of_another_size_than_the_calibration_is_refused(landmarks: TestClient) -> None:
    response = landmarks.post("/api/locate", content=encode(np.zeros((100, 100), np.uint8)))
    assert response.status_code == 422


@pytest.mark.parametrize("path", ["/../setup.py", "/static/page.js", "/etc/passwd", "/%2e%2e/app.py", "/docs"])
def test_nothing_else_is_served(landmarks: TestClient, path: str) -> None:
    assert landmarks.get(path).status_code == 404


def test_another_host_name_is_refused(landmarks: TestClient) -> None:
    assert landmarks.get("/api/map", headers={"Host": "evil.example"}).status_code == 400


def test_the_api_is_described(landmarks: TestClient) -> None:
    described = landmarks.get("/openapi.json").json()
    assert set(described["paths"]) == {"/api/map", "/api/locate"}
    assert "image/jpeg" in described["paths"]["/api/locate"]["post"]["requestBody"]["content"]
    assert "default-src 'self'" in landmarks.get("/").headers["Content-Security-Policy"]


@contextmanager
def serve(service: MapService) -> Iterator[str]:
    """The address of a server of a map."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(service), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "a connection keeps the server from ending"


@pytest.fixture
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


# texts and controls that stick out of the window, or of the column beside the map
OUTSIDE = """() => {
    const side = document.querySelector("aside"), right = document.documentElement.clientWidth + 1;
    const boxes = [...document.querySelectorAll("aside *, .leaflet-control")].map((one) => one.getBoundingClientRect());
    const out = boxes.filter((box) => box.width > 1 && (box.left < 0 || box.right > right)).length;
    return out + (side.scrollWidth > side.clientWidth) + (document.documentElement.scrollWidth >= right);
}"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
def test_the_page_of_a_landmark_map_fits_its_window(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(make_plane_scene().image(poses(5, seed=4)[2])))
    (tmp_path / "small.png").write_bytes(encode(np.zeros((100, 100), np.uint8)))
    (tmp_path / "grey.png").write_bytes(encode(np.full((240, 320), 128, np.uint8)))
    service = LandmarkService(build_localizer(LocalizerConfig(), make_plane_scene().landmark_map), WALL_CAMERA)
    with serve(service) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector("body[data-state=ready]")
        assert "x →, z ↑" in page.inner_text(".axes")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#status.ok")
        assert page.locator("#fix dt").all_inner_texts()[2] == "direction of view"
        assert "from x to z" in page.locator("#fix dd").all_inner_texts()[2]
        for width in (1280, 800, 500):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(OUTSIDE) == 0
        page.set_input_files("#file", tmp_path / "small.png")
        page.wait_for_selector("#status.refused")
        assert "focal length in pixels" in page.inner_text("#status")
        page.fill("[name=focal_px]", "-1")
        page.set_input_files("#file", tmp_path / "grey.png")
        page.wait_for_selector("#status.refused:has-text('focal length, px is')")
        assert page.locator("#fix dd").count() == 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
def test_from_photograph_to_fix_in_a_browser(service: AerialService, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(photograph(GROUND, POSE)))
    (tmp_path / "elsewhere.png").write_bytes(encode(photograph(make_ground(99, side_px=700), POSE)))
    (tmp_path / "drawing.svg").write_text("<svg/>")
    with serve(service) as address:
        page, troubles = browser.new_page(viewport={"width": 1200, "height": 800}), []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request", lambda one: None if one.url.startswith((address, "blob:", "data:")) else troubles.append(one.url)
        )
        page.goto(address)
        assert not page.is_checked("[name=nadir]")
        page.wait_for_selector("body[data-state=ready]")
        page.fill("[name=focal_px]", "400")
        page.fill("[name=altitude_m]", "60")
        page.check("[name=nadir]")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#status.ok")
        assert page.locator("#fix dd").count() == 6
        assert page.inner_text("#ranking h2") == "Most similar tiles"
        assert 1 <= page.locator("#places li").count() <= 10
        assert page.evaluate(OUTSIDE) == 0
        page.set_input_files("#file", tmp_path / "elsewhere.png")
        page.wait_for_selector("#status.refused")
        assert "no location" in page.inner_text("#ranking p")
        page.screenshot(path=str(tmp_path / "located.png"))
        page.set_input_files("#file", tmp_path / "drawing.svg")
        page.wait_for_selector("#status.refused:has-text('JPEG or PNG')")
        assert page.locator("#fix dd").count() == 0
        assert page.is_hidden("#ranking")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#status.ok")
        page.route("**/api/locate*", lambda route: route.fulfill(status=503, body="Service Unavailable"))
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#status.refused")
        assert "busy" in page.inner_text("#status")
        assert page.locator("#fix dd").count() + page.locator("#places li").count() == 0
        page.unroute("**/api/locate*")
        # the answer to the first comes after that to the second
        held = []
        page.route("**/api/locate*", lambda route: held.append(route))
        page.set_input_files("#file", tmp_path / "photo.png")
        page.set_input_files("#file", tmp_path / "drawing.svg")
        while len(held) < 2:
            page.wait_for_timeout(10)
        held[1].continue_()
        page.wait_for_selector("#status.refused")
        with page.expect_response("**/api/locate*"):
            held[0].continue_()
        page.wait_for_timeout(200)
        assert "JPEG or PNG" in page.inner_text("#status")
        assert page.locator("#fix dd").count() == 0
        assert troubles == []
