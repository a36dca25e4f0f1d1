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

from vloc_ros.launching import LOG_LEVELS, NAMESPACED_TF, SHARE, describe_launch, make_node, remap_tf

ARGUMENTS = {
    "map": ("", "map folder; empty uses params_file, or the service load_map"),
    "maps_folder": ("", "folder of the maps that load_map can load; empty uses params_file"),
    "encoder": ("", "image model of query_places; empty uses params_file, with the default none"),
    "range_encoder": ("", "model of scans of query_places; empty uses params_file, with the default none"),
    "namespace": ("", "namespace of the node"),
    "namespaced_tf": ("false", NAMESPACED_TF),
    "use_sim_time": ("", "use the time of /clock; empty uses params_file"),
    "params_file": (str(SHARE / "config" / "map_server.yaml"), "parameters of the map server"),
    "autostart": ("", "the node activates itself; empty uses params_file, with the default true"),
    "use_respawn": ("false", "restart the node when it ends"),
    "log_level": ("info", LOG_LEVELS),
    "enclaves": ("", "parent of the SROS2 enclave of the node, such as /vloc_ros; empty uses the default enclave /"),
}
OVERRIDES = {
    "use_sim_time": bool,
    "autostart": bool,
    "map": str,
    "maps_folder": str,
    "encoder": str,
    "range_encoder": str,
}


def generate_launch_description():
    return describe_launch(ARGUMENTS, nodes)


def nodes(given):
    # only arguments that are given override the file
    overrides = {name: (name, kind) for name, kind in OVERRIDES.items()}
    return [make_node("map_server", given, overrides=overrides, remappings=remap_tf(given, "tf_static"))]
