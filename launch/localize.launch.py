"""The localizer, and the map server where a map folder is given."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("vloc_ros"))
ARGUMENTS = {
    "map": ("", "map folder; empty takes the map of a map_server that runs elsewhere in the namespace"),
    "namespace": ("", "namespace of the nodes"),
    "use_sim_time": ("false", "take the time from /clock"),
    "params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("true", "the nodes go to active by themselves"),
    "use_respawn": ("false", "start a node again when it ends"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "image_topic": ("image", "images; with image_transport compressed without /compressed at the end"),
    "camera_info_topic": ("camera_info", "calibration of the camera"),
    "image_transport": ("raw", "raw or compressed"),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    shared = ("map", "namespace", "use_sim_time", "autostart", "use_respawn", "log_level")
    map_server = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "map_server.launch.py")),
        launch_arguments={
            **{name: LaunchConfiguration(name) for name in shared},
            "params_file": str(SHARE / "config" / "map_server.yaml"),
        }.items(),
    )
    # a group of its own, or the map server's params_file would be the localizer's as well
    serving = GroupAction(
        [map_server], condition=IfCondition(PythonExpression(["'", LaunchConfiguration("map"), "' != ''"]))
    )
    image_topic = LaunchConfiguration("image_topic")
    localizer = Node(
        package="vloc_ros",
        executable="localizer",
        name="localizer",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                "image_transport": LaunchConfiguration("image_transport"),
            },
        ],
        remappings=[
            ("image", image_topic),
            ("image/compressed", [image_topic, "/compressed"]),
            ("camera_info", LaunchConfiguration("camera_info_topic")),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    )
    return LaunchDescription([*declared, serving, localizer])
