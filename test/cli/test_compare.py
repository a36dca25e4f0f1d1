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

"""`vloc compare`, as a person meets it."""

import json

from test_evaluate import evaluate, one_line

from vloc_ros.cli.main import main


def test_two_runs_are_compared_and_the_page_is_written(scene_folder, tmp_path, capsys):
    before, after, page = tmp_path / "before.json", tmp_path / "after.json", tmp_path / "comparison.html"
    assert evaluate(scene_folder, "--json", before) == 0
    assert evaluate(scene_folder, "--json", after, "--set", "verification.min_matches=10000") == 0
    capsys.readouterr()
    assert main(["compare", str(before), str(after), "--report", str(page)]) == 0
    out = capsys.readouterr().out
    assert "accepted by before alone 6, by after alone 0" in out
    assert "verification.min_matches" in out
    assert str(page) in out
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_what_cannot_be_compared_is_one_line(scene_folder, tmp_path, capsys):
    run, absent = tmp_path / "run.json", tmp_path / "absent.json"
    assert evaluate(scene_folder, "--json", run, "--limit", "1") == 0
    assert evaluate(scene_folder, "--absent", "--json", absent, images=scene_folder.negatives, truth=False) == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(absent)]) == 1
    assert "negatives" in one_line(capsys)
    values = json.loads(run.read_text())
    del values["images"]
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert main(["compare", str(run), str(tmp_path / "old.json")]) == 1
    assert "earlier versions" in one_line(capsys)
    (tmp_path / "notes.html").write_text("notes")
    assert main(["compare", str(run), str(run), "--report", str(tmp_path / "notes.html")]) == 1
    assert (tmp_path / "notes.html").read_text() == "notes"


def test_a_page_needs_plotly(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["compare", "a.json", "b.json", "--report", str(tmp_path / "page.html")]) == 1
    assert "vloc_ros[evaluation]" in one_line(capsys)
