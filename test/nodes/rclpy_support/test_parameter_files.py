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

from __future__ import annotations

from pathlib import Path

import pytest

from vloc_ros.core.errors import ConfigError
from vloc_ros.nodes.rclpy_support.parameter_files import check_parameter_file, parameter_of_file

VALUES = "{ros__parameters: {publish_tf: none}}"
CONFIG = Path(__file__).resolve().parents[3] / "config"


def check(tmp_path: Path, text: str, *, namespace: str = "") -> None:
    (tmp_path / "mine.yaml").write_text(text)
    check_parameter_file(str(tmp_path / "mine.yaml"), node="vloc_localizer", namespace=namespace)


@pytest.mark.parametrize(
    ("section", "namespace"),
    [
        ("/**", ""),
        ("/**", "/robot1"),
        ("/*", ""),
        ("vloc_localizer", ""),
        ("/vloc_localizer", "/"),
        ("/robot1/vloc_localizer", "robot1"),
        ("/robot1/**", "/robot1"),
        ("/*/vloc_localizer", "robot1/"),
        ("/**/vloc_localizer", "/fleet/robot1"),
        ("/**/vloc_localizer", ""),
    ],
)
def test_a_section_for_the_node_is_found(tmp_path: Path, section: str, namespace: str) -> None:
    check(tmp_path, f"amcl: {VALUES}\n{section}: {VALUES}", namespace=namespace)


def test_namespaces_may_be_groups(tmp_path: Path) -> None:
    check(tmp_path, f"robot1: {{amcl: {VALUES}, vloc_localizer: {VALUES}}}", namespace="robot1")


@pytest.mark.parametrize(
    ("text", "namespace", "found"),
    [
        (f"localizer: {VALUES}", "", "found /localizer"),
        (f"vloc_localizer: {VALUES}", "robot1", "name the section /\\*\\* or /robot1/vloc_localizer"),
        (f"/robot1/vloc_localizer: {VALUES}", "", "found /robot1/vloc_localizer"),
        (f"/*: {VALUES}", "robot1", "found /\\*"),
        ("publish_tf: none", "", "found no section with ros__parameters"),
        ("", "", "found no section"),
        ("a: [", "", "cannot be read as YAML"),
    ],
)
def test_a_file_that_would_be_ignored_is_refused(tmp_path: Path, text: str, namespace: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        check(tmp_path, text, namespace=namespace)


def test_a_parameter_is_that_of_the_last_section_for_the_node(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    values = {"/**": "a", "/robot1/vloc_mapper": "b", "amcl": "c"}
    lines = [f"{section}: {{ros__parameters: {{maps_folder: {value}}}}}" for section, value in values.items()]
    file.write_text("\n".join(lines))
    found = [parameter_of_file(str(file), "maps_folder", node="vloc_mapper", namespace=n) for n in ("robot1", "")]
    assert found == ["b", "a"]
    assert parameter_of_file(str(file), "map", node="vloc_mapper") is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check_parameter_file(str(tmp_path / "missing.yaml"), node="vloc_localizer")


@pytest.mark.parametrize("name", ["localizer", "map_server"])
def test_the_installed_files_are_for_any_namespace(name: str) -> None:
    check_parameter_file(str(CONFIG / f"{name}.yaml"), node=f"vloc_{name}", namespace="/robot1")
