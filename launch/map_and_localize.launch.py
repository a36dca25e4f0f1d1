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

from vloc_ros.launching import (
    LOG_LEVELS,
    NAMESPACED_TF,
    SHARE,
    describe_launch,
    include_launch,
    make_node,
    namespace_of,
    remap_tf,
)
from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.rclpy_support.parameter_files import parameter_of_file

ARGUMENTS = {
    "recordings_folder": (
        "",
        "folder of the recordings; empty uses params_file, as ~/vloc_ros/recordings",
    ),
    "maps_folder": ("", "folder of the maps, also the map server's; empty uses params_file, as ~/vloc_ros/maps"),
    "map": ("", "map folder to begin with; empty: none until one is built"),
    "record": ("", "true starts a recording at once, false waits for the service start; empty uses params_file"),
    "namespace": ("", "namespace of the nodes"),
    "namespaced_tf": ("false", NAMESPACED_TF),
    "use_sim_time": ("", "use the time of /clock; empty uses the files of parameters"),
    "params_file": (str(SHARE / "config" / "mapper.yaml"), "parameters of the mapper"),
    "localizer_params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("", "the nodes activate themselves; empty uses the files of parameters, with the default true"),
    "use_respawn": ("true", "restart a node when it ends; the mapper then goes on with its recording"),
    "log_level": ("info", LOG_LEVELS),
    "enclaves": ("", "parent of the SROS2 enclaves of the nodes, such as /vloc_ros; empty uses the default enclave /"),
    "image_topic": ("image", "image topic; without /compressed at the end, also with image_transport compressed"),
    "camera_info_topic": ("camera_info", "topic of the camera calibration"),
    "odom_topic": ("", "nav_msgs/Odometry that the mapper takes odometry from; empty uses its file of parameters"),
    "image_transport": ("", "raw or compressed; empty uses the files of parameters, with the default raw"),
    "base_frame": ("", "base frame as in TF, with its prefix; empty uses the files of parameters"),
    "odom_frame": ("", "odometry frame as in TF, with its prefix; empty uses the files of parameters"),
}
OF_THE_OTHERS = (
    *("maps_folder", "map", "namespace", "namespaced_tf", "use_sim_time", "autostart", "use_respawn", "log_level"),
    *("enclaves", "image_topic", "camera_info_topic", "image_transport", "base_frame", "odom_frame"),
)
# parameter of the mapper -> launch argument, and its type
# argument and type of each parameter; only arguments that are given override the file
OVERRIDES = {
    "recordings_folder": ("recordings_folder", str),
    "maps_folder": ("maps_folder", str),
    "record_on_activate": ("record", bool),
    "use_sim_time": ("use_sim_time", bool),
    "autostart": ("autostart", bool),
    "image_transport": ("image_transport", str),
    "base_frame": ("base_frame", str),
    "odom_frame": ("odom_frame", str),
    "odometry": ("odometry", str),
}


def generate_launch_description():
    return describe_launch(ARGUMENTS, nodes)


def nodes(given):
    # the mapper first: it checks the file that the map server's folder is read from
    node = mapper(given)
    return [map_server_and_localizer(given), node]


def map_server_and_localizer(given):
    arguments = {name: given[name] for name in OF_THE_OTHERS}
    arguments["params_file"] = given["localizer_params_file"]
    arguments["maps_folder"] = given["maps_folder"] or maps_folder_of_mapper(given)
    return include_launch("localize.launch.py", arguments)


def maps_folder_of_mapper(given):
    file = given["params_file"]
    found = parameter_of_file(file, "maps_folder", node="vloc_mapper", namespace=namespace_of(given))
    return str(found or MapperConfig().maps_folder)


def mapper(given):
    remappings = [
        ("image", given["image_topic"]),
        ("image/compressed", given["image_topic"] + "/compressed"),
        ("camera_info", given["camera_info_topic"]),
        ("odom", given["odom_topic"] or "odom"),
        *remap_tf(given, "tf", "tf_static"),
    ]
    given = {**given, "odometry": "topic" if given["odom_topic"] else ""}
    return make_node("mapper", given, overrides=OVERRIDES, remappings=remappings)
