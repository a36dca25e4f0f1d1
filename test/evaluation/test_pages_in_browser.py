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

"""The pages as a person meets them, in a browser without a network: they draw, and a click shows the image."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from plane_scene import CAMERA
from test_comparison import row, run
from test_report import found, refused, report_of

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.comparison import compare_with_first
from vloc_ros.evaluation.comparison_page import make_comparison_page
from vloc_ros.evaluation.map_page import QueryPose, make_map_page
from vloc_ros.evaluation.query_rows import make_query_rows
from vloc_ros.storage.results import ResultRecord

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
]


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Open pages one after another in one tab, from one file: Chromium then keeps its process and its plotly.js."""
    file = tmp_path_factory.mktemp("pages") / "page.html"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(60_000)  # a page is drawn in a second, on a busy machine in many
        yield partial(opened, page, file)
        browser.close()


@contextmanager
def opened(page, file: Path, text: str, width: int = 1280) -> Iterator:
    """The page, drawn; nothing may be wrong or requested, and nothing be wider than the window."""
    file.write_text(text)
    troubles, own = [], ("data:", "blob:", file.as_uri())
    listeners = {
        "console": lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None,
        "pageerror": lambda error: troubles.append(str(error)),
        "request": lambda request: None if request.url.startswith(own) else troubles.append(request.url),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(file.as_uri())
        page.wait_for_selector("body[data-ready]")
        page.mouse.move(0, 0)  # not earlier: a tab that draws nothing may never answer, and no time limit applies
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        yield page
        assert troubles == []
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)


def click_middle(page, locator) -> None:
    """Click where it is; what lies above it gets the click, as by a hand."""
    locator.evaluate("element => element.scrollIntoView({ block: 'center' })")
    box = locator.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.click(x, y)


@pytest.fixture(scope="module")
def report(scene_folder) -> str:
    truth = scene_folder.truth
    wrong = Pose(truth[1].rotation, truth[1].translation + np.array([1.0, 0.0, 0.0]))
    near = Pose(truth[0].rotation, truth[0].translation + np.array([0.02, 0.0, 0.0]))
    return report_of(scene_folder, [found(near), found(wrong), refused("4 matches, <12 needed>")])


@pytest.mark.parametrize("width", [1280, 800])
def test_a_click_on_a_point_shows_its_image(open_page, report, width):
    with open_page(report, width) as page:
        for chart in ("trajectory", "translation", "over_queries"):
            page.evaluate("select(1)")
            index = page.evaluate(f"byId('{chart}').data.findIndex(t => t.customdata && t.customdata.includes(0))")
            points = page.locator(f"#{chart} .scatterlayer .trace").nth(index).locator(".points path")
            click_middle(page, points.first)
            page.wait_for_function("byId('name').textContent === 'frame-0.png'")
        shown = page.locator("#picture image.query")
        assert shown.bounding_box()["width"] > 100
        assert shown.get_attribute("href").startswith("data:image/jpeg")
        assert page.locator("#picture .inlier").count() == 5
        assert "2.00 cm" in page.inner_text("#facts")


def test_a_caption_counts_the_drawn_inliers_and_refused_queries_are_at_the_bad_end(open_page, scene_folder):
    text = report_of(scene_folder, [found(scene_folder.truth[0], inliers=200), refused("dark")])
    with open_page(text) as page:
        page.evaluate("select(0)")
        assert page.locator("#picture .inlier").count() == 150
        assert "Yellow: 150 of the 200 inliers." in page.inner_text("#picture .caption")
        heights = page.evaluate(
            "Object.fromEntries(byId('over_queries').data.filter(t => t.name).map(t => [t.name.split(' ')[0],"
            " Math.max(...t.y)]))"
        )
        assert heights["refused"] > max(heights["error"], heights["estimated"])
        ticks = page.evaluate("byId('inliers')._fullLayout.yaxis.dtick")
        assert ticks == 1, "counts are whole numbers"
        assert page.evaluate("10 ** byId('over_queries').layout.yaxis.range[1]") > heights["refused"]


def test_no_error_is_estimated_where_none_is_known(open_page, scene_folder):
    result = found(scene_folder.truth[0])
    rows = make_query_rows([ResultRecord("frame-0.png", 0, result)], truth=scene_folder.truth[:1])
    text = report_of(scene_folder, [result], not_comparable="no scale; use --align", images=rows)
    with open_page(text) as page:
        assert "inliers" in page.inner_text("#facts")
        assert "estimated" not in page.inner_text("#facts")
        assert page.locator("#queries th:has-text('\u03c3')").count() == 0
        assert page.inner_text(".empty code") == "--align"


def test_the_toolbar_of_a_chart_is_hidden_until_the_pointer_is_on_it(open_page, report):
    with open_page(report) as page:
        assert not page.locator("#trajectory .modebar").is_visible()
        page.hover("#trajectory .bg", force=True)
        assert page.locator("#trajectory .modebar").is_visible()


def test_the_table_is_sorted_walked_by_keys_and_saved(open_page, report):
    with open_page(report) as page:
        assert page.inner_text("#name") == "frame-1.png", "it begins with the worst"
        names = page.locator("#queries tbody td.name")
        page.click("#queries th button:has-text('error')")
        assert names.all_inner_texts() == ["frame-1.png", "frame-0.png", "frame-2.png"], "the unknown is last"
        page.click("#queries th button:has-text('error')")
        assert names.all_inner_texts() == ["frame-0.png", "frame-1.png", "frame-2.png"]
        assert page.get_attribute("#queries th:has-text('error')", "aria-sort") == "ascending"
        page.focus("#queries tr[aria-selected=true]")
        page.keyboard.press("ArrowDown")
        assert page.inner_text("#name") == "frame-2.png"
        assert "4 matches, <12 needed>" in page.inner_text("#outcome")
        with page.expect_download() as download:
            page.click("#csv")
        rows = list(csv.DictReader(download.value.path().open()))
        assert [r["error [cm]"] for r in rows] == ["2", "100", ""]
        assert rows[2]["reason"] == "4 matches, <12 needed>"
        page.select_option("#filter", "false accepts")
        assert names.all_inner_texts() == ["frame-1.png"]


@pytest.mark.parametrize("kind", ["refused", "negatives", "one", "none drawn"])
def test_reports_with_little_to_draw(open_page, scene_folder, kind):
    results = [refused("dark"), refused("dark")] if kind != "one" else [found(scene_folder.truth[0])]
    page = report_of(scene_folder, results, negatives=kind in ("negatives", "none drawn"))
    if kind == "none drawn":
        page = page.replace('"queries":{"0"', '"queries":{"99"')
    with open_page(page) as shown:
        assert shown.inner_text("#name") == "frame-0.png"
        assert shown.locator("#inliers .main-svg").count()
        if kind == "refused":
            assert "No query was accepted" in shown.inner_text("#translation")
        if kind == "none drawn":
            assert "not in the page" in shown.inner_text("#picture")


@pytest.mark.parametrize("width", [1280, 800])
def test_a_click_in_a_comparison_selects_the_query(open_page, width):
    before = run("before", [row(f"{i}.png", 0.01 + 0.01 * i) for i in range(5)])
    after = run("<i>after", [row(f"{i}.png", None if i == 4 else 0.05 - 0.01 * i) for i in range(5)])
    page_text = make_comparison_page([before, after], compare_with_first([before, after]))
    with open_page(page_text, width) as page:
        click_middle(page, page.locator("#pairs .scatterlayer .trace").nth(1).locator(".points path").nth(2))
        page.wait_for_selector("tr[aria-selected=true]")
        assert page.inner_text("tr[aria-selected=true] td.name") == "2.png"
        ticks = page.evaluate("byId('latencies').layout.xaxis.tickvals")
        assert ticks == [40, 50, 60], "more than one, though all times are alike"
        page.select_option("#filter", "accepted by one of the two")
        assert page.locator("#queries td.name").all_inner_texts() == ["4.png"]


def test_a_comparison_shows_the_images_of_its_queries(open_page, scene_folder, tmp_path):
    """Of the folder that a run names; only files below it."""
    (tmp_path / "secret.png").write_bytes((scene_folder.images / "frame-000.png").read_bytes())
    names = ["frame-000.png", "frame-001.png", f"{tmp_path}/secret.png", "gone.png"]
    runs = [run(name, [row(one, 0.01 * (i + 1)) for i, one in enumerate(names)]) for name in ("before", "after")]
    runs[1] = replace(runs[1], scores={**runs[1].scores, "run": {"images": str(scene_folder.images)}})
    assert make_comparison_page(runs, compare_with_first(runs)).count("data:image/jpeg") == 2
    with open_page(make_comparison_page(runs, compare_with_first(runs))) as page:
        assert "there are 2, of those" in " ".join(page.inner_text("#picture").split())
        page.locator("#queries td.name", has_text="frame-001.png").click()
        assert page.inner_text("#picture figcaption") == "frame-001.png"
        assert page.evaluate("document.querySelector('#picture img').naturalWidth") == 320
        page.locator("#queries td.name", has_text="gone.png").click()
        assert page.inner_text("#picture figcaption") == "gone.png: its image is not on this page"
        assert page.locator("#picture img").is_hidden()


def test_a_click_on_a_keyframe_of_a_map_shows_its_image(open_page, scene_folder):
    landmark_map = scene_folder.scene.landmark_map
    landmark_map = replace(landmark_map, keyframes=replace(landmark_map.keyframes, cameras=(CAMERA,) * 8))
    paths = [scene_folder.images / f"frame-{k % 6:03}.png" for k in range(8)]
    query = QueryPose("<b>query.png", scene_folder.truth[0], "error 1.00 cm")
    text = make_map_page(landmark_map, map_hash="", keyframe_images=paths, queries=[query])
    with open_page(text) as page:
        at = page.evaluate("targets.find(t => t.keyframe === 3).at.map(v => v / owners.ratio)")
        page.mouse.move(*at)
        assert "3.png\nkeyframe, observes" in page.inner_text("#tip")
        page.mouse.click(*at)
        assert page.inner_text("#card h2") == "3.png"
        assert page.evaluate("document.querySelector('#card img').naturalWidth") == 320
        at = page.evaluate("targets.find(t => t.query === 0).at.map(v => v / owners.ratio)")
        page.mouse.move(*at)
        assert page.inner_text("#tip") == "<b>query.png\nquery, error 1.00 cm"
        page.focus("canvas")
        before = page.evaluate("view.turn")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("view.turn") != before
        page.evaluate("new Promise(requestAnimationFrame)")  # drawn again
        spot = page.evaluate(
            "(() => { const k = owners.of.findIndex((v, i) => v >= 0 && !targets.some(t => Math.hypot(t.at[0] - i %"
            " owners.width, t.at[1] - Math.floor(i / owners.width)) < 12)); return [k % owners.width, Math.floor(k /"
            " owners.width)].map(v => v / owners.ratio); })()"
        )
        page.mouse.move(*spot)
        assert "landmark" in page.inner_text("#tip")
        assert "observed by" in page.inner_text("#tip")


def test_a_map_page_without_images_promises_none(open_page, scene_folder):
    with open_page(make_map_page(scene_folder.scene.landmark_map, map_hash="")) as page:
        assert "image" not in page.inner_text(".hint")
        page.mouse.click(*page.evaluate("targets.find(t => t.keyframe === 3).at.map(v => v / owners.ratio)"))
        assert page.inner_text("#card h2") == "3.png"
        assert "image" not in page.inner_text("#card p")
