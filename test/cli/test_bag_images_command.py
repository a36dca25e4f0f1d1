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

"""`vloc bag images`: what was recorded comes out, as files that the other commands read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded_order import OrderedWriter

from vloc_ros.bags.writing import BagWriter
from vloc_ros.cli.main import main
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.image_folders import list_posed_paths
from vloc_ros.storage.cameras import read_camera

_CAMERA = Camera("OPENCV", 80, 60, (70.0, 70.0, 40.0, 30.0, 0.1, 0.0, 0.0, 0.0))
_POSES = tuple(Pose.from_rotation_vector([0.1, 0.2 * i, 0], [i, 0.5, 0.2]) for i in range(4))
_STAMPS_NS = [1_700_000_000_000_000_000 + i * 100_000_003 for i in range(5)]
_BASE_FROM_CAMERA = Pose.from_rotation_vector([1.0, -1.0, 0.5], [0.1, 0.2, -0.3])


def _image(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def _jpeg(i: int) -> bytes:
    return cv2.imencode(".jpg", _image(i))[1].tobytes()


def _record(path: Path, *, raw: bool = False, posed: bool = True, damaged: int = -1) -> Path:
    """Five images, the first four with odometry and the truth."""
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as bag:
        for i, stamp_ns in enumerate(_STAMPS_NS):
            if posed and i < len(_POSES):
                map_from_base = _POSES[i] @ _BASE_FROM_CAMERA.inverse()
                bag.write_odometry(stamp_ns, map_from_base)
                bag.write_truth(stamp_ns, map_from_base)
            if raw:
                bag.write_image(stamp_ns, _image(i))
            else:
                bag.write_compressed_image(stamp_ns, _jpeg(i)[:-200] if i == damaged else _jpeg(i))
    return path


def test_images_with_poses_in_the_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = _record(tmp_path / "bag"), tmp_path / "out"
    assert main(["bag", "images", f"{bag}", "--pose-topic", "/truth", "--out", f"{out}"]) == 0
    assert "1 images have no pose" in capsys.readouterr().err
    posed = list_posed_paths(out / "images", out / "poses.txt")
    assert [stamp_ns for _, stamp_ns, _ in posed] == _STAMPS_NS[:4]
    assert [path.read_bytes() for path, _, _ in posed] == [_jpeg(i) for i in range(4)]
    assert max(max(found.distance_to(pose)) for (_, _, found), pose in zip(posed, _POSES, strict=True)) < 1e-7
    assert read_camera(out / "camera.yaml") == _CAMERA


def test_images_of_a_gap_or_with_a_wrong_stamp_have_no_pose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step_ns, stamps_ns = 100_000_000, [1, 2, 8, 3, 4, 5, 6, 7, 8]
    with OrderedWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as bag:
        for i, stamp in enumerate(stamps_ns):
            bag.write_compressed_image(stamp * step_ns + 5 * (i == 2), _jpeg(i))
            if stamp not in (4, 5, 6):
                bag.write_truth(stamp * step_ns + 5 * (i == 2), _POSES[0])
    words = ["bag", "images", f"{tmp_path}/bag", "--pose-topic", "/truth", "--base-frame", "base_link"]
    assert main([*words, "--out", f"{tmp_path}/out"]) == 0
    said = capsys.readouterr().err
    assert "3 images have no pose, or are in a gap" in said
    assert "1 images have stamps that are not in the order" in said
    names = [path.stem for path in sorted((tmp_path / "out/images").iterdir())]
    assert names == [f"{stamp * step_ns:019}" for stamp in (1, 2, 3, 7, 8)]
    assert len(list_posed_paths(tmp_path / "out/images", tmp_path / "out/poses.txt")) == 5
    assert main([*words, "--max-time-difference", "0.4", "--out", f"{tmp_path}/more"]) == 0
    assert len(list((tmp_path / "more/images").iterdir())) == 8


def test_odometry_is_not_taken_for_poses_in_the_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "images", f"{_record(tmp_path / 'bag')}", "--out", f"{tmp_path}/out"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["camera.yaml", "images", "odometry.txt"]
    assert "--poses-drift" in capsys.readouterr().out
    assert len(list_posed_paths(tmp_path / "out/images", tmp_path / "out/odometry.txt")) == 4


def test_raw_images_without_poses(tmp_path: Path) -> None:
    bag = _record(tmp_path / "bag", raw=True, posed=False)
    assert main(["bag", "images", f"{bag}", "--every", "2", "--out", f"{tmp_path}/out"]) == 0
    images = sorted((tmp_path / "out/images").iterdir())
    assert [path.name for path in images] == [f"{_STAMPS_NS[i]}.png" for i in (0, 2, 4)]
    np.testing.assert_array_equal(cv2.imread(str(images[1])), _image(2))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["camera.yaml", "images"]


def test_no_poses_takes_all_images(tmp_path: Path) -> None:
    assert main(["bag", "images", f"{_record(tmp_path / 'bag')}", "--no-poses", "--out", f"{tmp_path}/out"]) == 0
    assert len(list((tmp_path / "out/images").iterdir())) == 5


def test_a_damaged_image_is_named_and_the_others_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vloc_ros.bags.writing.decode_image", lambda data: _image(0))  # the writer refuses it, too
    bag = _record(tmp_path / "bag", damaged=2)
    assert main(["bag", "images", f"{bag}", "--no-poses", "--out", f"{tmp_path}/out"]) == 1
    assert f"the image of {_STAMPS_NS[2]} ns cannot be used" in capsys.readouterr().err
    assert len(list((tmp_path / "out/images").iterdir())) == 4


def _stamped(path: Path, stamps_ns: list[int]) -> Path:
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as bag:
        for i, stamp_ns in enumerate(stamps_ns):
            bag.write_truth(stamp_ns, _POSES[i])
            bag.write_image(stamp_ns, _image(i))
    return path


def test_stamps_that_repeat_or_go_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One stamp far in the future does not end the stream; the second image of a stamp is counted."""
    stamps_ns = [_STAMPS_NS[0], _STAMPS_NS[0] + 10**12, _STAMPS_NS[1], _STAMPS_NS[0]]
    bag = _stamped(tmp_path / "bag", stamps_ns)
    assert main(["bag", "images", f"{bag}", "--no-poses", "--out", f"{tmp_path}/out"]) == 0
    assert "1 images have the time of an earlier one" in capsys.readouterr().err
    names = sorted(path.stem for path in (tmp_path / "out/images").iterdir())
    assert names == [f"{stamp_ns}" for stamp_ns in sorted(set(stamps_ns))]


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next run finds the folder free."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    words = ["bag", "images", f"{_record(tmp_path / 'bag')}", "--pose-topic", "/truth", "--out", f"{tmp_path}/out"]
    with monkeypatch.context() as patch:
        patch.setattr("vloc_ros.cli.bag_images._write_poses", interrupted)
        assert main(words) == 130
    assert not (tmp_path / "out").exists()
    (tmp_path / "out/.killed.part").mkdir(parents=True)
    assert main(words) == 0
    left = ["camera.yaml", "images", "poses.txt"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".killed.part", *left]


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["bag", "images", f"{_record(tmp_path.parent / 'a bag')}", "--out", f"{tmp_path}"]) == 1
    assert "notes.txt" in capsys.readouterr().err
    assert main(["bag", "images", f"{tmp_path}/bag", "--out", f"{tmp_path}/out", "--every", "0"]) == 1
    assert "--every is 0" in capsys.readouterr().err
