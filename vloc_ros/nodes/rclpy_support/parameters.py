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

"""ROS parameters, declared from configuration dataclasses: one place for defaults, descriptions and ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from vloc_ros.core.config import Checked, Parameter, config_from_mapping, parameters_of
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.parameter_names import explain_renamed_parameter, explain_unknown_parameter

C = TypeVar("C", bound=Checked)

# parameters that rclpy declares itself
_FOREIGN = ("use_sim_time", "start_type_description_service")
_FOREIGN_GROUPS = ("qos_overrides.",)
_UNBOUNDED = 1e300


Admission = Callable[[set[str], Sequence[Any]], str]


def _admit_all(changed: set[str], configurations: Sequence[Any]) -> str:
    return ""


def declare_parameters(node: Node, *configurations: Checked, admit: Admission = _admit_all) -> None:
    """Declare every leaf of the configurations, with the values that the node was started with.

    The node has to be created with `automatically_declare_parameters_from_overrides`, so that undeclared names are
    found. Later changes are validated, all of one request or none.

    Args:
        node: node that declares the parameters.
        configurations: configurations with the defaults.
        admit: called with the names that a valid request changes and the new configurations; applies them and returns
            an empty text, or returns the reason for a refusal.

    Raises:
        ConfigError: a name is unknown or was renamed, a value has the wrong type or lies outside its range.
    """
    overrides = _take_overrides(node)
    declared = {leaf.name: leaf for configuration in configurations for leaf in parameters_of(configuration)}
    unknown = sorted(set(overrides) - set(declared))
    if unknown:
        # a former name says more than one that never was
        first = next((name for name in unknown if explain_renamed_parameter(name)), unknown[0])
        raise ConfigError(explain_unknown_parameter(first, declared))
    values = {name: _convert_value(leaf, overrides.get(name, leaf.value)) for name, leaf in declared.items()}
    kinds = [type(configuration) for configuration in configurations]
    for kind in kinds:
        _build_config(kind, values)
    for name, leaf in declared.items():
        node.declare_parameter(name, values[name], _make_descriptor(leaf), ignore_override=True)

    def check(changes: list[RosParameter]) -> SetParametersResult:
        wanted = {change.name: change.value for change in changes if change.name in declared}
        try:
            made = [config_of(node, kind, changes=wanted) for kind in kinds]
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        reason = admit({name for name, value in wanted.items() if node.get_parameter(name).value != value}, made)
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(check)


def config_of(node: Node, kind: type[C], *, changes: dict[str, Any] | None = None) -> C:
    """Return a configuration from a node's parameters, with some values changed.

    Raises:
        ConfigError: a value has the wrong type or lies outside its range.
    """
    values = {leaf.name: node.get_parameter(leaf.name).value for leaf in parameters_of(kind())}
    return _build_config(kind, values | (changes or {}))


def log_parameters(node: Node, *configurations: Checked) -> None:
    """Log every parameter at debug, one a line, and those that differ from their defaults at info."""
    changed = []
    for configuration in configurations:
        defaults = {leaf.name: leaf.value for leaf in parameters_of(type(configuration)())}
        for leaf in parameters_of(configuration):
            node.get_logger().debug(f"parameter {leaf.name} is {leaf.value!r}")
            if leaf.value != defaults[leaf.name]:
                changed.append(f"{leaf.name} is {leaf.value!r}")
    node.get_logger().info(f"parameters other than the defaults: {', '.join(changed) or 'none'}")


def _build_config(kind: type[C], values: dict[str, Any]) -> C:
    """Build a configuration from flat dotted names; names of other configurations are ignored."""
    nested: dict[str, Any] = {}
    for leaf in parameters_of(kind()):
        *groups, name = leaf.name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = values[leaf.name]
    return config_from_mapping(kind, nested)


def _take_overrides(node: Node) -> dict[str, Any]:
    """Return the overrides of the node by name, and undeclare them so that they can be declared with descriptors."""
    overrides = {}
    for name in sorted(node.get_parameters_by_prefix("")):  # Humble's nodes have no list_parameters
        if name not in _FOREIGN and not name.startswith(_FOREIGN_GROUPS):
            overrides[name] = node.get_parameter(name).value
            node.undeclare_parameter(name)
    return overrides


def _convert_value(leaf: Parameter, value: Any) -> Any:
    """Check the type of a value; accept an integer such as 6 for 6.0, as YAML files have it."""
    if isinstance(leaf.value, float) and type(value) is int:
        return float(value)
    if type(value) is not type(leaf.value):
        raise ConfigError(f"parameter {leaf.name} is {value!r}, expected a {type(leaf.value).__name__}")
    return value


def _make_descriptor(leaf: Parameter) -> ParameterDescriptor:
    unit = f" [{leaf.unit}]" if leaf.unit else ""
    descriptor = ParameterDescriptor(description=f"{leaf.description}{unit}")
    if leaf.choices:
        descriptor.additional_constraints = f"one of {', '.join(leaf.choices)}"
    bounds = list(_bounds(leaf))
    if bounds and isinstance(leaf.value, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1], step=0.0)]
    elif bounds:
        low, high = (int(min(max(bound, -(2**63)), 2**63 - 1)) for bound in bounds)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    return descriptor


def _bounds(leaf: Parameter) -> Iterator[float]:
    if leaf.low is not None or leaf.high is not None:
        yield -_UNBOUNDED if leaf.low is None else float(leaf.low)
        yield _UNBOUNDED if leaf.high is None else float(leaf.high)
