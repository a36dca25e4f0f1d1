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

"""What the launch files of this package share. They alone import it: the libraries of launch come with ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from vloc_ros.footprint import ONE_HEAP
from vloc_ros.nodes.rclpy_support.parameter_files import check_parameter_file

SHARE = Path(get_package_share_directory("vloc_ros"))
NAMESPACED_TF = "use tf and tf_static in the namespace, as nav2 does, in place of /tf and /tf_static"
# what PushRosNamespace of a launch file that includes one of ours leaves
_PUSHED = "pushed namespace"
LOG_LEVELS = "debug, info, warn, error or fatal"


def describe_launch(
    arguments: Mapping[str, tuple[str | None, str]], start: Callable[[dict[str, str]], list[Any]]
) -> LaunchDescription:
    """Return a launch with these arguments, each with default and description, and what it starts with their values."""

    def perform(context: Any) -> list[Any]:
        given = {name: LaunchConfiguration(name).perform(context) for name in arguments}
        return start(given | {_PUSHED: context.launch_configurations.get("ros_namespace", "")})

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=perform)])


def make_node(
    executable: str,
    given: Mapping[str, str],
    *,
    overrides: Mapping[str, tuple[str, type]],
    remappings: Iterable[tuple[str, str]] = (),
) -> Node:
    """Return one of our nodes, `vloc_` and its executable by name.

    Args:
        executable: of the package.
        given: values of the arguments.
        overrides: argument and type of each parameter that overrides the file, where the argument is given.
        remappings: of its topics, besides those of TF.

    Raises:
        ConfigError: the file of parameters is missing or has none for this node.
    """
    name, log_level = f"vloc_{executable}", LaunchConfiguration("log_level")
    check_parameter_file(given["params_file"], node=name, namespace=namespace_of(given))
    values = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for parameter, (argument, kind) in overrides.items()
        if given[argument]
    }
    enclave = ["--enclave", f"{given['enclaves']}/{executable}"] if given["enclaves"] else []
    return Node(
        package="vloc_ros",
        executable=executable,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        additional_env=ONE_HEAP,  # otherwise the node restarts itself with it
        parameters=[given["params_file"], *([values] if values else [])],
        remappings=list(remappings),
        arguments=["--ros-args", "--log-level", log_level, *enclave],
    )


def namespace_of(given: Mapping[str, str]) -> str:
    """Return the namespace of the nodes: the argument, below that of a launch file which includes this one."""
    namespace = given["namespace"]
    return namespace if namespace.startswith("/") else f"{given[_PUSHED]}/{namespace}"


def remap_tf(given: Mapping[str, str], *names: str) -> list[tuple[str, str]]:
    """Return remappings of these topics of TF into the namespace, where `namespaced_tf` is true."""
    return [(f"/{name}", name) for name in names] if given["namespaced_tf"].lower() == "true" else []


def include_launch(file: str, arguments: Mapping[str, str]) -> GroupAction:
    """Return another launch file of this package, in a group: otherwise its arguments would become the caller's."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / file))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])
