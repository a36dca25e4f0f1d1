"""`--colmap`, `--transforms`, `--kitti`, `--euroc`: what `vloc map build` and `vloc evaluate` get from each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vloc_ros.cli.evaluate import register
from vloc_ros.cli.evaluation_inputs import read_images
from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.storage.cameras import write_camera

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
    assert "taken for metres, and so are all errors" in capsys.readouterr().err
    assert found.timed
    assert [query.stamp_ns for query in found.queries] == [5 * 10**9, 6 * 10**9, 7 * 10**9]
    with pytest.raises(InputError, match=r"gone\.txt"):
        read_images(parser.parse_args([*words, f"{tmp_path}/gone.txt"]))
