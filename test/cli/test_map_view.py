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

"""`vloc map view` writes a page, a recording, or both."""

import json

import pytest
from test_evaluate import evaluate

from vloc_ros.cli.main import main


def view(folder, *words) -> int:
    return main(["map", "view", str(folder.map), *map(str, words)])


def test_page_is_written(scene_folder, tmp_path, capsys):
    page = tmp_path / "pages" / "map.html"
    assert view(scene_folder, "--out", page) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert str(page) in capsys.readouterr().out


def test_a_missing_map_is_one_line(tmp_path, capsys):
    assert main(["map", "view", str(tmp_path / "gone"), "--out", str(tmp_path / "map.html")]) == 1
    assert str(tmp_path / "gone") in capsys.readouterr().err
    assert not (tmp_path / "map.html").exists()


def test_query_poses_are_those_of_results_or_of_a_run(scene_folder, tmp_path, capsys):
    run, results, page = tmp_path / "run.json", tmp_path / "results", tmp_path / "map.html"
    assert evaluate(scene_folder, "--json", run) == 0
    words = ["--map", scene_folder.map, "--images", scene_folder.images, "--camera", scene_folder.camera]
    assert main([str(word) for word in ["localize", *words, "--out", results]]) == 0
    for given in (run, results):
        assert view(scene_folder, "--out", page, "--results", given) == 0
        assert "6 query poses" in capsys.readouterr().out
    values = json.loads(run.read_text())
    for row in values["images"]:
        row["frame_id"] = "garage"
    run.write_text(json.dumps(values))
    assert view(scene_folder, "--out", page, "--results", run) == 1
    assert "garage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], "--out HTML or --rerun RRD"), (["--out", "x.html", "--images", "."], "missing are 0.png")],
)
def test_options_that_cannot_be_met(scene_folder, tmp_path, capsys, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    assert view(scene_folder, *words) == 1
    assert expected in capsys.readouterr().err


def test_a_page_needs_jinja(scene_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert view(scene_folder, "--out", tmp_path / "map.html") == 1
    assert "vloc_ros[evaluation]" in capsys.readouterr().err


def test_a_recording_replaces_a_recording_alone(scene_folder, tmp_path, capsys):
    pytest.importorskip("rerun", reason="no rerun: pip install 'vloc_ros[rerun]'")
    recording = tmp_path / "map.rrd"
    for outcome in ("written", "replaced"):
        assert view(scene_folder, "--rerun", recording) == 0
        assert f"{outcome}: {recording}" in capsys.readouterr().out
    assert recording.read_bytes().startswith(b"RRF")
    recording.write_text("notes")
    assert view(scene_folder, "--rerun", recording) == 1
    assert recording.read_text() == "notes"
