"""List every parameter with its default, range, unit and meaning.

The localizer's are set by `vloc localize` and `vloc evaluate` (--set, --params) and, with those of its node beside
them, as ROS parameters; those of mapping, the extractor's among them, by `vloc map build --set`, where those of a
learned extractor take the place of RootSIFT's with --extractor MODEL. A parameter file for ROS is also one for
--params, which ignores the node's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

# parameters of a learned extractor that the model itself has
_OF_THE_MODEL = ("extractor.model", "extractor.model_hash")
_NO_HASH = "0" * 64


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list for machines")
    form.add_argument(
        "--yaml", action="store_true", help="print those of the localizer and its node as a ROS parameter file"
    )


def run(args: argparse.Namespace) -> int:
    """Print the parameters."""
    groups = _groups()
    if args.json:
        json.dump(
            {title: [_values(p) for p in parameters] for title, parameters in groups.items()}, sys.stdout, indent=1
        )
        print()
    elif args.yaml:
        print(_yaml(groups["localizer_node"] + groups["localizer"]), end="")
    else:
        print("\n\n".join(_table(title, parameters) for title, parameters in groups.items()))
    return 0


def _groups() -> dict[str, list[Any]]:
    from vloc_ros.core.config import LocalizerConfig, parameters_of
    from vloc_ros.core.features.extractor_config import KeypointModelConfig
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.node_config import LocalizerNodeConfig, MapServerConfig, PlayerConfig, RecorderConfig

    configurations = {
        "localizer": LocalizerConfig(),
        "mapping": MappingConfig(),
        "learned_extractor": KeypointModelConfig(model_hash=_NO_HASH),
        "localizer_node": LocalizerNodeConfig(),
        "map_server": MapServerConfig(),
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
