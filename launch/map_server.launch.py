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

"""Launches the map server."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from vloc_ros.footprint import ONE_HEAP
from vloc_ros.nodes.rclpy_support.parameter_files import check_parameter_file

SHARE = Path(get_package_share_directory("vloc_ros"))
ARGUMENTS = {
    "map": ("", "map folder; empty uses params_file, or the service load_map"),
    "maps_folder": ("", "folder of the maps that load_map can load; empty uses params_file"),
    "namespace": ("", "namespace of the node"),
    "namespaced_tf": ("false", "use tf and tf_static in the namespace, as nav2 does, in place of /tf and /tf_static"),
    "use_sim_time": ("", "use the time of /clock; empty uses params_file"),
    "params_file": (str(SHARE / "config" / "map_server.yaml"), "parameters of the map server"),
    "autostart": ("", "the node activates itself; empty uses params_file, with the default true"),
    "use_respawn": ("false", "restart the node when it ends"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "enclaves": ("", "parent of the SROS2 enclave of the node, such as /vloc_ros; empty uses the default enclave /"),
}
OVERRIDES = {"use_sim_time": bool, "autostart": bool, "map": str, "maps_folder": str}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    check_parameter_file(given["params_file"], node="vloc_map_server", namespace=given["namespace"])
    # only arguments that are given override the file
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in OVERRIDES.items()
        if given[name]
    }
    enclave = ["--enclave", given["enclaves"] + "/map_server"] if given["enclaves"] else []
    map_server = Node(
        package="vloc_ros",
        executable="map_server",
        name="vloc_map_server",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        additional_env=ONE_HEAP,  # otherwise the node restarts itself with it
        parameters=[given["params_file"], *([overrides] if overrides else [])],
        remappings=[("/tf_static", "tf_static")] if given["namespaced_tf"].lower() == "true" else [],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), *enclave],
    )
    return [map_server]
