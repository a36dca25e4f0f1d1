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

"""`--colmap`, `--transforms`, `--kitti`, `--euroc`: what `vloc map build` and `vloc evaluate` get from each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA, SceneFolder

from vloc_ros.cli.evaluate import register
from vloc_ros.cli.evaluation_inputs import read_images
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints, write_colmap_model
from vloc_ros.storage.maps import read_map, write_map

pytest.importorskip("pycolmap", reason="the extra 'mapping' is not installed")

_START_NS = 1_403_636_579_763_555_584
# two images from one place, then a step
_POSES = tuple(Pose.from_rotation_vector([0.1, 0.2, 0], [x, 0.5, 0.2]) for x in (0.0, 0.01, 0.5))
_CAMERA = Camera("PINHOLE", 80, 60, (70.0, 71.0, 40.5, 30.5))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[PosedImage]]:
    """The images that the build is called with; nothing is built."""
    found: list[Sequence[PosedImage]] = []

    def build_map(images: Sequence[PosedImage], **_: Any) -> None:
        found.append(images)
        raise InputError("far enough")

    monkeypatch.setattr("vloc_ros.mapping.maps.build.build_map", build_map)
    return found


def _write_images(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((60, 80), np.uint8))
    return folder


def _kitti(folder: Path) -> tuple[Path, Path]:
    rows = [" ".join(f"{value:.9e}" for value in pose.matrix[:3].ravel()) for pose in _POSES]
    (folder / "poses.txt").write_text("\n".join(rows))
    (folder / "times.txt").write_text("0\n0.1\n0.2\n")
    (folder / "calib.txt").write_text("P0: 70 0 40 0 0 71 30 0 0 0 1 0\n")
    return folder, _write_images(folder / "image_0", [f"{i:06d}.png" for i in range(3)])


def _euroc(folder: Path) -> tuple[Path, Path]:
    truth = folder / "state_groundtruth_estimate0"
    truth.mkdir()
    rows = [[*pose.translation, *np.roll(pose.quaternion, 1)] for pose in _POSES]
    lines = [f"{_START_NS + i}," + ",".join(f"{value:.12f}" for value in row) for i, row in enumerate(rows)]
    (truth / "data.csv").write_text("\n".join(lines))
    images = _write_images(folder / "cam0/data", [f"{_START_NS + i}.png" for i in range(3)])
    text = "camera_model: pinhole\nintrinsics: [70, 71, 40, 30]\nresolution: [80, 60]\ndistortion_model: none\n"
    (folder / "cam0/sensor.yaml").write_text(f"{text}T_BS:\n  data: {np.eye(4).ravel().tolist()}\n")
    return folder, images


def _transforms(folder: Path) -> tuple[Path, Path]:
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    frames = [
        {"file_path": f"images/{i}.png", "transform_matrix": (pose.matrix @ flip).tolist()}
        for i, pose in enumerate(_POSES)
    ]
    values = {"w": 80, "h": 60, "fl_x": 70.0, "fl_y": 71.0, "cx": 40.5, "cy": 30.5, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(values))
    return folder / "transforms.json", _write_images(folder / "images", [f"{i}.png" for i in range(4)])


@pytest.mark.parametrize(
    ("option", "write", "kept", "note"),
    [
        ("--kitti", _kitti, (0, 2), "2 of 3 images are keyframes"),
        ("--euroc", _euroc, (0, 2), "2 of 3 images are keyframes"),
        ("--transforms", _transforms, (0, 1, 2), "1 images in"),
    ],
)
def test_a_map_is_built_of_keyframes_with_poses(
    tmp_path: Path,
    given: list[Sequence[PosedImage]],
    capsys: pytest.CaptureFixture[str],
    option: str,
    write: Any,
    kept: tuple[int, ...],
    note: str,
) -> None:
    source, images = write(tmp_path)
    words = ["map", "build", option, f"{source}", "--images", f"{images}", "--out", f"{tmp_path}/map"]
    assert main(words) == 1
    found = capsys.readouterr().err
    assert "far enough" in found
    assert note in found
    assert ("taken for metres" in found) == (option == "--transforms")
    assert [image.camera for image in given[0]] == [_CAMERA] * len(kept)
    for image, index in zip(given[0], kept, strict=True):
        assert image.map_from_camera is not None
        assert max(image.map_from_camera.distance_to(_POSES[index])) < 1e-8


def test_a_calibration_takes_the_place_of_the_sources(tmp_path: Path, given: list[Sequence[PosedImage]]) -> None:
    source, images = _transforms(tmp_path)
    other = Camera("PINHOLE", 80, 60, (75.0, 75.0, 40.5, 30.5))
    write_camera(tmp_path / "camera.yaml", other, name="other")
    words = ["map", "build", "--transforms", f"{source}", "--images", f"{images}", "--out", f"{tmp_path}/map"]
    assert main([*words, "--camera", f"{tmp_path}/camera.yaml"]) == 1
    assert given[0][0].camera == other


def test_times_of_a_file_are_those_of_any_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of all images of the folder, of which the fourth has no pose."""
    source, images = _transforms(tmp_path)
    (tmp_path / "times.txt").write_text("5.0\n6.0\n7.0\n8.0\n")
    parser = argparse.ArgumentParser()
    register(parser)
    words = ["--map", "map", "--images", f"{images}", "--transforms", f"{source}", "--times"]
    found = read_images(parser.parse_args([*words, f"{tmp_path}/times.txt"]))
    assert "taken for metres; give --scale-unknown where" in capsys.readouterr().err
    assert found.timed
    assert [query.stamp_ns for query in found.queries] == [5 * 10**9, 6 * 10**9, 7 * 10**9]
    with pytest.raises(InputError, match=r"gone\.txt"):
        read_images(parser.parse_args([*words, f"{tmp_path}/gone.txt"]))


def test_poses_of_unknown_scale_are_no_metres_to_anybody(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """Scaled by three, they are compared with a map in metres as what they are, and the files say so."""
    images, flip = scene_folder.images, np.diag([1.0, -1.0, -1.0, 1.0])
    frames = [
        {"file_path": f"{path}", "transform_matrix": (_scaled(pose, 3.0).matrix @ flip).tolist()}
        for path, pose in zip(sorted(images.iterdir()), scene_folder.truth, strict=True)
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    words = ["evaluate", "--map", scene_folder.map, "--images", images, "--camera", scene_folder.camera]
    words += ["--transforms", tmp_path / "transforms.json", "--json", tmp_path / "s.json", "--out", tmp_path / "out"]

    def run(*more: str) -> dict[str, Any]:
        assert main([str(word) for word in [*words, *more]]) == 0
        return dict(json.loads((tmp_path / "s.json").read_text()))

    assert "taken for metres" in run()["assumed_scale"]
    refused = run("--scale-unknown")
    assert (refused["ape"], refused["assumed_scale"]) == (None, None)
    assert refused["not_comparable"].startswith("the scale of the true poses is unknown")
    scores = run("--scale-unknown", "--align", "--correct-scale")
    assert scores["alignment"]["scale"] == pytest.approx(3.0, rel=1e-2)
    assert scores["ape"]["translation_m"]["max"] < 0.02
    heads = [(tmp_path / "out" / name).read_text().split("tz[")[1] for name in ("truth.txt", "poses.txt")]
    assert [head.partition("]")[0] for head in heads] == ["scale unknown", "m"]


def _scaled(pose: Pose, scale: float) -> Pose:
    return Pose(pose.rotation, scale * pose.translation)


def test_scale_unknown_needs_poses(scene_folder: SceneFolder, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--map", f"{scene_folder.map}", "--images", f"{scene_folder.images}"]
    assert main(["evaluate", *given, "--absent", "--scale-unknown"]) == 1
    assert "--scale-unknown is for poses" in capsys.readouterr().err


def test_a_map_is_updated_by_images_of_several_cameras(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of a COLMAP model, each with its own calibration, as `vloc map build` takes them."""
    cameras = [CAMERA, Camera("OPENCV", CAMERA.width, CAMERA.height, (*CAMERA.parameters[:4], 0.0, 0.0, 0.0, 0.0))]
    names = [path.name for path in sorted(scene_folder.images.iterdir())]
    of_image = [cameras[i % 2] for i in range(len(names))]
    posed = [ColmapImage(*one) for one in zip(names, of_image, scene_folder.truth, strict=True)]
    nothing = [np.zeros((0, 2))] * len(names)
    points = ColmapPoints(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), [n[:, 0] for n in nothing], nothing)
    (tmp_path / "model").mkdir()
    write_colmap_model(tmp_path / "model", posed, points)
    wall = scene_folder.scene.landmark_map
    known = replace(wall.keyframes, cameras=(CAMERA,) * len(wall.keyframes.names))
    write_map(replace(wall, keyframes=known), tmp_path / "known")
    words = ["map", "update", tmp_path / "known", "--images", scene_folder.images, "--colmap", tmp_path / "model"]
    assert main([str(word) for word in [*words, "--out", tmp_path / "m"]]) == 0
    assert "in the frame and the unit of" in capsys.readouterr().err
    keyframes = read_map(tmp_path / "m").keyframes
    added = len(keyframes.names) - len(names)
    assert list(keyframes.cameras[added:]) == of_image
    np.testing.assert_allclose(keyframes.translations[added:], [p.translation for p in scene_folder.truth], atol=1e-8)
