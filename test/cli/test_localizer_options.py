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

"""Parameters from files and assignments, in every form that a person has them in."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vloc_ros.cli.localizer_options import config_from
from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import ConfigError


def config_of(tmp_path: Path, text: str, *assignments: str) -> LocalizerConfig:
    (tmp_path / "parameters.yaml").write_text(text)
    return config_from(argparse.Namespace(params=tmp_path / "parameters.yaml", set=list(assignments)))


@pytest.mark.parametrize(
    "text",
    [
        "pose: {max_error_px: 6.0}",
        "pose.max_error_px: 6",
        "/**: {ros__parameters: {pose: {max_error_px: 6.0}, base_frame: base_footprint, use_sim_time: true}}",
        "/robot/vloc_localizer: {ros__parameters: {pose.max_error_px: 6.0}}",
        "vloc_localizer: {ros__parameters: {pose.max_error_px: 6.0, diagnostics: {min_rate_hz: 5.0}}}",
        "vloc_localizer: {ros__parameters: {pose.max_error_px: 6.0, diagnostics.min_rate_hz: 5.0}}",
        "vloc_localizer: {ros__parameters: {pose: {max_error_px: 6.0}}}\nvloc_map_server: {ros__parameters: {map: m}}",
    ],
)
def test_a_file_of_the_command_or_of_ros(tmp_path: Path, text: str) -> None:
    config = config_of(tmp_path, text)
    assert config.pose.max_error_px == 6.0
    assert config.verification == LocalizerConfig().verification
    assert config_of(tmp_path, text, "pose.max_error_px=7").pose.max_error_px == 7.0


def test_what_vloc_config_prints_can_be_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--yaml"]) == 0
    printed = capsys.readouterr().out.replace("max_error_px: 8.0", "max_error_px: 5.0")
    assert config_of(tmp_path, printed).pose.max_error_px == 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pose: {max_error_px: 6.0, 3: 4, true: 5}", "found pose.3, expected the name"),
        ("1: {a: 2}\nb: 3", "found 1, expected the name"),
        ("/**: {ros__parameters: 5}", "has no parameters"),
        ("/**: {ros__parameters: {nonsense: 5}}", "unknown parameter nonsense"),
        ("/**: {ros__parameters: {base_frmae: base}}", r"parameters.yaml: .* base_frmae, did you mean base_frame\?"),
        ("/**: {ros__parameters: {pose.max_eror_px: 5}}", r"did you mean pose\.max_error_px\?"),
        ("poze: {max_error_px: 5}", r"poze\.max_error_px, did you mean pose\.max_error_px\?"),
        ("pose: 3\npose.seed: 1", "pose is a value"),
    ],
)
def test_a_wrong_file_is_a_clear_error(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config_of(tmp_path, text)


def test_a_group_cannot_be_assigned(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one value"):
        config_of(tmp_path, "{}", "pose={1: 2, seed: 3}")
