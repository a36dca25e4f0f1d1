"""Evaluates a bag: plays it to the nodes in a ROS domain of their own, writes a report of their results, and ends."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchDescription

ARGUMENTS = {
    "bag": (None, "bag folder or .mcap file"),
    "map": (None, "map folder"),
    "truth_topic": ("", "topic of the bag with the ground truth poses of the base; empty: all images are negatives"),
    "report": ("report.html", "report page to write"),
    "json": ("report.json", "file of the scores to write"),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=evaluation)])


def evaluation(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # colcon installs the command beside the nodes, not on the PATH
    command = [ExecutableInPackage(package="vloc_ros", executable="vloc"), "evaluate", "--live"]
    for option in ("bag", "map", "report", "json"):
        command += [f"--{option}", given[option]]
    command += ["--truth-topic", given["truth_topic"]] if given["truth_topic"] else ["--absent"]
    return [ExecuteProcess(cmd=command, output="screen", on_exit=Shutdown(reason="the bag has been played"))]
