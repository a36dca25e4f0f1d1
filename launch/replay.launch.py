"""Bag in, report out: plays a bag to the nodes in a ROS domain of their own, scores what they say, and ends."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression

from launch import LaunchDescription

ARGUMENTS = {
    "bag": (None, "bag folder or .mcap file"),
    "map": (None, "map folder"),
    "truth_topic": ("", "topic of the bag with the true poses of the base; empty: all images are of somewhere else"),
    "report": ("report.html", "page to write"),
    "json": ("report.json", "scores to write"),
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    truth = LaunchConfiguration("truth_topic")
    command = ["vloc", "evaluate", "--live"]
    for option in ("bag", "map", "report", "json"):
        command += [f"--{option}", LaunchConfiguration(option)]
    runs = [
        ExecuteProcess(
            cmd=[*command, *how],
            output="screen",
            on_exit=Shutdown(reason="the bag has been played"),
            condition=IfCondition(PythonExpression(["'", truth, f"' {comparison} ''"])),
        )
        for comparison, how in (("!=", ["--truth-topic", truth]), ("==", ["--absent"]))
    ]
    return LaunchDescription([*declared, *runs])
