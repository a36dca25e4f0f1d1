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

"""ROS parameter files before a launch, checked: ROS itself ignores a file that is missing or about other nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vloc_ros.core.errors import ConfigError

_PARAMETERS = "ros__parameters"


def check_parameter_file(path: str, *, node: str, namespace: str = "") -> None:
    """Check that a parameter file exists and has parameters for a node.

    Raises:
        ConfigError: the file is missing or not YAML, or every section of it is for other nodes.
    """
    content = _read(path)
    full_name = _full_name(node, namespace)
    sections = [section for section, _ in _find_sections(content, ())]
    if not any(_matches(section, full_name) for section in sections):
        found = ", ".join(sections) or "no section with ros__parameters"
        raise ConfigError(
            f"params_file {path}: nothing in it is for {full_name} (found {found}); name the section /** or {full_name}"
        )


def parameter_of_file(path: str, name: str, *, node: str, namespace: str = "") -> Any:
    """Return the value that a parameter file gives a node, that of the last section for it; None for no value.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    full_name, value = _full_name(node, namespace), None
    for section, parameters in _find_sections(_read(path), ()):
        if isinstance(parameters, dict) and _matches(section, full_name):
            value = parameters.get(name, value)
    return value


def _read(path: str) -> Any:
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"params_file {path}: there is no such file; without it all parameters have their defaults")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"params_file {path}: cannot be read as YAML ({' '.join(str(error).split())})") from error


def _full_name(node: str, namespace: str) -> str:
    return "/".join(["", *_words(namespace), node])


def _find_sections(content: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Return the names of all nodes in a file, and their parameters; namespaces may be groups, or part of a name."""
    if not isinstance(content, dict):
        return
    if _PARAMETERS in content:
        yield "/" + "/".join(above), content[_PARAMETERS]
    for name, inner in content.items():
        if name != _PARAMETERS:
            yield from _find_sections(inner, (*above, *_words(str(name))))


def _matches(section: str, full_name: str) -> bool:
    """Return whether a section is for a node: `*` is one word of the name, `**` any number of them."""
    patterns = {"*": "/[^/]+", "**": "(/[^/]+)*"}
    pattern = "".join(patterns.get(word, "/" + re.escape(word)) for word in _words(section))
    return re.fullmatch(pattern, full_name) is not None


def _words(name: str) -> list[str]:
    return [word for word in name.split("/") if word]
