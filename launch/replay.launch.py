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

"""Evaluates a bag: plays it to the nodes in a ROS domain of their own, writes a report of their results, and ends."""

from launch.actions import ExecuteProcess, Shutdown
from launch_ros.substitutions import ExecutableInPackage

from vloc_ros.launching import describe_launch

ARGUMENTS = {
    "bag": (None, "bag folder or .mcap file"),
    "map": (None, "map folder"),
    "truth_topic": ("", "topic of the bag with the ground truth poses of the base; empty: all images are negatives"),
    "report": ("report.html", "report page to write"),
    "json": ("report.json", "file of the scores to write"),
}


def generate_launch_description():
    return describe_launch(ARGUMENTS, evaluation)


def evaluation(given):
    # colcon installs the command beside the nodes, not on the PATH
    command = [ExecutableInPackage(package="vloc_ros", executable="vloc"), "evaluate", "--live"]
    for option in ("bag", "map", "report", "json"):
        command += [f"--{option}", given[option]]
    command += ["--truth-topic", given["truth_topic"]] if given["truth_topic"] else ["--absent"]
    return [ExecuteProcess(cmd=command, output="screen", on_exit=Shutdown(reason="the bag has been played"))]
