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

"""`vloc config`: every parameter, for people, for machines and as a file that ROS reads."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig, config_from_mapping, parameters_of
from vloc_ros.node_config import LocalizerNodeConfig

_SPEEDS = ("max_speed_m_s", "max_turn_rate_rad_s")


def test_the_table_names_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    table = capsys.readouterr().out
    for parameter in [*parameters_of(LocalizerConfig()), *parameters_of(LocalizerNodeConfig())]:
        line = next(row for row in table.splitlines() if row.startswith(f"{parameter.name} "))
        assert line.endswith(parameter.description)


def test_descriptions_are_wrapped_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["config"]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["config"]) == 0
    wrapped = capsys.readouterr().out
    assert max(map(len, piped.splitlines())) > 80 >= max(map(len, wrapped.splitlines()))
    words = " ".join(wrapped.split())
    for parameter in parameters_of(LocalizerConfig()):
        assert " ".join(parameter.description.split()) in words


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert set(groups) == {
        *("localizer", "mapping", "learned_extractor", "localizer_node", "map_server", "mapper", "player"),
        "recorder",
    }
    learned = {entry["name"] for entry in groups["learned_extractor"]}
    assert learned == {f"extractor.{name}" for name in ("name", "max_keypoints", "min_score", "max_megapixels")}
    found = {entry["name"]: entry["default"] for entry in groups["localizer"]}
    assert found == {parameter.name: parameter.value for parameter in parameters_of(LocalizerConfig())}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["recorder"], {"recorder": ["localizer", "out", "expected"]}),
        (["fix_filter.m"], {"localizer": [f"fix_filter.{n}" for n in ("moved_m", "moved_rad", *_SPEEDS)]}),
        (
            ["recorder", "calibration_gap"],
            {"mapping": ["calibration_gap_m"], "recorder": ["localizer", "out", "expected"]},
        ),
    ],
)
def test_a_part(parts: list[str], expected: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *parts, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {title: [entry["name"] for entry in entries] for title, entries in found.items()} == expected
    for form in ([], ["--yaml"], ["--markdown"]):
        assert main(["config", *parts, *form]) == 0
        assert "max_error_px" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "near"),
    [("lokalizer", "localizer"), ("fixfilter", "fix_filter"), ("max_eror_px", "pose.max_error_px"), ("xyzzy", "")],
)
def test_an_unknown_part_is_named_with_the_nearest_one(
    part: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", part]) == 1
    error = capsys.readouterr().err
    assert repr(part) in error
    assert error.endswith(f"did you mean {near}?\n" if near else "`vloc config` lists all\n")


def test_the_page_of_the_documents_is_of_this_code(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "parameters.md"
    assert main(["config", "--markdown"]) == 0
    assert page.read_text() == capsys.readouterr().out, "vloc config --markdown > docs/parameters.md"


def test_a_table_of_markdown_has_five_cells_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert any("map_odom \\| map_base" in row for row in rows)


def test_yaml_gives_the_defaults_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--yaml"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)["/**"]["ros__parameters"]
    node = {item.name: values.pop(item.name) for item in fields(LocalizerNodeConfig())}
    assert config_from_mapping(LocalizerConfig, values) == LocalizerConfig()
    assert config_from_mapping(LocalizerNodeConfig, node) == LocalizerNodeConfig()


def test_numbers_keep_their_type_in_yaml_1_1() -> None:
    from vloc_ros.cli.config import _text

    for value in (1e-05, 1e22, 3.0, 0.25, 7, True, False, "vlad", ""):
        assert yaml.safe_load(_text(value)) == value
        assert type(yaml.safe_load(_text(value))) is type(value)
