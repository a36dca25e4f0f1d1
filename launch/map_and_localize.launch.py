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

"""Launches the mapper, the map server and the localizer: drive, build a map, be localized in it."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from vloc_ros.footprint import ONE_HEAP
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.rclpy_support.parameter_files import check_parameter_file, parameter_of_file

SHARE = Path(get_package_share_directory("vloc_ros"))
ARGUMENTS = {
    "recordings_folder": (
        "",
        "folder of the recordings; empty uses params_file, as ~/vloc_ros/recordings",
    ),
    "maps_folder": ("", "folder of the maps, also the map server's; empty uses params_file, as ~/vloc_ros/maps"),
    "map": ("", "map folder to begin with; empty: none until one is built"),
    "record": ("", "true starts a recording at once, false waits for the service start; empty uses params_file"),
    "namespace": ("", "namespace of the nodes"),
    "namespaced_tf": ("false", "use tf and tf_static in the namespace, as nav2 does, in place of /tf and /tf_static"),
    "use_sim_time": ("", "use the time of /clock; empty uses the files of parameters"),
    "params_file": (str(SHARE / "config" / "mapper.yaml"), "parameters of the mapper"),
    "localizer_params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("", "the nodes activate themselves; empty uses the files of parameters, with the default true"),
    "use_respawn": ("true", "restart a node when it ends; the mapper then goes on with its recording"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "enclaves": ("", "parent of the SROS2 enclaves of the nodes, such as /vloc_ros; empty uses the default enclave /"),
    "image_topic": ("image", "image topic; without /compressed at the end, also with image_transport compressed"),
    "camera_info_topic": ("camera_info", "topic of the camera calibration"),
    "image_transport": ("", "raw or compressed; empty uses the files of parameters, with the default raw"),
    "base_frame": ("", "base frame as in TF, with its prefix; empty uses the files of parameters"),
    "odom_frame": ("", "odometry frame as in TF, with its prefix; empty uses the files of parameters"),
}
OF_THE_OTHERS = (
    *("maps_folder", "map", "namespace", "namespaced_tf", "use_sim_time", "autostart", "use_respawn", "log_level"),
    *("enclaves", "image_topic", "camera_info_topic", "image_transport", "base_frame", "odom_frame"),
)
# parameter of the mapper -> launch argument, and its type
OVERRIDES = {
    "recordings_folder": ("recordings_folder", str),
    "maps_folder": ("maps_folder", str),
    "record_on_activate": ("record", bool),
    "use_sim_time": ("use_sim_time", bool),
    "autostart": ("autostart", bool),
    "image_transport": ("image_transport", str),
    "base_frame": ("base_frame", str),
    "odom_frame": ("odom_frame", str),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    check_parameter_file(given["params_file"], node="vloc_mapper", namespace=given["namespace"])
    return [map_server_and_localizer(given), mapper(given)]


def map_server_and_localizer(given):
    # in a group, otherwise the mapper would get the params_file of the localizer
    arguments = {name: given[name] for name in OF_THE_OTHERS}
    arguments["params_file"] = given["localizer_params_file"]
    arguments["maps_folder"] = given["maps_folder"] or maps_folder_of_mapper(given)
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "localize.launch.py"))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def maps_folder_of_mapper(given):
    file, namespace = given["params_file"], given["namespace"]
    found = parameter_of_file(file, "maps_folder", node="vloc_mapper", namespace=namespace)
    return str(found or MapperConfig().maps_folder)


def mapper(given):
    # only arguments that are given override the file
    overrides = {
        name: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for name, (argument, kind) in OVERRIDES.items()
        if given[argument]
    }
    enclave = ["--enclave", given["enclaves"] + "/mapper"] if given["enclaves"] else []
    return Node(
        package="vloc_ros",
        executable="mapper",
        name="vloc_mapper",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        additional_env=ONE_HEAP,  # otherwise the node restarts itself with it
        parameters=[given["params_file"], *([overrides] if overrides else [])],
        remappings=[
            ("image", given["image_topic"]),
            ("image/compressed", given["image_topic"] + "/compressed"),
            ("camera_info", given["camera_info_topic"]),
            *((f"/{name}", name) for name in ("tf", "tf_static") if given["namespaced_tf"].lower() == "true"),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), *enclave],
    )
