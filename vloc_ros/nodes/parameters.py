"""ROS parameters, declared from configuration dataclasses: one place for defaults, descriptions and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from vloc_ros.core.config import Checked, Parameter, config_from_mapping, parameter, parameters_of
from vloc_ros.core.errors import ConfigError

C = TypeVar("C", bound=Checked)

# what rclpy declares itself
_FOREIGN = ("use_sim_time", "start_type_description_service")
_FOREIGN_GROUPS = ("qos_overrides.",)
_UNBOUNDED = 1e300


@dataclass(frozen=True, slots=True)
class LocalizerNodeConfig(Checked):
    """The localizer node itself; the stages' parameters stand beside these."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder; empty takes the map that map_server announces")
    map_server: str = parameter("map_server", "name of the node to take the map from")
    map_cache: str = parameter("~/.cache/vloc_ros/maps", "folder for maps fetched from the map server")
    base_frame: str = parameter("base_link", "frame whose pose is published; empty takes the camera's own")
    odom_frame: str = parameter("odom", "frame of the odometry")
    publish_tf: str = parameter(
        "map_odom", "transform to publish: with odometry, without, or none", choices=("map_odom", "map_base", "none")
    )
    transform_tolerance_s: float = parameter(
        0.1, "map->odom is stamped so much later than its image", unit="s", low=0.0, high=10.0
    )
    transform_timeout_s: float = parameter(
        0.2, "how long to wait for TF and camera_info of an image", unit="s", low=0.0, high=10.0
    )
    transform_rate_hz: float = parameter(
        20.0, "map->odom is repeated so often between images; 0 does not", unit="Hz", low=0.0, high=1000.0
    )
    two_d_mode: bool = parameter(False, "project the pose to the plane: x, y and heading")
    max_image_age_s: float = parameter(
        0.0,
        "an older image is refused as stale; 0 takes any",
        unit="s",
        low=0.0,
        high=1e6,
    )
    image_transport: str = parameter("raw", "image, or image/compressed", choices=("raw", "compressed"))
    image_reliability: str = parameter(
        "best_effort", "QoS of the image; large raw images need reliable", choices=("best_effort", "reliable")
    )
    image_depth: int = parameter(5, "QoS depth of the image; what overflows it has no status", low=1, high=1000)
    status_depth: int = parameter(50, "QoS depth of status and poses, which are reliable", low=1, high=10000)
    relocalize_timeout_s: float = parameter(
        2.0, "the service relocalize waits so long for an image", unit="s", low=0.01, high=60.0
    )


@dataclass(frozen=True, slots=True)
class MapServerConfig(Checked):
    """The map server."""

    autostart: bool = parameter(True, "the node configures and activates itself")
    map: str = parameter("", "map folder to load at the start; empty waits for load_map")
    maps_folder: str = parameter("", "folder of the maps that load_map may load; empty allows none")


@dataclass(frozen=True, slots=True)
class PlayerConfig(Checked):
    """The player of bags."""

    bag: str = parameter("", "bag folder or .mcap file")
    rate: float = parameter(1.0, "times the bag's own rate", low=0.01, high=100.0)
    clock: bool = parameter(False, "publish /clock from the bag's times")
    wait_for: str = parameter("", "topic that needs a subscriber before the start; empty waits for none")
    wait_for_localizer: str = parameter(
        "", "localizer that has to have a map, and somebody to listen to its status, before the start; empty for none"
    )
    wait_timeout_s: float = parameter(30.0, "give up waiting after so long", unit="s", low=0.0, high=3600.0)
    skip: str = parameter("", "topics that are not played, with commas between them")
    limit: int = parameter(0, "stop after so many messages of wait_for; 0 plays all", low=0, high=2**31 - 1)
    log: str = parameter("", "file for the monotonic publish time of every stamped message, JSON lines; empty for none")


@dataclass(frozen=True, slots=True)
class RecorderConfig(Checked):
    """The recorder of what the localizer publishes."""

    localizer: str = parameter("localizer", "name of the localizer node")
    out: str = parameter("", "file to write, JSON lines")
    expected: int = parameter(0, "end after a status for so many images; 0 goes on until interrupted", low=0)


def declare(node: Node, *configurations: Checked) -> None:
    """Declare every leaf of the configurations, with the values that the node was started with.

    The node has to be made with `automatically_declare_parameters_from_overrides`, so that a name that nobody
    declares is seen. Later changes are validated, and take effect when the node is configured again.

    Raises:
        ConfigError: a name is unknown, a value has the wrong type or lies outside its range.
    """
    given = _given(node)
    declared = {leaf.name: leaf for configuration in configurations for leaf in parameters_of(configuration)}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise ConfigError(f"unknown parameter {unknown[0]}, expected one of {', '.join(declared)}")
    values = {name: _as_declared(leaf, given.get(name, leaf.value)) for name, leaf in declared.items()}
    kinds = [type(configuration) for configuration in configurations]
    for kind in kinds:
        _config(kind, values)
    for name, leaf in declared.items():
        node.declare_parameter(name, values[name], _descriptor(leaf), ignore_override=True)

    def check(changes: list[RosParameter]) -> SetParametersResult:
        try:
            for kind in kinds:
                config_of(node, kind, changes={change.name: change.value for change in changes})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)


def config_of(node: Node, kind: type[C], *, changes: dict[str, Any] | None = None) -> C:
    """The configuration that a node's parameters make, with some values changed.

    Raises:
        ConfigError: a value has the wrong type or lies outside its range.
    """
    values = {leaf.name: node.get_parameter(leaf.name).value for leaf in parameters_of(kind())}
    return _config(kind, values | (changes or {}))


def _config(kind: type[C], values: dict[str, Any]) -> C:
    """A configuration from flat names with dots; names of others are left aside."""
    nested: dict[str, Any] = {}
    for leaf in parameters_of(kind()):
        *groups, name = leaf.name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = values[leaf.name]
    return config_from_mapping(kind, nested)


def _given(node: Node) -> dict[str, Any]:
    """Values that the node was started with, by name; they are undeclared, to be declared properly."""
    given = {}
    for name in sorted(node.list_parameters([], 0).names):
        if name not in _FOREIGN and not name.startswith(_FOREIGN_GROUPS):
            given[name] = node.get_parameter(name).value
            node.undeclare_parameter(name)
    return given


def _as_declared(leaf: Parameter, value: Any) -> Any:
    """YAML writes 6 where 6.0 is meant."""
    if isinstance(leaf.value, float) and type(value) is int:
        return float(value)
    if type(value) is not type(leaf.value):
        raise ConfigError(f"parameter {leaf.name} is {value!r}, expected a {type(leaf.value).__name__}")
    return value


def _descriptor(leaf: Parameter) -> ParameterDescriptor:
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
