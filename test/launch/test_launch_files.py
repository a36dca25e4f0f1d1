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

"""Launch files, whose library is in no registry: they are parsed, and run with stand-ins that record the calls."""

from __future__ import annotations

import ast
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from vloc_ros.core.config import parameters_of
from vloc_ros.core.errors import ConfigError
from vloc_ros.node_config import LocalizerNodeConfig, MapperConfig, MapServerConfig

ROOT = Path(__file__).resolve().parents[2]
NAV2 = {"map", "namespace", "namespaced_tf", "use_sim_time", "params_file", "autostart", "use_respawn", "log_level"}
MODULES = {
    "ament_index_python.packages": ["get_package_share_directory"],
    "launch": ["LaunchDescription"],
    "launch.actions": [
        *("DeclareLaunchArgument", "ExecuteProcess", "GroupAction", "IncludeLaunchDescription"),
        *("OpaqueFunction", "Shutdown"),
    ],
    "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
    "launch.substitutions": ["LaunchConfiguration"],
    "launch_ros.actions": ["Node"],
    "launch_ros.parameter_descriptions": ["ParameterValue"],
    "launch_ros.substitutions": ["ExecutableInPackage"],
}
OF_THE_IMAGE = {"image_topic", "camera_info_topic", "image_transport", "cameras"}
RCLPYS = {"use_sim_time"}
FRAMES = {"base_frame": "robot1/base_link", "odom_frame": "robot1/odom"}


def parse_launch_file(name: str) -> ast.Module:
    return ast.parse((ROOT / "launch" / name).read_text())


def arguments(name: str) -> set[str]:
    tables = [
        node.value
        for node in parse_launch_file(name).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
    ]
    assert isinstance(tables[0], ast.Dict)
    return {ast.literal_eval(key) for key in tables[0].keys if key is not None}


class Call:
    """A call of something of launch, with its arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


class Context(dict[str, str]):
    """The context of a launch: its configurations alone."""

    @property
    def launch_configurations(self) -> dict[str, str]:
        return self


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives what a launch file starts with some arguments, all actions by their kind."""
    for name, kinds in MODULES.items():
        module = ModuleType(name)
        for kind in kinds:
            setattr(module, kind, type(kind, (Call,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "vloc_ros.launching", None)
    del sys.modules["vloc_ros.launching"]  # it is loaded with these
    share = sys.modules["ament_index_python.packages"]
    monkeypatch.setattr(share, "get_package_share_directory", lambda _: str(ROOT))

    def launch(name: str, **given: str) -> dict[str, Call]:
        file = runpy.run_path(str(ROOT / "launch" / name))
        context = Context({key: default for key, (default, _) in file["ARGUMENTS"].items()} | given)
        *_, action = file["generate_launch_description"]().args[0]
        return {type(started).__name__: started for started in action.kwargs["function"](context)}

    return launch


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A parameter file of both nodes."""
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {autostart: true}}")
    return str(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "localize.launch.py",
            NAV2
            | OF_THE_IMAGE
            | set(FRAMES)
            | {
                "maps_folder",
                "recognizer",
                "encoder",
                "place_encoder",
                "range_encoder",
                "matching_network",
                "feed_topic",
                "initialpose_topic",
                "enclaves",
                "sensor",
                "points_topic",
                "imu_topic",
                "range_topic",
            },
        ),
        ("map_server.launch.py", NAV2 | {"maps_folder", "enclaves", "encoder", "range_encoder"}),
        (
            "map_and_localize.launch.py",
            (NAV2 | OF_THE_IMAGE | set(FRAMES)) - {"cameras"}
            | {"recordings_folder", "maps_folder", "record", "localizer_params_file", "enclaves", "odom_topic"},
        ),
        ("replay.launch.py", {"bag", "map", "truth_topic", "report", "json"}),
    ],
)
def test_the_arguments_are_those_of_the_documentation(name: str, expected: set[str]) -> None:
    assert arguments(name) == expected


@pytest.mark.parametrize(
    ("name", "executable"),
    [("localize", "localizer"), ("map_server", "map_server"), ("map_and_localize", "mapper")],
)
def test_executables_are_installed_ones(launched: Any, name: str, executable: str) -> None:
    node = launched(f"{name}.launch.py")["Node"].kwargs
    assert (node["package"], node["executable"], node["name"]) == ("vloc_ros", executable, f"vloc_{executable}")
    assert f'"{executable} = vloc_ros.nodes.{executable}.node:main"' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("name", ["localize.launch.py", "map_server.launch.py"])
def test_a_file_of_parameters_is_overridden_only_by_what_is_given(launched: Any, name: str, mine: str) -> None:
    assert launched(name, params_file=mine)["Node"].kwargs["parameters"] == [mine]
    file, overrides = launched(name, params_file=mine, autostart="false")["Node"].kwargs["parameters"]
    assert (file, set(overrides)) == (mine, {"autostart"})


@pytest.mark.parametrize("name", ["localize.launch.py", "map_server.launch.py"])
def test_a_file_of_parameters_that_ros_would_ignore_is_an_error(launched: Any, name: str, tmp_path: Path) -> None:
    """Otherwise the node starts with its defaults, and publishes map -> odom beside AMCL."""
    with pytest.raises(ConfigError, match="no such file"):
        launched(name, params_file=str(tmp_path / "missing.yaml"))
    other = tmp_path / "other.yaml"
    other.write_text("vloc_localizer: {ros__parameters: {publish_tf: none}}")
    with pytest.raises(ConfigError, match="nothing in it is for /robot1/vloc_"):
        launched(name, params_file=str(other), namespace="robot1")


def test_every_override_is_a_parameter_and_an_argument(launched: Any) -> None:
    given = {"use_sim_time": "true", "autostart": "true"}
    models = {"recognizer": "m", "encoder": "e", "matching_network": "n"}
    of_one = {**given, **FRAMES, "image_transport": "raw", "cameras": "a,b", **models}
    _, of_localizer = launched("localize.launch.py", **of_one)["Node"].kwargs["parameters"]
    assert set(of_localizer) == set(of_one) <= {leaf.name for leaf in parameters_of(LocalizerNodeConfig())} | RCLPYS
    of_other = {**given, "map": "m", "maps_folder": "f", "encoder": "e", "range_encoder": "r"}
    _, of_server = launched("map_server.launch.py", **of_other)["Node"].kwargs["parameters"]
    assert set(of_server) == set(of_other) <= {leaf.name for leaf in parameters_of(MapServerConfig())} | RCLPYS


def test_a_robot_whose_frames_have_a_prefix_names_them_when_launching(launched: Any, mine: str) -> None:
    file, overrides = launched("localize.launch.py", params_file=mine, **FRAMES)["Node"].kwargs["parameters"]
    assert file == mine
    assert {name: (value.args[0].args, value.kwargs["value_type"]) for name, value in overrides.items()} == {
        name: ((name,), str) for name in FRAMES
    }


def test_topics_of_one_camera_may_be_anywhere(launched: Any) -> None:
    given = {"image_topic": "/camera/image_raw", "camera_info_topic": "/camera/camera_info"}
    remapped = dict(launched("localize.launch.py", **given)["Node"].kwargs["remappings"])
    assert remapped["image"] == "/camera/image_raw"
    assert remapped["image/compressed"] == "/camera/image_raw/compressed"
    assert remapped["camera_info"] == "/camera/camera_info"


def test_topics_of_a_rig_are_below_its_cameras(launched: Any) -> None:
    node = launched("localize.launch.py", cameras="front, /robot1/rear/", image_topic="image_raw")["Node"]
    remapped = dict(node.kwargs["remappings"])
    assert remapped["front/image"] == "front/image_raw"
    assert remapped["/robot1/rear/image/compressed"] == "/robot1/rear/image_raw/compressed"
    assert remapped["/robot1/rear/camera_info"] == "/robot1/rear/camera_info"
    assert "image" not in remapped
    assert set(node.kwargs["parameters"][1]) == {"cameras"}


def test_the_initial_pose_is_published_on_the_topic_of_the_other_localizer(launched: Any) -> None:
    assert ("~/initialpose", "~/initialpose") in launched("localize.launch.py")["Node"].kwargs["remappings"]
    remapped = launched("localize.launch.py", feed_topic="initialpose")["Node"].kwargs["remappings"]
    assert ("~/initialpose", "initialpose") in remapped


@pytest.mark.parametrize("given", [{"ros_namespace": "/robot1"}, {"namespace": "/robot1", "ros_namespace": "/other"}])
def test_a_parameter_file_is_of_the_pushed_namespace(launched: Any, tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "of_robot1.yaml").write_text("robot1: {vloc_localizer: {ros__parameters: {autostart: true}}}")
    assert launched("localize.launch.py", params_file=str(tmp_path / "of_robot1.yaml"), **given)["Node"]
    with pytest.raises(ConfigError, match="nothing in it is for /robot2/vloc_localizer"):
        launched("localize.launch.py", params_file=str(tmp_path / "of_robot1.yaml"), ros_namespace="/robot2")


def test_a_localizer_in_a_namespace_can_listen_to_rviz(launched: Any) -> None:
    remapped = launched("localize.launch.py", namespace="vloc", initialpose_topic="/initialpose")["Node"]
    assert ("initialpose", "/initialpose") in remapped.kwargs["remappings"]


def test_tf_may_be_in_the_namespace(launched: Any) -> None:
    def remapped(name: str, **given: str) -> set[tuple[str, str]]:
        remaps = set(launched(name, namespace="robot1", **given)["Node"].kwargs["remappings"])
        return {remap for remap in remaps if remap[0].startswith("/tf")}

    for name in ("localize.launch.py", "map_server.launch.py"):
        assert remapped(name) == set()
    given = {"namespaced_tf": "True"}
    assert remapped("localize.launch.py", **given) == {("/tf", "tf"), ("/tf_static", "tf_static")}
    assert remapped("map_server.launch.py", **given) == {("/tf_static", "tf_static")}
    (include,) = launched("localize.launch.py", map="m", **given)["GroupAction"].args[0]
    assert given.items() <= dict(include.kwargs["launch_arguments"]).items()


RECIPES = ("nav2-amcl", "slam-toolbox", "rtabmap", "robot-localization", "nav2-lifecycle")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def launch_commands(page: Path) -> list[tuple[str, set[str]]]:
    """Every `ros2 launch` of a file of this package on a page: the file, and the names of its arguments."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"ros2 launch vloc_ros (\S+\.launch\.py)(.*)", text)
    return [(name, set(re.findall(r"(\w+):=", line))) for name, line in found]


def test_the_commands_of_the_pages_have_arguments_that_exist() -> None:
    commands = [command for page in PAGES for command in launch_commands(page)]
    assert len(commands) > 5
    assert all(given <= arguments(name) for name, given in commands)


@pytest.mark.parametrize("page", RECIPES)
def test_every_recipe_says_how_it_works_in_a_namespace(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert '"namespace": "' in text or "namespace:=" in text
    for path in ("config/localizer", "$PWD/localizer", "test/nodes/localizer"):
        text = text.replace(path, "")
    assert "/localizer" not in text
    assert not re.search(r"(?<!vloc_)\bmap_server/", text)


@pytest.mark.parametrize("node", ["localizer", "map_server", "mapper"])
def test_an_enclave_is_one_of_the_policy(launched: Any, node: str) -> None:
    name = {"localizer": "localize.launch.py", "mapper": "map_and_localize.launch.py"}.get(node, f"{node}.launch.py")
    assert "--enclave" not in launched(name)["Node"].kwargs["arguments"]
    words = launched(name, enclaves="/vloc_ros")["Node"].kwargs["arguments"]
    policy = ET.parse(ROOT / "config" / "sros2" / "policies.xml")
    profile = f".//profile[@node='vloc_{node}']"
    granted = [enclave.get("path") for enclave in policy.iter("enclave") if enclave.find(profile) is not None]
    assert granted == [words[words.index("--enclave") + 1]]


@pytest.mark.parametrize("given", [{"map": "/robot's/map"}, {"maps_folder": "/robot's/maps"}])
def test_the_map_server_comes_with_a_map_or_a_folder_of_maps(launched: Any, given: dict[str, str]) -> None:
    assert "GroupAction" not in launched("localize.launch.py")
    (include,) = launched("localize.launch.py", **given)["GroupAction"].args[0]
    passed = dict(include.kwargs["launch_arguments"])
    assert given.items() <= passed.items()
    assert set(passed) <= arguments("map_server.launch.py")


def test_the_launch_file_for_a_lifecycle_manager_starts_what_it_manages(launched: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "nav2-lifecycle.md").read_text()
    of_manager, example = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("yaml", "python"))
    (tmp_path / "example.py").write_text(example)
    include, manager = runpy.run_path(str(tmp_path / "example.py"))["generate_launch_description"]().args[0]
    name = f"/{manager.kwargs['namespace']}/{manager.kwargs['name']}"
    given = dict(include.kwargs["launch_arguments"])
    assert set(given) <= arguments("localize.launch.py")
    assert (given["namespace"], given["autostart"]) == (manager.kwargs["namespace"], "false")
    started = launched("localize.launch.py", **given)
    assert {"GroupAction", "Node"} <= set(started)
    names = [launched(f"{file}.launch.py")["Node"].kwargs["name"] for file in ("map_server", "localize")]
    assert yaml.safe_load(of_manager)[name]["ros__parameters"]["node_names"] == names


def test_replay_finds_the_command_where_it_is_installed(launched: Any) -> None:
    def command(**given: str) -> list[Any]:
        process = launched("replay.launch.py", bag="b", map="m", **given)["ExecuteProcess"]
        return list(process.kwargs["cmd"])

    executable, *words = command(truth_topic="/it's/truth")
    assert executable.kwargs == {"package": "vloc_ros", "executable": "vloc"}
    assert '"vloc = vloc_ros.' in (ROOT / "setup.py").read_text()
    assert words[-2:] == ["--truth-topic", "/it's/truth"]
    assert command()[-1] == "--absent"


def test_rviz_looks_at_topics_that_are_published() -> None:
    displays = yaml.safe_load((ROOT / "config" / "vloc.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    code = "".join(path.read_text() for path in sorted((ROOT / "vloc_ros" / "nodes").rglob("*.py")))
    assert topics
    assert all(f'"~/{topic.rpartition("/")[2]}"' in code for topic in topics)


def test_the_mapper_comes_with_what_its_map_needs(launched: Any, mine: str) -> None:
    given = {"maps_folder": "/robot's/maps", "image_topic": "/cam/image", "namespace": "robot1", "map": "m"}
    started = launched("map_and_localize.launch.py", params_file=mine, localizer_params_file="l.yaml", **given)
    mapper = started["Node"]
    assert ("image/compressed", "/cam/image/compressed") in mapper.kwargs["remappings"]
    (include,) = started["GroupAction"].args[0]
    passed = dict(include.kwargs["launch_arguments"])
    assert given.items() <= passed.items()
    assert passed["params_file"] == "l.yaml"
    assert set(passed) <= arguments("localize.launch.py")
    assert "maps_folder" in mapper.kwargs["parameters"][1], "the mapper's is that of the map server"


@pytest.mark.parametrize(("text", "expected"), [("maps_folder: /data/maps", "/data/maps"), ("", "~/vloc_ros/maps")])
def test_the_map_server_gets_the_maps_folder_of_the_mapper(
    launched: Any, tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"/**: {{ros__parameters: {{autostart: true, {text}}}}}")
    started = launched("map_and_localize.launch.py", params_file=str(file))
    (include,) = started["GroupAction"].args[0]
    assert dict(include.kwargs["launch_arguments"])["maps_folder"] == expected
    assert started["Node"].kwargs["parameters"] == [str(file)]


def test_every_override_of_the_mapper_is_a_parameter(launched: Any, mine: str) -> None:
    given = {**FRAMES, "use_sim_time": "true", "autostart": "true", "record": "true", "image_transport": "raw"}
    given |= {"recordings_folder": "r", "maps_folder": "m"}
    _, overrides = launched("map_and_localize.launch.py", params_file=mine, **given)["Node"].kwargs["parameters"]
    assert len(overrides) == len(given)
    assert set(overrides) <= {leaf.name for leaf in parameters_of(MapperConfig())} | RCLPYS


def test_a_file_for_other_nodes_is_an_error_for_the_mapper(launched: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("vloc_localizer: {ros__parameters: {publish_tf: none}}")
    with pytest.raises(ConfigError, match="nothing in it is for /vloc_mapper"):
        launched("map_and_localize.launch.py", params_file=str(tmp_path / "other.yaml"))


def test_rviz_looks_at_what_the_mapper_publishes() -> None:
    displays = yaml.safe_load((ROOT / "config" / "mapping.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    code = (ROOT / "vloc_ros" / "nodes" / "mapper" / "outputs.py").read_text()
    of_mapper = {topic.rpartition("/")[2] for topic in topics if topic.startswith("/vloc_mapper/")}
    assert of_mapper == {"coverage", "keyframes"}
    assert all(f'"~/{name}"' in code for name in of_mapper)


def test_the_map_server_gets_the_models_of_query_places(launched: Any) -> None:
    given = {"map": "office", "encoder": "mine", "place_encoder": "image", "range_encoder": "range"}
    (included,) = launched("localize.launch.py", **given)["GroupAction"].args[0]
    passed = dict(included.kwargs["launch_arguments"])
    assert (passed["encoder"], passed["range_encoder"]) == ("image", "range")
