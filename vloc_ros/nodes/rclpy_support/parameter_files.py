"""Check of ROS parameter files before a launch: ROS itself ignores a file that is missing or about other nodes."""

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
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"params_file {path}: there is no such file; without it all parameters have their defaults")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"params_file {path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    full_name = "/".join(["", *_words(namespace), node])
    sections = list(_find_sections(content, ()))
    if not any(_matches(section, full_name) for section in sections):
        found = ", ".join(sections) or "no section with ros__parameters"
        raise ConfigError(
            f"params_file {path}: nothing in it is for {full_name} (found {found}); name the section /** or {full_name}"
        )


def _find_sections(content: Any, above: tuple[str, ...]) -> Iterator[str]:
    """Return the names of all nodes in a file; namespaces may be groups, or part of a name."""
    if not isinstance(content, dict):
        return
    if _PARAMETERS in content:
        yield "/" + "/".join(above)
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
