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

"""`vloc map build`: what its options come to."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plane_scene import CAMERA, SceneFolder, make_plane_scene, poses, write_images

from vloc_ros.bags import messages
from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.scale import GivenPoses
from vloc_ros.storage.cameras import read_camera, write_camera
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum


def build(scene_folder: SceneFolder, out: Path, *options: str) -> int:
    given = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    return main([str(word) for word in ("map", "build", *given, "--out", out, *options)])


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[MappingConfig]:
    """The configurations that the build is called with; nothing is built."""
    found: list[MappingConfig] = []

    def build_map(images: Any, *, config: MappingConfig, **_: Any) -> None:
        found.append(config)
        raise InputError("far enough")

    monkeypatch.setattr("vloc_ros.mapping.maps.build.build_map", build_map)
    return found


def test_every_parameter_of_mapping_can_be_set(
    scene_folder: SceneFolder, tmp_path: Path, configs: list[MappingConfig]
) -> None:
    options = ["--max-keypoints", "900", "--set", "vocabulary_words=16"]
    build(scene_folder, tmp_path / "map", *options, "--set", "extractor.contrast_threshold=0.01")
    assert configs[0].vocabulary_words == 16
    assert (configs[0].extractor.max_keypoints, configs[0].extractor.contrast_threshold) == (900, 0.01)
    assert configs[0].match_ratio == MappingConfig().match_ratio


def test_ray_is_imported_only_where_it_is_wanted(
    scene_folder: SceneFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configs: list[MappingConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert build(scene_folder, tmp_path / "map") == 1
    assert "far enough" in capsys.readouterr().err
    assert build(scene_folder, tmp_path / "map", "--workers", "ray") == 1
    assert (
        "ray is not installed, which the extra 'ray' holds; install it with pip install ray" in capsys.readouterr().err
    )
    assert len(configs) == 1


def test_workers_run_a_network_on_one_processor(
    scene_folder: SceneFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configs: list[MappingConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    used = object()
    monkeypatch.setattr("vloc_ros.mapping.ray_workers.connect_to_ray", lambda: nullcontext(used))
    build(scene_folder, tmp_path / "map", "--workers", "ray")
    assert configs[0].inference.threads == 1
    capsys.readouterr()
    for wrong in ("inference.threads=4", "inference.provider=CUDAExecutionProvider"):
        assert build(scene_folder, tmp_path / "map", "--workers", "ray", "--set", wrong) == 1
        assert re.search(f"--workers ray with .*{wrong}.*expected onnx, CPUExecutionProvider", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), None),
        (("--structure", "sfm"), GivenPoses()),
        (("--poses-drift",), GivenPoses(drifting=True)),
        (("--structure", "sfm", "--poses-drift"), GivenPoses(drifting=True)),
    ],
)
def test_given_poses_are_kept_or_measurements(
    scene_folder: SceneFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    expected: GivenPoses | None,
) -> None:
    found = []

    def build_map(images: Any, *, scale: GivenPoses | None, **_: Any) -> None:
        found.append(scale)
        raise InputError("far enough")

    monkeypatch.setattr("vloc_ros.mapping.maps.build.build_map", build_map)
    build(scene_folder, tmp_path / "map", *options)
    assert found == [expected]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "structure from motion of 6 images"),
        (["--distance", "frame-000.png", "frame-005.png", "2"], "--distance gives the scale"),
        (["--structure", "sfm"], ""),
        (["--poses", "POSES", "--poses-drift"], ""),
    ],
)
def test_forgotten_poses_are_said_before_the_work(
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    configs: list[MappingConfig],
    options: list[str],
    said: str,
) -> None:
    given = ["--images", f"{scene_folder.images}", "--camera", f"{scene_folder.camera}", "--out", f"{tmp_path}/map"]
    words = [f"{scene_folder.poses}" if word == "POSES" else word for word in options]
    assert main(["map", "build", *given, *words]) == 1
    assert len(configs) == 1
    error = capsys.readouterr().err
    assert said in error
    assert ("no poses are given" in error) == bool(said)


def test_poses_that_are_kept_do_not_drift(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(scene_folder, tmp_path / "map", "--structure", "given", "--poses-drift") == 1
    assert "--poses-drift is for --poses that are not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("pose.max_error_px=6", "unknown parameter pose"),
        ("match_ratio=7", "match_ratio is 7"),
        ("match_ratio", "expected NAME=VALUE"),
    ],
)
def test_a_wrong_assignment_is_one_line(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], assignment: str, expected: str
) -> None:
    assert build(scene_folder, tmp_path / "map", "--set", assignment) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_the_poses_of_a_folder_are_read_once(
    scene_folder: SceneFolder, tmp_path: Path, configs: list[MappingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vloc_ros.datasets import image_folders

    reads: list[Path] = []
    pair_poses = image_folders.pair_poses

    def counted(names: Any, poses: Path, **options: Any) -> Any:
        reads.append(poses)
        return pair_poses(names, poses, **options)

    monkeypatch.setattr(image_folders, "pair_poses", counted)
    build(scene_folder, tmp_path / "map")
    assert reads == [scene_folder.poses]


@pytest.mark.parametrize(
    ("order", "wider", "gap", "expected"),
    [
        (1, 1.0, "1", r"^(\d+) of 16 left-out images localized again; covariance calibrated on them \(scale \S+\)\n"),
        pytest.param(
            *(-1, 1.0, "1", r"^vloc: (the map is of wrong input: )?the poses are in the reverse order of the images"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(1, 0.6, "1", r"^vloc: (the map is of wrong input: )?the focal length is not .*1\.\d\d times as long"),
            marks=pytest.mark.slow,
        ),
        (
            1,
            1.0,
            "0",
            r"covariance NOT calibrated, a typical scale is used: switched off by calibration_gap_m=0",
        ),
    ],
)
def test_a_map_reports_how_many_left_out_images_are_localized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: int, wider: float, gap: str, expected: str
) -> None:
    """Poses in the wrong order and a wrong focal length may give a map, but one in which few images are localized."""
    scene, truth = make_plane_scene(), poses(16, seed=1)
    write_images(scene, truth, tmp_path / "images")
    fx, fy, cx, cy = CAMERA.parameters
    write_camera(tmp_path / "camera.yaml", replace(CAMERA, parameters=(wider * fx, wider * fy, cx, cy)), name="camera")
    given = Trajectory(np.arange(len(truth)) * 10**9, tuple(truth[::order]))
    write_tum(tmp_path / "poses.txt", given)
    words = ["map", "build", "--images", "images", "--poses", "poses.txt", "--camera", "camera.yaml", "--out", "map"]
    paths = {"images", "poses.txt", "camera.yaml"}
    given_words = [str(tmp_path / w) if w in paths or k == len(words) - 1 else w for k, w in enumerate(words)]
    main([*given_words, "--set", f"calibration_gap_m={gap}"])
    assert re.search(expected, "".join(capsys.readouterr()), re.MULTILINE)


def test_a_map_of_wrong_input_is_refused_and_its_mistake_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Poses with the axes of OpenGL: nothing is left that looks like a map, unless it is wanted all the same."""
    scene, truth = make_plane_scene(), poses(16, seed=1)
    write_images(scene, truth, tmp_path / "images")
    write_camera(tmp_path / "camera.yaml", CAMERA, name="camera")
    turned = tuple(pose @ Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3)) for pose in truth)
    write_tum(tmp_path / "poses.txt", Trajectory(np.arange(16) * 10**9, turned))
    given = ["--images", tmp_path / "images", "--poses", tmp_path / "poses.txt", "--camera", tmp_path / "camera.yaml"]
    words = [str(word) for word in ["map", "build", *given, "--out", tmp_path / "map"]]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"vloc: (the map is of wrong input: )?the cameras have the axes of OpenGL", error)
    assert not (tmp_path / "map").exists()


def test_a_map_that_does_not_find_its_images_is_written_when_it_is_wanted(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vloc_ros.mapping.maps.checked_build.find_doubt", lambda *_, **__: "it finds nothing")
    assert build(scene_folder, tmp_path / "map") == 1
    assert "vloc: it finds nothing; --write-unverified writes" in capsys.readouterr().err
    assert not (tmp_path / "map").exists()
    assert build(scene_folder, tmp_path / "map", "--write-unverified") == 0
    assert "vloc: warning: it finds nothing\n" in capsys.readouterr().err
    assert read_map(tmp_path / "map").name == "map"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--structure", "given", "--gravity", "TXT"), "--gravity corrects poses, --structure given keeps them"),
        (("--gnss-topic", "/fix"), "--gnss-topic and --imu-topic are for --bag; give --positions and --gravity"),
        (("--poses-drift", "--positions", "TXT"), "measured.txt, line 1: nowhere.png names none of the images"),
        (("--datum", "47", "8", "400"), "--datum, --gnss-std and --gnss-correlation are for --bag with"),
    ],
)
def test_measurements_that_do_not_fit_are_refused(
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    expected: str,
) -> None:
    measured = tmp_path / "measured.txt"
    name = "nowhere.png" if "--positions" in options else sorted(p.name for p in scene_folder.images.iterdir())[0]
    measured.write_text(f"{name} 0 1 0 1\n")
    words = [str(measured) if word == "TXT" else word for word in options]
    assert build(scene_folder, tmp_path / "map", *words) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(
    ("source", "option", "needed"),
    [
        ("--images", ["--image-topic", "/image"], "--bag"),
        ("--images", ["--pose-topic", "/truth"], "--bag"),
        ("--images", ["--rectified"], "--bag"),
        ("--images", ["--tf-topic", "/robot1/tf"], "--bag"),
        ("--bag", ["--poses", "poses.txt"], "--images"),
        ("--bag", ["--poses-drift"], "--images"),
    ],
)
def test_options_of_the_other_source_are_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, option: list[str], needed: str
) -> None:
    assert main(["map", "build", source, str(tmp_path), *option, "--out", str(tmp_path / "map")]) == 1
    assert f"{option[0]} goes with {needed}, found {source}; leave it out" in capsys.readouterr().err


def test_a_bag_is_mapped_with_the_calibration_that_is_given(
    scene_folder: SceneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bag", "make", "--images", scene_folder.images, "--camera", scene_folder.camera]
    assert main([str(word) for word in [*words, "--poses", scene_folder.poses, "--out", tmp_path / "bag"]]) == 0
    other = replace(CAMERA, parameters=(300.0, 300.0, *CAMERA.parameters[2:]))
    write_camera(tmp_path / "camera.yaml", other, name="camera")
    found: list[Any] = []

    def build_map(images: Any, **_: Any) -> None:
        found.extend({image.camera for image in images})
        raise InputError("far enough")

    monkeypatch.setattr("vloc_ros.mapping.maps.build.build_map", build_map)
    main(["map", "build", "--bag", str(tmp_path / "bag"), "--out", str(tmp_path / "map")])
    main(["map", "build", "--bag", str(tmp_path / "bag"), "--camera", str(tmp_path / "camera.yaml"), "--out", "map"])
    assert found == [CAMERA, other]


@pytest.mark.slow
def test_the_cameras_of_a_rig_are_mapped_together(scene_folder: SceneFolder, tmp_path: Path) -> None:
    base_from_side, views = Pose.from_rotation_vector([0.0, 0.1, 0.0], [0.3, 0.0, 0.0]), poses(12, seed=5)
    with BagWriter(tmp_path / "bag", camera=CAMERA, base_from_camera=Pose.identity()) as writer:
        static = messages.tf_message(0, ("base_link", "side"), base_from_side)
        writer._write(0, "/tf_static", messages.TF_MESSAGE, static)
        for k, view in enumerate(views, start=1):
            stamp_ns, pixels = k * 10**9, scene_folder.scene.image(view @ base_from_side)
            writer.write_odometry(stamp_ns, view)
            writer.write_image(stamp_ns, scene_folder.scene.image(view))
            info = messages.camera_info_message(stamp_ns, "side", CAMERA)
            writer._write(stamp_ns, "/side/camera_info", messages.CAMERA_INFO, info)
            writer._write(stamp_ns, "/side/image", messages.IMAGE, messages.image_message(stamp_ns, "side", pixels))
    topics = ["--image-topic", "/camera/image", "--image-topic", "/side/image", "--odom-topic", "/odom"]
    assert main(["map", "build", "--bag", str(tmp_path / "bag"), *topics, "--out", str(tmp_path / "map")]) == 0
    built = read_map(tmp_path / "map")
    assert len(built.keyframes) == 2 * len(views)
    placed = {name: built.scene().map_from(built.keyframes.pose(k)) for k, name in enumerate(built.keyframes.names)}
    for name, pose in placed.items():
        topic, _, stamp = name.rpartition("/")
        assert topic in ("camera/image", "side/image")
        if topic == "side/image":
            off_m, off_rad = (placed[f"camera/image/{stamp}"] @ base_from_side).distance_to(pose)
            assert off_m < 0.01
            assert off_rad < 0.01


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--rig-window", "0.1"), "--rig-window is for several --image-topic"),
        (("--image-topic", "/a", "--image-topic", "/b", "--rig-window", "-1"), "--rig-window is -1, expected seconds"),
        (
            ("--image-topic", "/a", "--image-topic", "/b", "--camera-info-topic", "/c"),
            "found 1 --camera-info-topic for 2",
        ),
        (("--image-topic", "/a", "--image-topic", "/b", "--camera", "c.yaml"), "--camera is one calibration"),
        (("--gnss-correlation", "60"), "--gnss-correlation are for --gnss-topic"),
        (("--gnss-topic", "/fix", "--gnss-correlation", "-1"), "--gnss-correlation is -1, expected seconds"),
    ],
)
def test_options_of_bags_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: str
) -> None:
    assert main(["map", "build", "--bag", str(tmp_path), *options, "--out", str(tmp_path / "map")]) == 1
    assert expected in capsys.readouterr().err


def test_positions_give_odometry_their_frame(scene_folder: SceneFolder, tmp_path: Path) -> None:
    truth = read_tum(scene_folder.poses)
    names = sorted(p.name for p in scene_folder.images.iterdir())
    level = Pose.from_rotation_vector([0.0, 0.0, 1.0], [300.0, 200.0, 10.0])
    rows = [
        f"{name} {' '.join(f'{v:.4f}' for v in (level @ pose).translation)} 0.05"
        for name, pose in zip(names, truth.poses, strict=True)
    ]
    (tmp_path / "positions.txt").write_text("\n".join(rows))
    assert build(scene_folder, tmp_path / "map", "--poses-drift", "--positions", str(tmp_path / "positions.txt")) == 0
    built = read_map(tmp_path / "map")
    assert built.metric
    placed = [built.scene().map_from(built.keyframes.pose(k)) for k in range(len(names))]
    assert max(one.distance_to(level @ pose)[0] for one, pose in zip(placed, truth.poses, strict=True)) < 0.1


def test_poses_and_positions_are_two_frames(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = min(p.name for p in scene_folder.images.iterdir())
    (tmp_path / "positions.txt").write_text(f"{name} 0 1 0 1\n")
    assert build(scene_folder, tmp_path / "map", "--positions", str(tmp_path / "positions.txt")) == 1
    assert "positions and poses would give the map a frame each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("distance", "said"),
    [
        (("frame-000", "frame-003.png", "2"), r"images holds no image frame-000; did you mean frame-000\.png\?"),
        (("frame-000.png", "frame-03.png", "2"), r"holds no image frame-03\.png; did you mean frame-\d+\.png\?"),
        (("frame-000.png", "holiday", "2"), "holds no image holiday; give the names of two files in it"),
        (("frame-000.png", "frame-000.png", "2"), "names frame-000.png twice"),
        (("frame-000.png", "frame-003.png", "0"), "ends with 0, expected metres"),
        (("frame-000.png", "frame-003.png", "far"), "ends with 'far', expected metres"),
    ],
)
def test_a_distance_is_checked_before_the_work(
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    distance: tuple[str, str, str],
    said: str,
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the build has begun")

    monkeypatch.setattr("vloc_ros.mapping.maps.checked_build.build_checked_map", work)
    given = ["--images", f"{scene_folder.images}", "--camera", f"{scene_folder.camera}", "--structure", "sfm"]
    assert main(["map", "build", *given, "--distance", *distance, "--out", f"{tmp_path}/map"]) == 1
    assert re.search(said, capsys.readouterr().err)


def test_a_calibration_is_refined_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, truth = make_plane_scene(), poses(8, seed=1)
    write_images(scene, truth, tmp_path / "images")
    write_tum(tmp_path / "poses.txt", Trajectory(np.arange(8) * 10**9, tuple(truth)))
    given = ["--images", tmp_path / "images", "--poses", tmp_path / "poses.txt", "--focal", 1.03 * 280.0]
    refined = tmp_path / "refined.yaml"
    words = [str(word) for word in ["map", "build", *given, "--refine-calibration", refined, "--out", tmp_path / "map"]]
    assert main(words) == 0
    assert read_camera(refined).intrinsics[0] == pytest.approx(280.0, rel=0.005)
    assert read_map(tmp_path / "map").keyframes.cameras[0] == pytest.approx(read_camera(refined))
    assert "calibration refined: focal length 288.4" in capsys.readouterr().out


def test_a_refined_calibration_replaces_no_other_file(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text("mine: 1")
    given = ["--images", f"{scene_folder.images}", "--camera", f"{scene_folder.camera}", "--structure", "sfm"]
    assert main(["map", "build", *given, "--refine-calibration", f"{notes}", "--out", f"{tmp_path}/map"]) == 1
    assert "camera_info YAML" in capsys.readouterr().err
    assert notes.read_text() == "mine: 1"


def test_images_without_a_calibration_are_told_what_to_start_from(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["map", "build", "--images", f"{scene_folder.images}", "--out", f"{tmp_path}/map"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "Kalibr, OpenCV" in said
    assert "--focal PX --refine-calibration" in said
