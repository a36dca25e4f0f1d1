"""The localizer, and the map server where a map folder, or a folder of them, is given."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from vloc_ros.footprint import ONE_HEAP

SHARE = Path(get_package_share_directory("vloc_ros"))
ARGUMENTS = {
    "map": ("", "map folder; empty takes the map of a map_server that runs elsewhere in the namespace"),
    "maps_folder": ("", "folder of the maps that load_map of the map server may load"),
    "recognizer": ("", "landmark recogniser of the map; empty leaves it to params_file, whose default is none"),
    "encoder": ("", "place encoder of the map; empty leaves it to params_file, whose default is none"),
    "namespace": ("", "namespace of the nodes"),
    "use_sim_time": ("", "take the time from /clock; empty leaves it to params_file"),
    "params_file": (str(SHARE / "config" / "localizer.yaml"), "parameters of the localizer"),
    "autostart": ("", "the nodes go to active by themselves; empty leaves it to params_file, whose default is true"),
    "use_respawn": ("false", "start a node again when it ends"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "enclaves": ("", "SROS2 enclaves above those of the nodes, such as /vloc_ros; empty takes that of all, /"),
    "image_topic": ("image", "images; with image_transport compressed without /compressed at the end"),
    "camera_info_topic": ("camera_info", "calibration of the camera"),
    "cameras": (
        "",
        "namespaces of the cameras of a rig, with commas between them: the topics above are then those below each; "
        "empty leaves it to params_file, whose default is one camera",
    ),
    "image_transport": ("", "raw or compressed; empty leaves it to params_file, whose default is raw"),
    "base_frame": ("", "as in TF, with the prefix that it has there; empty leaves it to params_file: base_link"),
    "odom_frame": ("", "likewise; empty leaves it to params_file: odom"),
    "feed_topic": ("~/initialpose", "who is told where the robot is, see the parameters feed; for AMCL initialpose"),
}
OF_BOTH = ("namespace", "use_sim_time", "autostart", "use_respawn", "log_level", "enclaves")
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
    served = given["map"] or given["maps_folder"]
    return [*([map_server(given)] if served else []), localizer(given)]


def map_server(given):
    # a group of its own, or the map server's params_file would be the localizer's as well
    arguments = {name: given[name] for name in ("map", "maps_folder", *OF_BOTH)}
    arguments["params_file"] = str(SHARE / "config" / "map_server.yaml")
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "map_server.launch.py"))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def localizer(given):
    # what is given by hand overrides the file, what is not leaves it alone
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in OVERRIDES.items()
        if given[name]
    }
    enclave = ["--enclave", given["enclaves"] + "/localizer"] if given["enclaves"] else []
    return Node(
        package="vloc_ros",
        executable="localizer",
        name="localizer",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        additional_env=ONE_HEAP,  # else the node starts itself anew for it
        parameters=[given["params_file"], *([overrides] if overrides else [])],
        remappings=[
            *(remapping for camera in given["cameras"].split(",") for remapping in of_camera(camera.strip(), given)),
            ("~/initialpose", given["feed_topic"]),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), *enclave],
    )


def of_camera(camera, given):
    # a single camera has no namespace of its own, and its topics may be anywhere
    below = camera.rstrip("/") + "/" if camera else ""
    image, info = (below + (given[name].lstrip("/") if camera else given[name]) for name in OF_A_CAMERA)
    names = (("image", image), ("image/compressed", image + "/compressed"), ("camera_info", info))
    return [(below + name, topic) for name, topic in names]
