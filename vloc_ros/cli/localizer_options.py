"""Options of every command that localizes: the map, and parameters other than the defaults."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.core.localizer import Localizer


def add_localizer_options(parser: argparse.ArgumentParser) -> None:
    """`--map`, `--params` and `--set`."""
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument(
        "--params", type=Path, metavar="YAML", help="parameters other than the defaults, nested by group"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter, such as pose.max_error_px=6; repeatable, wins over --params; `vloc config` lists all",
    )


def localizer_from(args: argparse.Namespace) -> Localizer:
    """The localizer that the options describe."""
    from vloc_ros.assembly import build_localizer
    from vloc_ros.storage.maps import read_map

    config = config_from(args)
    return build_localizer(config, read_map(args.map))


def config_from(args: argparse.Namespace) -> LocalizerConfig:
    """The parameters that `--params` and `--set` give; the others keep their defaults."""
    from vloc_ros.core.config import LocalizerConfig, config_from_mapping

    values = _read_parameters(args.params) if args.params else {}
    for assignment in args.set:
        _assign(values, assignment)
    return config_from_mapping(LocalizerConfig, values)


def _read_parameters(path: Path) -> dict[str, Any]:
    import yaml

    from vloc_ros.core.errors import ConfigError

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not YAML ({' '.join(str(error).split())}); expected `group: {{name: value}}`"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected `group: {{name: value}}`")
    return values


def _assign(values: dict[str, Any], assignment: str) -> None:
    """Put `a.b=value` into nested mappings; the value is read as YAML."""
    import yaml

    from vloc_ros.core.errors import ConfigError

    name, equals, text = assignment.partition("=")
    *groups, leaf = name.split(".")
    if not equals or not leaf:
        raise ConfigError(f"--set {assignment}: expected NAME=VALUE, such as pose.max_error_px=6")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {assignment}: {group} is a value, not a group of parameters")
    try:
        values[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: {text!r} is not a number, a word or true/false") from error
