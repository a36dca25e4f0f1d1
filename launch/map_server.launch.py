"""The map server."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("vloc_ros"))
ARGUMENTS = {
    "map": ("", "map folder; empty waits for the service load_map"),
    "namespace": ("", "namespace of the node"),
    "use_sim_time": ("false", "take the time from /clock"),
    "params_file": (str(SHARE / "config" / "map_server.yaml"), "parameters of the map server"),
    "autostart": ("true", "the node goes to active by itself"),
    "use_respawn": ("false", "start the node again when it ends"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    map_server = Node(
        package="vloc_ros",
        executable="map_server",
        name="map_server",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                "map": ParameterValue(LaunchConfiguration("map"), value_type=str),
            },
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    )
    return LaunchDescription([*declared, map_server])
