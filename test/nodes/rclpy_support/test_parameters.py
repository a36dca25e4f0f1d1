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

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from ros_session import Ros

from vloc_ros.core.config import LocalizerConfig, config_from_mapping, parameters_of
from vloc_ros.core.errors import ConfigError
from vloc_ros.node_config import LocalizerNodeConfig, MapperConfig, MapServerConfig
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.mapper.node import MapperNode
from vloc_ros.nodes.rclpy_support.parameters import config_of, log_parameters

CONFIG = Path(__file__).resolve().parents[3] / "config"


def test_every_parameter_of_the_configuration_is_declared(ros: Ros) -> None:
    node = ros.add(LocalizerNode, autostart=False)
    for leaf in [*parameters_of(LocalizerConfig()), *parameters_of(LocalizerNodeConfig(autostart=False))]:
        assert node.get_parameter(leaf.name).value == leaf.value
        assert node.describe_parameter(leaf.name).description.startswith(leaf.description)
    bounds = node.describe_parameter("matcher.ratio").floating_point_range[0]
    assert (bounds.from_value, bounds.to_value) == (0.1, 1.0)


def test_overrides_reach_the_configuration(ros: Ros) -> None:
    node = ros.add(LocalizerNode, autostart=False, base_frame="robot", **{"pose.max_error_px": 6})
    assert config_of(node, LocalizerConfig).pose.max_error_px == 6.0
    assert config_of(node, LocalizerNodeConfig).base_frame == "robot"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("matcher.ration", 0.8, r"unknown parameter matcher\.ration, did you mean matcher\.ratio\?"),
        ("mpa", "kitchen", r"unknown parameter mpa, did you mean map\?"),
        ("xyzzy", 1, r"unknown parameter xyzzy, expected one of the \d+ that `vloc config` lists$"),
        ("proposals.places", "vlad", "parameter proposals.places is now candidates.retrieval"),
        ("verification.min_lead", 0.1, "parameter verification.min_lead was removed"),
        ("matcher.ratio", 1.5, "expected 0.1 to 1.0"),
        ("matcher.ratio", "much", "expected a float"),
        ("publish_tf", "odom_map", "expected one of map_odom, map_base, none"),
    ],
)
def test_a_wrong_parameter_stops_the_start(ros: Ros, name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ros.add(LocalizerNode, autostart=False, **{name: value})


@pytest.mark.parametrize(
    ("group", "name", "starts"), [("candidates", "retrieval", True), ("proposals", "places", False)]
)
def test_a_parameter_file_needs_present_names(ros: Ros, tmp_path: Path, group: str, name: str, starts: bool) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {group: {name: "vlad"}}}}))
    make = partial(LocalizerNode, cli_args=["--ros-args", "--params-file", str(file)])
    if starts:
        node = ros.add(make, autostart=False)
        assert config_of(node, LocalizerConfig).candidates.retrieval == "vlad"
        return
    with pytest.raises(ConfigError, match=r"parameter proposals\.places is now candidates\.retrieval"):
        ros.add(make, autostart=False)


def test_the_log_has_what_differs_from_the_defaults(ros: Ros, capfd: pytest.CaptureFixture[str]) -> None:
    node = ros.add(LocalizerNode, autostart=False)
    configurations = (LocalizerNodeConfig(base_frame="robot"), LocalizerConfig())
    log_parameters(node, *configurations)
    assert "parameters other than the defaults: base_frame is 'robot'\n" in capfd.readouterr().err
    node.get_logger().set_level(LoggingSeverity.DEBUG)
    log_parameters(node, *configurations)
    node.get_logger().set_level(LoggingSeverity.UNSET)
    lines = [line.partition("]: ")[2] for line in capfd.readouterr().err.splitlines()]
    leaves = [leaf for configuration in configurations for leaf in parameters_of(configuration)]
    assert [line for line in lines if line.startswith("parameter ")] == [
        f"parameter {leaf.name} is {leaf.value!r}" for leaf in leaves
    ]


def test_a_change_is_validated(ros: Ros) -> None:
    node = ros.add(LocalizerNode, autostart=False)
    refused, taken = node.set_parameters([Parameter("matcher.ratio", value=3.0), Parameter("publish_tf", value="none")])
    assert not refused.successful
    assert taken.successful
    assert config_of(node, LocalizerConfig) == LocalizerConfig()


@pytest.mark.parametrize(
    ("file", "make", "kind"),
    [
        ("localizer.yaml", LocalizerNode, LocalizerNodeConfig),
        ("map_server.yaml", MapServerNode, MapServerConfig),
        ("mapper.yaml", MapperNode, MapperConfig),
    ],
)
def test_the_example_files_hold_every_default(file: str, make: Callable[..., Any], kind: Any) -> None:
    values = yaml.safe_load((CONFIG / file).read_text())["/**"]["ros__parameters"]
    assert config_from_mapping(kind, values) == kind()
    assert [leaf.name for leaf in parameters_of(kind())] == list(_flat(values))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name
