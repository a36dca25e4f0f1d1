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

"""Launches the localizer, and the map server if `map` or `maps_folder` is given."""

from pathlib import Path

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
ARGUMENTS = {
    "map": ("", "map folder; empty uses the map of another map server in the namespace"),
    "maps_folder": ("", "folder of the maps that load_map of the map server can load"),
    "recognizer": ("", "landmark recogniser of the map; empty uses params_file, with the default none"),
    "encoder": ("", "global descriptor model of the map; empty uses params_file, with the default none"),
    "namespace": ("", "namespace of the nodes"),
    "namespaced_tf": ("false", "use tf and tf_static in the namespace, as nav2 does, in place of /tf and /tf_static"),
    "use_sim_time": ("", "use the time of /clock; empty uses params_file"),
    "params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("", "the nodes activate themselves; empty uses params_file, with the default true"),
    "use_respawn": ("false", "restart a node when it ends"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "enclaves": ("", "parent of the SROS2 enclaves of the nodes, such as /vloc_ros; empty uses the default enclave /"),
    "image_topic": ("image", "image topic; without /compressed at the end, also with image_transport compressed"),
    "camera_info_topic": ("camera_info", "topic of the camera calibration"),
    "cameras": (
        "",
        "namespaces of the cameras of a rig, separated by commas; the topics above are then relative to each; "
        "empty uses params_file, with the default of one camera",
    ),
    "image_transport": ("", "raw or compressed; empty uses params_file, with the default raw"),
    "base_frame": ("", "base frame as in TF, with its prefix; empty uses params_file, with the default base_link"),
    "odom_frame": ("", "odometry frame as in TF, with its prefix; empty uses params_file, with the default odom"),
    "initialpose_topic": (
        "initialpose",
        "topic of initial poses; in a namespace /initialpose for RViz",
    ),
    "feed_topic": (
        "~/initialpose",
        "topic for poses to another localizer, see the parameters feed; initialpose for AMCL",
    ),
}
OF_BOTH = ("namespace", "namespaced_tf", "use_sim_time", "autostart", "use_respawn", "log_level", "enclaves")
OF_A_CAMERA = ("image_topic", "camera_info_topic")
OVERRIDES = {
    "use_sim_time": bool,
    "autostart": bool,
    "image_transport": str,
    "recognizer": str,
    "encoder": str,
    "cameras": str,
    "base_frame": str,
    "odom_frame": str,
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def nodes(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    check_parameter_file(given["params_file"], node="vloc_localizer", namespace=given["namespace"])
    served = given["map"] or given["maps_folder"]
    return [*([map_server(given)] if served else []), localizer(given)]


def map_server(given):
    # in a group, otherwise the localizer would get the params_file of the map server
    arguments = {name: given[name] for name in ("map", "maps_folder", *OF_BOTH)}
    arguments["params_file"] = str(SHARE / "config" / "map_server.yaml")
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "map_server.launch.py"))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def localizer(given):
    # only arguments that are given override the file
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in OVERRIDES.items()
        if given[name]
    }
    enclave = ["--enclave", given["enclaves"] + "/localizer"] if given["enclaves"] else []
    return Node(
        package="vloc_ros",
        executable="localizer",
        name="vloc_localizer",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        additional_env=ONE_HEAP,  # otherwise the node restarts itself with it
        parameters=[given["params_file"], *([overrides] if overrides else [])],
        remappings=[
            *(remapping for camera in given["cameras"].split(",") for remapping in of_camera(camera.strip(), given)),
            ("~/initialpose", given["feed_topic"]),
            ("initialpose", given["initialpose_topic"]),
            *of_tf(given),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), *enclave],
    )


def of_tf(given):
    names = ("tf", "tf_static") if given["namespaced_tf"].lower() == "true" else ()
    return [(f"/{name}", name) for name in names]


def of_camera(camera, given):
    # a single camera has no namespace, and any topics
    below = camera.rstrip("/") + "/" if camera else ""
    image, info = (below + (given[name].lstrip("/") if camera else given[name]) for name in OF_A_CAMERA)
    names = (("image", image), ("image/compressed", image + "/compressed"), ("camera_info", info))
    return [(below + name, topic) for name, topic in names]
