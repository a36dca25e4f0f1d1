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

"""COLMAP models: what pycolmap writes is read, what is written pycolmap reads, and damage is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints, read_colmap_images, write_colmap_model

pycolmap = pytest.importorskip("pycolmap", reason="the extra 'mapping' is not installed")

_CAMERAS = (
    Camera("OPENCV", 640, 480, (525.0, 526.0, 320.5, 240.5, -0.03, 0.01, 0.001, -0.002)),
    Camera("SIMPLE_RADIAL", 320, 200, (300.0, 160.0, 100.0, 0.05)),
)
_POSES = tuple(Pose.from_rotation_vector([0.1, 0.7 * i, -0.2], [i, 0.5, -3.0]) for i in range(3))
_NAMES = ("b/two words.png", "a.png", "c/a.png")


def _model() -> pycolmap.Reconstruction:
    """Three images of two cameras, one with 2D points, and a point."""
    model = pycolmap.Reconstruction()
    for number, camera in enumerate(_CAMERAS, 1):
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(
                camera_id=number,
                model=camera.model,
                width=camera.width,
                height=camera.height,
                params=list(camera.parameters),
            )
        )
    for i, (name, pose) in enumerate(zip(_NAMES, _POSES, strict=True)):
        inverse = pose.inverse()
        xy = np.array([[10.0, 20.0], [30.0, 40.0]]) if i != 1 else np.zeros((0, 2))
        image = pycolmap.Image(name, xy, 1 + i % 2, i + 1)
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(inverse.rotation), inverse.translation)
        model.add_image_with_trivial_frame(image, rigid)
    return model


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_what_colmap_writes_is_read(tmp_path: Path, kind: str) -> None:
    getattr(_model(), f"write_{kind}")(tmp_path)
    images = {image.name: image for image in read_colmap_images(tmp_path)}
    assert list(images) == sorted(_NAMES)
    for i, name in enumerate(_NAMES):
        assert max(images[name].world_from_camera.distance_to(_POSES[i])) < 1e-9
        assert images[name].camera == _CAMERAS[i % 2]


def test_colmap_reads_what_is_written(tmp_path: Path) -> None:
    images = [ColmapImage(name, _CAMERAS[i % 2], _POSES[i]) for i, name in enumerate(_NAMES)]
    observed = [np.array([0, 2]), np.array([2]), np.array([1, 2])]
    pixels = [np.array([[1.5, 2.5], [3.0, 4.0]]), np.array([[5.0, 6.0]]), np.array([[7.0, 8.0], [9.0, 10.0]])]
    colours = np.array([[1, 2, 3], [4, 5, 6], [255, 0, 128]], np.uint8)
    points = ColmapPoints(np.arange(9.0).reshape(3, 3), colours, observed, pixels)
    write_colmap_model(tmp_path, images, points)
    model = pycolmap.Reconstruction(tmp_path)
    assert [model.images[i + 1].name for i in range(3)] == list(_NAMES)
    assert len(model.cameras) == 2
    for i, pose in enumerate(_POSES):
        camera_from_world = model.images[i + 1].cam_from_world()
        read = Pose(camera_from_world.rotation.matrix(), camera_from_world.translation)
        assert max(read.inverse().distance_to(pose)) < 1e-9
    third = model.points3D[3]
    assert third.xyz.tolist() == [6.0, 7.0, 8.0]
    assert third.color.tolist() == [255, 0, 128]
    seen = {e.image_id: model.images[e.image_id].points2D[e.point2D_idx].xy.tolist() for e in third.track.elements}
    assert seen == {1: [3.0, 4.0], 2: [5.0, 6.0], 3: [9.0, 10.0]}
    again = {image.name: image.camera for image in read_colmap_images(tmp_path)}
    assert again == {image.name: image.camera for image in images}


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "sparse/0").mkdir(parents=True)
    _model().write_binary(tmp_path / "sparse/0")
    with pytest.raises(InputError, match="sparse/0 holds one: name it"):
        read_colmap_images(tmp_path)
    images = tmp_path / "sparse/0/images.bin"
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"images\.bin: .*(no whole|expected all)"):
        read_colmap_images(tmp_path / "sparse/0")
    images.write_bytes(b"")
    with pytest.raises(InputError, match=r"images\.bin: is empty"):
        read_colmap_images(tmp_path / "sparse/0")
    images.write_bytes(struct.pack("<QI7dI", 2**64 - 1, 1, 1, *[0.0] * 6, 1) + b"a.png\0" + b"\xff" * 8)
    with pytest.raises(InputError, match=r"images\.bin: .*no whole"):
        read_colmap_images(tmp_path / "sparse/0")
    _model().write_text(tmp_path)
    text = (tmp_path / "images.txt").read_text()
    (tmp_path / "images.txt").write_text(text.replace(" 2 a.png", " 7 a.png"))
    with pytest.raises(InputError, match=r"images\.txt: a\.png is of camera 7, expected one of 1, 2"):
        read_colmap_images(tmp_path)


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("1", "2"), ("x y 1.png", "x y 2.png")])
def test_text_without_the_lines_of_2d_points_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Else every second image would be taken for the points of the one before."""
    _model().write_text(tmp_path)
    rows = [f"{number} 1 0 0 0 0 0 0 1 {name}" for number, name in enumerate(names, 1)]
    (tmp_path / "images.txt").write_text("\n\n".join(rows))
    assert [image.name for image in read_colmap_images(tmp_path)] == list(names)
    (tmp_path / "images.txt").write_text("\n".join(rows))
    with pytest.raises(
        InputError, match=r"images\.txt: line 2 is '2 1 0 .*, expected the 2D points of the image above"
    ):
        read_colmap_images(tmp_path)


def test_a_camera_takes_the_place_of_one_that_is_not_known(tmp_path: Path) -> None:
    _model().write_binary(tmp_path)
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<QIiQQ", 1, 1, 99, 640, 480) + bytes(64))
    with pytest.raises(InputError, match=r"cameras\.bin: camera model 99 is not known here, .*--camera"):
        read_colmap_images(tmp_path)
    assert {image.camera for image in read_colmap_images(tmp_path, camera=_CAMERAS[1])} == {_CAMERAS[1]}
    _model().write_text(tmp_path)
    for name in ("cameras.bin", "images.bin"):
        (tmp_path / name).unlink()
    (tmp_path / "cameras.txt").write_text("1 FOV 640 480 500 500 320 240 0.9\n2 PINHOLE 640 480 500 500 320 240\n")
    with pytest.raises(InputError, match=r"cameras\.txt: camera model FOV is not known here, .*--camera"):
        read_colmap_images(tmp_path)


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize("model", ["FOV", "RAD_TAN_THIN_PRISM_FISHEYE", "EUCM", "EQUIRECTANGULAR"])
def test_a_camera_of_no_image_may_be_of_any_model(tmp_path: Path, kind: str, model: str) -> None:
    """As those that remain of images that were not registered."""
    if not hasattr(pycolmap.CameraModelId, model):
        pytest.skip(f"this pycolmap has no {model}")
    reconstruction = _model()
    reconstruction.add_camera(pycolmap.Camera.create_from_model_name(3, model, 500.0, 640, 480))
    getattr(reconstruction, f"write_{kind}")(tmp_path)
    assert {image.camera for image in read_colmap_images(tmp_path)} == set(_CAMERAS)
    path = next(tmp_path.glob("cameras.*"))
    assert read_camera(path.with_name(f"{path.name}#2")) == _CAMERAS[1]
    with pytest.raises(InputError, match=f"{path.name}: camera model {model} is not known here"):
        read_camera(path.with_name(f"{path.name}#3"))
    with pytest.raises(InputError, match=f"{path.name}: holds the cameras 1, 2, 3, expected one"):
        read_camera(path)
