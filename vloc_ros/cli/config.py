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

"""List every parameter with its default, range, unit and meaning.

  vloc config                 all
  vloc config mapping         those of one configuration: localizer, mapping, learned_extractor, localizer_node,
                              map_server, mapper, player, recorder
  vloc config fix_filter      those whose names contain a word

The localizer's are set by `vloc localize` and `vloc evaluate` (--set, --params) and, with those of its node beside
them, as ROS parameters; those of mapping, the extractor's among them, by `vloc map build --set`, where those of a
learned extractor take the place of RootSIFT's with --extractor MODEL. A parameter file for ROS is also one for
--params, which ignores the node's own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

# parameters of a learned extractor that the model itself has
_OF_THE_MODEL = ("extractor.model", "extractor.model_hash")
_NO_HASH = "0" * 64
_HEAD = """# Parameters

`vloc config --markdown` writes this page from the code.

- *localizer*: the stages. `vloc localize` and `vloc evaluate` take them by `--set NAME=VALUE` and `--params FILE`; they
  are ROS parameters of the node too.
- *mapping*: `vloc map build --set NAME=VALUE`. With `--extractor MODEL` those of *learned_extractor* take the place of
  RootSIFT's.
- *localizer_node*, *map_server*, *mapper*, *player*, *recorder*: ROS parameters of the nodes. `vloc config --yaml`
  prints a parameter file of the localizer.

A mistyped name is an error that names the nearest one; the error of a former name has the present one. Angles are in
radians.

"""


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="a configuration, or a part of the parameters' names")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list for machines")
    form.add_argument(
        "--yaml", action="store_true", help="print those of the localizer and its node as a ROS parameter file"
    )
    form.add_argument(
        "--markdown", action="store_true", help="print docs/parameters.md, or of some parameters the tables"
    )


def run(args: argparse.Namespace) -> int:
    """Print the parameters."""
    groups = select(all_groups(), args.parts)
    if args.json:
        json.dump(
            {title: [_values(p) for p in parameters] for title, parameters in groups.items()}, sys.stdout, indent=1
        )
        print()
    elif args.yaml:
        print(_yaml([leaf for title in ("localizer_node", "localizer") for leaf in groups.get(title, ())]), end="")
    elif args.markdown:
        print(("" if args.parts else _HEAD) + _markdown(groups), end="")
    elif sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        print("\n\n".join(_paragraphs(title, parameters, columns) for title, parameters in groups.items()))
    else:
        print("\n\n".join(_table(title, parameters) for title, parameters in groups.items()))
    return 0


def all_groups() -> dict[str, list[Any]]:
    """The parameters of every configuration."""
    from vloc_ros.core.config import LocalizerConfig, parameters_of
    from vloc_ros.core.features.extractor_config import KeypointModelConfig
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.node_config import (
        LocalizerNodeConfig,
        MapperConfig,
        MapServerConfig,
        PlayerConfig,
        RecorderConfig,
    )

    configurations = {
        "localizer": LocalizerConfig(),
        "mapping": MappingConfig(),
        "learned_extractor": KeypointModelConfig(model_hash=_NO_HASH),
        "localizer_node": LocalizerNodeConfig(),
        "map_server": MapServerConfig(),
        "mapper": MapperConfig(),
        "player": PlayerConfig(),
        "recorder": RecorderConfig(),
    }
    prefixes = {"learned_extractor": "extractor."}
    return {
        title: [
            leaf for leaf in parameters_of(configuration, prefixes.get(title, "")) if leaf.name not in _OF_THE_MODEL
        ]
        for title, configuration in configurations.items()
    }


def select(groups: Mapping[str, Sequence[Any]], parts: Iterable[str]) -> dict[str, list[Any]]:
    """The groups of these names, and the parameters with one of these in their names; all where none is given.

    Raises:
        ConfigError: nothing has such a name.
    """
    wanted = list(parts) or list(groups)
    for part in wanted:
        names = [leaf.name for leaves in groups.values() for leaf in leaves]
        if part not in groups and not any(part in name for name in names):
            _refuse_part(part, [*groups, *names])
    words = [part for part in wanted if part not in groups]
    chosen = {
        title: [leaf for leaf in leaves if title in wanted or any(word in leaf.name for word in words)]
        for title, leaves in groups.items()
    }
    return {title: leaves for title, leaves in chosen.items() if leaves}


def _refuse_part(part: str, names: Sequence[str]) -> NoReturn:
    from vloc_ros.core.errors import ConfigError
    from vloc_ros.core.spelling import nearest_name

    near = nearest_name(part, [*names, *(name.partition(".")[0] for name in names if "." in name)])
    remedy = f"did you mean {near}?" if near else "`vloc config` lists all"
    raise ConfigError(f"no parameter has {part!r} in its name, and no configuration is called that; {remedy}")


def _markdown(groups: Mapping[str, Sequence[Any]]) -> str:
    """A section with a table for each group."""
    sections = []
    for title, parameters in groups.items():
        rows = [
            f"| `{leaf.name}` | `{_text(leaf.value)}` | {_cell(_range(leaf))} | {leaf.unit} "
            f"| {_cell(leaf.description)} |"
            for leaf in parameters
        ]
        sections.append(
            "\n".join([f"## {title}", "", "| name | default | range | unit | |", "|---|---|---|---|---|", *rows, ""])
        )
    return "\n".join(sections)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _values(parameter: Any) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "default": parameter.value,
        "unit": parameter.unit,
        "low": parameter.low,
        "high": parameter.high,
        "choices": list(parameter.choices),
        "description": parameter.description,
    }


def _table(title: str, parameters: list[Any]) -> str:
    rows = [("default", "range", "unit", "")] + [(_text(p.value), _range(p), p.unit, p.description) for p in parameters]
    names = [title.upper(), *(p.name for p in parameters)]
    columns = list(zip(names, *zip(*rows, strict=True), strict=True))
    widths = [max(len(row[i]) for row in columns) for i in range(4)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in columns]
    return "\n".join(line.rstrip() for line in lines)


def _paragraphs(title: str, parameters: list[Any], columns: int) -> str:
    """For a terminal: each parameter with its description below it, both no wider than the columns."""
    width = max(len(p.name) for p in parameters)
    lines = [title.upper()]
    for p in parameters:
        limits = " ".join(part for part in (_range(p), p.unit) if part)
        head = f"{p.name.ljust(width)}  {_text(p.value)}" + (f"  [{limits}]" if limits else "")
        lines += textwrap.wrap(head, columns, subsequent_indent=" " * 4)
        lines += textwrap.wrap(p.description, columns, initial_indent=" " * 4, subsequent_indent=" " * 4)
    return "\n".join(lines)


def _range(parameter: Any) -> str:
    if parameter.choices:
        return " | ".join(parameter.choices)
    if parameter.low is None and parameter.high is None:
        return ""
    low, high = ("" if bound is None else _text(bound) for bound in (parameter.low, parameter.high))
    return f"{low} .. {high}"


def _yaml(parameters: list[Any]) -> str:
    """Nested by the dots of the names; every value with its meaning above it."""
    lines = ["/**:", "  ros__parameters:"]
    group: list[str] = []
    for parameter in parameters:
        *path, name = parameter.name.split(".")
        common = next(
            (i for i, (a, b) in enumerate(zip(path, group, strict=False)) if a != b), min(len(path), len(group))
        )
        lines += [f"{_indent(depth)}{path[depth]}:" for depth in range(common, len(path))]
        group = path
        details = ", ".join(part for part in (parameter.unit, _range(parameter)) if part)
        lines.append(f"{_indent(len(path))}# {parameter.description}" + (f" [{details}]" if details else ""))
        lines.append(f"{_indent(len(path))}{name}: {_text(parameter.value)}")
    return "\n".join([*lines, ""])


def _indent(depth: int) -> str:
    return "  " * (depth + 2)


def _text(value: Any) -> str:
    """As YAML 1.1 reads it back: true and false, and a point in every floating-point number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        mantissa, exponent, power = f"{value:.10g}".partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}{power}"
    return str(value) if value != "" else '""'
