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

"""Readers of images with scans, and who is near whom."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from cross_modal_data import BASELINE_M, FOCAL, HEIGHT, LIDAR_FROM_CAMERA, WIDTH, write_drive

from training.cross_modal.config import build_config
from training.cross_modal.inputs import measure_field_of_view, render_view
from training.cross_modal.records import RecordSet
from training.cross_modal.sources import read_records
from training.cross_modal.validation import split_roles
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera

KITTI = Path(__file__).parents[4] / "shared" / "data" / "kitti" / "drive_04"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("kitti"), "00", world=1, first_m=0.0, count=4)


def write_annotation(drive: Path, folder: Path, **changed: str) -> Path:
    """The drive in VXP's form, whose paths are those of another machine."""
    folder.mkdir()
    (folder / "camera_info.yaml").write_text(
        f"image_width: {WIDTH}\nimage_height: {HEIGHT}\ndistortion_model: plumb_bob\n"
        f"camera_matrix: {{rows: 3, cols: 3, data: [{FOCAL}, 0, {WIDTH / 2}, 0, {FOCAL}, {HEIGHT / 2}, 0, 0, 1]}}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n"
    )
    np.savetxt(folder / "camera_from_lidar.txt", LIDAR_FROM_CAMERA.inverse().matrix)
    rows = ["timestamp,date,northing,easting,yaw,submap_path,img_path"]
    for number, record in enumerate(read_records(drive)):
        (folder / "image").mkdir(exist_ok=True)
        (folder / "submap").mkdir(exist_ok=True)
        (folder / "image" / f"{number}.png").write_bytes((drive / "image_2" / f"{number:06d}.png").read_bytes())
        np.save(folder / "submap" / f"{number}.npy", record.load_cloud().points.astype(float))
        row = {"time": f"{number}000000", "yaw": "0.5", **changed}
        paths = f"/storage/submap/{number}.npy,/storage/image/{number}.png"
        rows.append(f"{row['time']},2026-01-01,{10 * number},2.5,{row['yaw']},{paths}")
    (folder / "annotation.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_sequence_has_the_extrinsics_of_its_colour_camera(drive: Path) -> None:
    records = read_records(drive)
    assert len(records) == 4
    found = records[1].camera_from_lidar @ LIDAR_FROM_CAMERA
    np.testing.assert_allclose(found.translation, [-BASELINE_M, 0, 0], atol=1e-8)
    np.testing.assert_allclose(records[1].map_from_lidar.translation, [10.0, 0.0, 1.7], atol=1e-6)
    points, intensity = records[1].load_forward_cloud()
    assert intensity is not None
    assert abs(points[:, 0].max() - (records[1].load_cloud().points[:, 0].max() - 0.3)) < 1e-5


def test_the_view_is_that_of_an_image_whose_optical_axis_is_off_centre(drive: Path) -> None:
    """The left half of an image: its view is the left half of the image's."""
    record, config = read_records(drive)[1], build_config("small", ("range.width=96",)).range
    camera = Camera("PINHOLE", WIDTH // 2, HEIGHT, (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
    half = replace(record, camera=camera)
    assert half.field_of_view_rad() == pytest.approx(record.field_of_view_rad() / 2, abs=1e-4)
    whole = render_view(record, *record.load_view_cloud(), config)[0]
    config = replace(config, width=48)
    found = render_view(half, *half.load_view_cloud(), config)[0]
    # but for points at the borders of pixels
    assert (np.abs(found - whole[:, :48]) < 1e-4).mean() > 0.95


def test_records_of_one_model_see_one_angle(drive: Path) -> None:
    records, config = read_records(drive), build_config("small", ()).range
    expected = 2 * math.atan(WIDTH / 2 / FOCAL)
    assert measure_field_of_view(records, config) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match=r"range\.headings=5"):
        measure_field_of_view(records, replace(config, headings=4))
    wide = Camera("PINHOLE", WIDTH, HEIGHT, (FOCAL / 1.2, FOCAL, WIDTH / 2, HEIGHT / 2))
    with pytest.raises(InputError, match="expected 83"):
        measure_field_of_view([*records, replace(records[0], camera=wide)], config)


def test_vxp_form_is_read_and_keeps_differences_of_yaw(drive: Path, tmp_path: Path) -> None:
    records = read_records(write_annotation(drive, tmp_path / "vxp"))
    found = RecordSet.join([[records]])
    np.testing.assert_allclose(found.positions, [[2.5, 10.0 * k] for k in range(4)])
    np.testing.assert_allclose(found.headings, 0.5)
    assert records[2].load_cloud().intensity is None
    assert found.stamps_ns.tolist() == [0, 10**9, 2 * 10**9, 3 * 10**9]


@pytest.mark.parametrize(("name", "value"), [("time", "soon"), ("yaw", "nan")])
def test_damaged_rows_are_named(drive: Path, tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InputError, match=r"annotation\.csv, line 2"):
        read_records(write_annotation(drive, tmp_path / "vxp", **{name: value}))


def test_missing_files_are_refused(drive: Path, tmp_path: Path) -> None:
    folder = write_annotation(drive, tmp_path / "vxp")
    (folder / "image" / "2.png").unlink()
    with pytest.raises(InputError, match=r"annotation\.csv, line 4.*2\.png"):
        read_records(folder)
    with pytest.raises(InputError, match="has no"):
        read_records(tmp_path)


@pytest.mark.skipif(not KITTI.is_dir(), reason="no ../shared/data")
def test_the_excerpt_of_kitti_projects_its_scan_into_its_image() -> None:
    record = read_records(KITTI)[0]
    pixels = record.camera.project(record.camera_from_lidar.apply(record.load_cloud().points))
    inside = record.camera.contains(pixels)
    assert 0.1 < inside.mean() < 0.3  # the camera sees a fifth of the turn
    assert np.median(pixels[inside, 1]) > record.camera.height / 2  # the road is below


def test_worlds_are_far_apart_and_records_are_thinned(drive: Path) -> None:
    records = read_records(drive)
    both = RecordSet.join([[records, records[:2]], [records]])
    distances = both.distances(both)
    assert np.isinf(distances[0, 6:]).all()
    assert distances[0, 3] == pytest.approx(30.0)
    assert len(both.thin(15.0)) == 2 + 1 + 2
    queries, database = split_roles(both)
    assert (len(queries), len(database)) == (2 + 4, 4 + 4)
    with pytest.raises(InputError):
        RecordSet.join([[[]]])
