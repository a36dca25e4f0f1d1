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

from vloc_ros.launching import LOG_LEVELS, NAMESPACED_TF, SHARE, describe_launch, include_launch, make_node, remap_tf

ARGUMENTS = {
    "map": ("", "map folder; empty uses the map of another map server in the namespace"),
    "maps_folder": ("", "folder of the maps that load_map of the map server can load"),
    "place_encoder": ("", "image model of the map server's query_places; empty for none"),
    "range_encoder": ("", "model of scans of the map server's query_places; empty for none"),
    "recognizer": ("", "landmark recogniser of the map; empty uses params_file, with the default none"),
    "encoder": ("", "global descriptor model of the map; empty uses params_file, with the default none"),
    "matching_network": ("", "learned matcher for the map's keypoints; empty uses params_file, with the default none"),
    "namespace": ("", "namespace of the nodes"),
    "namespaced_tf": ("false", NAMESPACED_TF),
    "use_sim_time": ("", "use the time of /clock; empty uses params_file"),
    "params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("", "the nodes activate themselves; empty uses params_file, with the default true"),
    "use_respawn": ("false", "restart a node when it ends"),
    "log_level": ("info", LOG_LEVELS),
    "enclaves": ("", "parent of the SROS2 enclaves of the nodes, such as /vloc_ros; empty uses the default enclave /"),
    "image_topic": ("image", "image topic; without /compressed at the end, also with image_transport compressed"),
    "camera_info_topic": ("camera_info", "topic of the camera calibration"),
    "sensor": ("", "camera, lidar or both; empty uses params_file, with the default camera"),
    "points_topic": ("points", "topic of the LiDAR's scans, where sensor is lidar or both"),
    "imu_topic": ("imu", "topic of the IMU's orientation, where flight.gravity is imu"),
    "range_topic": ("range", "topic of the range sensor that looks down, where flight.altitude is range"),
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
    "matching_network": str,
    "sensor": str,
    "cameras": str,
    "base_frame": str,
    "odom_frame": str,
}


def generate_launch_description():
    return describe_launch(ARGUMENTS, nodes)


def nodes(given):
    served = given["map"] or given["maps_folder"]
    return [*([map_server(given)] if served else []), localizer(given)]


def map_server(given):
    arguments = {name: given[name] for name in ("map", "maps_folder", "range_encoder", *OF_BOTH)}
    arguments["encoder"] = given["place_encoder"]
    arguments["params_file"] = str(SHARE / "config" / "map_server.yaml")
    return include_launch("map_server.launch.py", arguments)


def localizer(given):
    remappings = [
        *(remapping for camera in given["cameras"].split(",") for remapping in of_camera(camera.strip(), given)),
        *((name, given[f"{name}_topic"]) for name in ("points", "imu", "range")),
        ("~/initialpose", given["feed_topic"]),
        ("initialpose", given["initialpose_topic"]),
        *remap_tf(given, "tf", "tf_static"),
    ]
    # only arguments that are given override the file
    overrides = {name: (name, kind) for name, kind in OVERRIDES.items()}
    return make_node("localizer", given, overrides=overrides, remappings=remappings)


def of_camera(camera, given):
    # a single camera has no namespace, and any topics
    below = camera.rstrip("/") + "/" if camera else ""
    image, info = (below + (given[name].lstrip("/") if camera else given[name]) for name in OF_A_CAMERA)
    names = (("image", image), ("image/compressed", image + "/compressed"), ("camera_info", info))
    return [(below + name, topic) for name, topic in names]
