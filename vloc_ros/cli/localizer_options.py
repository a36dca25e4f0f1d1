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

"""Options of every command that localizes: the map, and parameters other than the defaults.

Configurations and YAML are imported late: they take longer than the rest of a command's --help.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from vloc_ros.core.config import InferenceConfig, LocalizerConfig
    from vloc_ros.core.localization.localizer import Localizer

# of nodes in a parameter file: a name, /name, or a wildcard
_LOCALIZER_NAMES = ("vloc_localizer", "*", "**")


def add_inference_option(parser: argparse.ArgumentParser) -> None:
    """`--set` of a command on maps that runs learned models, see `inference_from`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what learned models run on: inference.engine=tensorrt, inference.provider=CUDAExecutionProvider, "
        "inference.threads=2; repeatable",
    )


def add_localizer_options(parser: argparse.ArgumentParser) -> None:
    """`--map`, `--recognizer`, `--encoder`, `--matcher`, `--params` and `--set`."""
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument(
        "--recognizer", type=Path, metavar="MODEL", help="folder of a landmark recogniser that was trained on the map"
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="MODEL",
        help="folder of the global descriptor model that the map's retrieval index was made with",
    )
    parser.add_argument(
        "--matcher",
        type=Path,
        metavar="MODEL",
        help="folder of a learned matcher for the map's keypoints, which tries what nearest neighbours do not localize",
    )
    parser.add_argument(
        "--params",
        type=Path,
        metavar="YAML",
        help="parameters other than the defaults, nested by group; a ROS file too",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter, such as pose.max_error_px=6; repeatable, wins over --params; `vloc config` lists all",
    )


def localizer_from(args: argparse.Namespace) -> Localizer:
    """The localizer that the options describe, calculating as the node does."""
    from vloc_ros.assembly import build_localizer, explain_unused_encoder, explain_unused_matcher
    from vloc_ros.footprint import limit_blas_threads
    from vloc_ros.inference.global_descriptors import read_global_descriptor
    from vloc_ros.inference.landmark_recognizer import read_landmark_recognizer
    from vloc_ros.inference.matching_network import read_matching_network
    from vloc_ros.storage.maps import read_map

    config = config_from(args)
    landmark_map = read_map(args.map)
    if not landmark_map.metric:
        warning = "its scale is unknown: lengths are not metres; `vloc map align` gives it scale and frame"
        print(f"vloc: warning: {args.map}: {warning}", file=sys.stderr)
    limit_blas_threads()
    encoder = read_global_descriptor(args.encoder, config.inference) if args.encoder else None
    network = read_matching_network(args.matcher, config.inference) if args.matcher else None
    localizer = build_localizer(
        config,
        landmark_map,
        recognizer=read_landmark_recognizer(args.recognizer, config.inference) if args.recognizer else None,
        encoder=encoder,
        network=network,
    )
    unused = (
        explain_unused_encoder(config, landmark_map, encoder),
        explain_unused_matcher(config, landmark_map, network),
    )
    for warning in filter(None, unused):
        print(f"vloc: warning: {args.map}: {warning}", file=sys.stderr)
    return localizer


def config_from(args: argparse.Namespace) -> LocalizerConfig:
    """The parameters that `--params` and `--set` give; the others keep their defaults."""
    from vloc_ros.core.config import LocalizerConfig, config_from_mapping

    values = _read_parameters(args.params) if args.params else {}
    assign_all(values, args.set)
    return config_from_mapping(LocalizerConfig, values)


def inference_from(args: argparse.Namespace) -> InferenceConfig:
    """What learned models run on, of a command that has no other parameters.

    Raises:
        ConfigError: `--set` names another parameter, or has a value outside its range.
    """
    from vloc_ros.core.config import InferenceConfig, config_from_mapping

    values: dict[str, Any] = {}
    assign_all(values, args.set)
    for name in values:
        if name != "inference":
            raise ConfigError(f"--set {name}: expected inference.provider or inference.threads")
    given = values.get("inference", {})
    if not isinstance(given, dict):
        raise ConfigError(f"--set inference={given}: expected inference.provider=NAME or inference.threads=N")
    return config_from_mapping(InferenceConfig, given, "inference.")


def assign_all(values: dict[str, Any], assignments: Sequence[str]) -> None:
    """Put every `a.b=value` of `--set` into nested mappings.

    Raises:
        ConfigError: one is no assignment, or goes below a name that has a value.
    """
    import yaml

    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip(". "):
            raise ConfigError(f"--set {assignment}: expected NAME=VALUE, such as pose.max_error_px=6")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: {text!r} is not a number, a word or true/false") from error
        if isinstance(value, dict):
            raise ConfigError(f"--set {assignment}: found a group of parameters, expected one value")
        _put(values, name, value, where=f"--set {assignment}")


def _read_parameters(path: Path) -> dict[str, Any]:
    """The stages' parameters of a file, nested by group; those of the localizer node in it are ignored."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not YAML ({' '.join(str(error).split())}); expected `group: {{name: value}}`"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds a {type(found).__name__}, expected `group: {{name: value}}`")
    values: dict[str, Any] = {}
    for name, value in _flat(_unwrapped(found, path), path):
        _put(values, name, value, where=f"{path}: {name}")
    return values


def _unwrapped(found: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """What a ROS parameter file has for the localizer: below `/**` or its name, and `ros__parameters`."""
    from vloc_ros.core.config import LocalizerConfig, parameters_of
    from vloc_ros.core.parameter_names import explain_unknown_parameter
    from vloc_ros.core.spelling import nearest_name
    from vloc_ros.node_config import LocalizerNodeConfig

    wrapped = {name: node["ros__parameters"] for name, node in found.items() if _is_node(node)}
    if not wrapped:
        return found
    for name, node in wrapped.items():
        if not isinstance(node, dict):
            raise ConfigError(f"{path}: {name} has no parameters, expected `ros__parameters: {{name: value}}`")
    mine = [node for name, node in wrapped.items() if str(name).rpartition("/")[2] in _LOCALIZER_NAMES]
    names = [parameter.name for parameter in parameters_of(LocalizerNodeConfig())]
    of_node = {_group(name) for name in names} | {"use_sim_time"}
    values = {name: value for node in mine for name, value in node.items() if _group(name) not in of_node}
    stages = {_group(parameter.name) for parameter in parameters_of(LocalizerConfig())}
    for name, value in values.items():
        if _group(name) not in stages and not isinstance(value, dict) and nearest_name(str(name), names):
            raise ConfigError(f"{path}: {explain_unknown_parameter(str(name), names)}")
    return values


def _group(name: Any) -> str:
    """`matcher` of `matcher.ratio`: a file may write groups either way."""
    return str(name).partition(".")[0]


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "ros__parameters" in value


def _flat(values: dict[Any, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}: found {prefix}{name!r}, expected the name of a parameter or a group")
        if isinstance(value, dict) and value:
            yield from _flat(value, path, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _put(values: dict[str, Any], dotted: str, value: Any, *, where: str) -> None:
    *groups, leaf = dotted.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: {group} is a value, not a group of parameters")
    values[leaf] = value
