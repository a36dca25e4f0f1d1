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

"""Published benchmarks: each layout is read by its own conventions, and what is missing is named with its source."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import benchmark_folders as folders
import cv2
import numpy as np
import pytest
from benchmark_folders import CAMERA, MAP_FRAMES, QUERY_FRAMES, Frames

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.datasets.benchmarks import aachen, cambridge, seven_scenes, twelve_scenes
from vloc_ros.datasets.benchmarks.nvm import read_nvm
from vloc_ros.datasets.benchmarks.scene import BenchmarkScene, MissingDataError
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Exact poses; what the images show does not matter here."""
    poses = make_lap(make_world("room", 1), 120, 2, camera=CAMERA).map_from_camera[:20]
    return Frames([np.zeros((240, 320, 3), np.uint8)] * 20, poses)


def _check_poses(scene: BenchmarkScene, frames: Frames, *, left_out: int = 0) -> None:
    known = [frames.poses[index] for index in MAP_FRAMES][: len(MAP_FRAMES) - left_out]
    assert len(scene.map_files) == len(known)
    assert max(max(f.map_from_camera.distance_to(p)) for f, p in zip(scene.map_files, known, strict=True)) < 1e-5
    truth = [frames.poses[index] for index in QUERY_FRAMES]
    found = [query.map_from_camera for query in scene.queries]
    assert max(max(a.distance_to(b)) for a, b in zip(found, truth, strict=True) if a) < 1e-5
    assert scene.left_out == left_out


def test_seven_scenes(tmp_path: Path, frames: Frames) -> None:
    folders.write_seven_scenes(tmp_path, frames)
    scene = seven_scenes.read_scene(tmp_path, "chess")
    _check_poses(scene, frames)
    assert scene.map_files[3].name == "seq-01/frame-000003.color.png"
    assert {file.camera for file in scene.map_files} == {CAMERA} == {query.camera for query in scene.queries}
    assert scene.queries[0].to_source().read().views[0].camera == CAMERA
    thinned = scene.thinned(map_every=3, query_every=2)
    assert (len(thinned.map_files), len(thinned.queries)) == (4, 2)


def test_digests_are_of_names_poses_and_calibrations(tmp_path: Path, frames: Frames) -> None:
    folders.write_seven_scenes(tmp_path, frames)
    scene = seven_scenes.read_scene(tmp_path, "chess")
    assert scene.digests() == seven_scenes.read_scene(tmp_path, "chess").digests()
    first, other = scene.map_files[0], scene.map_files[1]
    changes = ({"name": "x"}, {"camera": CAMERA.scaled(160, 120)}, {"map_from_camera": other.map_from_camera})
    for change in changes:
        changed = replace(scene, map_files=[replace(first, **change), *scene.map_files[1:]])  # type: ignore[arg-type]
        assert changed.digests()["map"] != scene.digests()["map"]
        assert changed.digests()["queries"] == scene.digests()["queries"]


def test_seven_scenes_by_structure_from_motion(tmp_path: Path, frames: Frames) -> None:
    folders.write_seven_scenes(tmp_path, frames)
    folders.write_sfm_poses(tmp_path / "sfm", frames, focal=530.0)
    scene = seven_scenes.read_scene(tmp_path, "chess", sfm_poses=tmp_path / "sfm")
    _check_poses(scene, frames)
    assert scene.queries[0].camera == Camera("SIMPLE_PINHOLE", 320, 240, (265.0, 160.0, 120.0))


def test_twelve_scenes(tmp_path: Path, frames: Frames) -> None:
    folders.write_twelve_scenes(tmp_path, frames)
    scene = twelve_scenes.read_scene(tmp_path, "apt1/kitchen")
    _check_poses(scene, frames, left_out=1)
    assert scene.map_files[0].camera == Camera("PINHOLE", 320, 240, (262.5, 262.5, 160.0, 120.0))


def test_cambridge(tmp_path: Path, frames: Frames) -> None:
    folders.write_cambridge(tmp_path, frames)
    scene = cambridge.read_scene(tmp_path, "ShopFacade")
    _check_poses(scene, frames)
    # VisualSFM undistorts by 1 + d r², COLMAP distorts by 1 + k1 r²
    assert scene.queries[1].camera == Camera("SIMPLE_RADIAL", 320, 240, (262.5, 160.0, 120.0, -0.001))
    model = read_nvm(tmp_path / "ShopFacade/reconstruction.nvm")
    assert max(model["seq1/frame00000.jpg"].world_from_camera.distance_to(frames.poses[0])) < 1e-5


def test_cambridge_images_that_are_far_away_are_left_out(tmp_path: Path, frames: Frames) -> None:
    folders.write_cambridge(tmp_path, frames)
    split = tmp_path / "ShopFacade/dataset_train.txt"
    rows = split.read_text().splitlines()
    last = rows[-1].split()
    split.write_text("\n".join([*rows[:-1], " ".join([last[0], "1e6", *last[2:]])]))
    _check_poses(cambridge.read_scene(tmp_path, "ShopFacade"), frames, left_out=1)


@pytest.mark.parametrize("version", ["1", "1.1"])
def test_aachen(tmp_path: Path, frames: Frames, version: str) -> None:
    folders.write_aachen(tmp_path, frames, version=version)
    scene = aachen.read_scene(tmp_path, "aachen")
    truth = {f"db/{number}.jpg": frames.poses[index] for number, index in enumerate(MAP_FRAMES)}
    assert max(max(f.map_from_camera.distance_to(truth[Path(f.name).as_posix()])) for f in scene.map_files) < 1e-5
    assert {file.camera for file in scene.map_files} == {CAMERA}
    assert [query.group for query in scene.queries] == ["day", "day", "night", "night"]
    assert all(query.map_from_camera is None for query in scene.queries)


@pytest.mark.parametrize(
    ("module", "name", "path", "source"),
    [
        (seven_scenes, "chess", "chess", "microsoft.com"),
        (twelve_scenes, "apt1/kitchen", "apt1/kitchen", "graphics.stanford.edu"),
        (cambridge, "ShopFacade", "ShopFacade", "mi.eng.cam.ac.uk"),
        (aachen, "aachen", "images/images_upright", "visuallocalization.net"),
    ],
)
def test_missing_data_are_named(tmp_path: Path, module: object, name: str, path: str, source: str) -> None:
    with pytest.raises(MissingDataError, match=rf"{path}: is not there, .*{source}"):
        module.read_scene(tmp_path, name)  # type: ignore[attr-defined]


def test_files_that_are_not_as_published_are_named(tmp_path: Path, frames: Frames) -> None:
    folders.write_seven_scenes(tmp_path, frames)
    (tmp_path / "chess/seq-01/frame-000002.pose.txt").write_text("1 0 0 0\n0 1 0 0\n")
    with pytest.raises(InputError, match=r"frame-000002\.pose\.txt: 8 numbers"):
        seven_scenes.read_scene(tmp_path, "chess")
    (tmp_path / "chess/TrainSplit.txt").write_text("seq 1\n")
    with pytest.raises(InputError, match=r"TrainSplit\.txt: holds 'seq 1"):
        seven_scenes.read_scene(tmp_path, "chess")
    folders.write_twelve_scenes(tmp_path, frames)
    (tmp_path / "apt1/kitchen/split.txt").write_text("sequence0 [frames=99]\n")
    with pytest.raises(InputError, match=r"14 frames, of which split\.txt gives 99"):
        twelve_scenes.read_scene(tmp_path, "apt1/kitchen")
    folders.write_cambridge(tmp_path, frames)
    nvm = tmp_path / "ShopFacade/reconstruction.nvm"
    nvm.write_text(nvm.read_text().replace("\n14\n", "\n20\n"))
    with pytest.raises(InputError, match=r"reconstruction\.nvm"):
        cambridge.read_scene(tmp_path, "ShopFacade")


@pytest.mark.parametrize("absolute", [True, False])
def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, frames: Frames, absolute: bool) -> None:
    """Lists are downloaded."""
    outside = f"{tmp_path}/outside.png" if absolute else "../../outside.png"
    frames.write(0, tmp_path / "outside.png")
    folders.write_cambridge(tmp_path, frames)
    folders.write_seven_scenes(tmp_path, frames)
    folders.write_sfm_poses(tmp_path / "sfm", frames)
    folders.write_aachen(tmp_path, frames, version="1.1")
    scene = tmp_path / "ShopFacade"
    for path, inside in (
        (scene / "dataset_test.txt", "seq2/frame00000.png"),
        (scene / "reconstruction.nvm", "seq2/frame00000.jpg"),
        (tmp_path / "sfm/chess_train.txt", "seq-01/frame-000000.color.png"),
        (tmp_path / "queries/day_time_queries_with_intrinsics.txt", f"query/day/{QUERY_FRAMES[0]}.jpg"),
    ):
        assert inside in path.read_text()
        path.write_text(path.read_text().replace(inside, outside))
    with pytest.raises(InputError, match="expected one below this folder"):
        cambridge.read_scene(tmp_path, "ShopFacade")
    with pytest.raises(InputError, match=r"chess_train\.txt, line 10: .*expected one below this folder"):
        seven_scenes.read_scene(tmp_path, "chess", sfm_poses=tmp_path / "sfm")
    with pytest.raises(InputError, match="expected one below this folder"):
        aachen.read_scene(tmp_path, "aachen")


@pytest.mark.parametrize(
    ("module", "name", "packed", "missing"),
    [
        (seven_scenes, "chess", "chess.zip", "chess"),
        (seven_scenes, "chess", "chess/seq-02.zip", "chess/seq-02"),
        (twelve_scenes, "apt1/kitchen", "apt1.zip", "apt1"),
        (cambridge, "ShopFacade", "ShopFacade.zip", "ShopFacade"),
    ],
)
def test_archives_that_were_left_packed_are_named(
    tmp_path: Path, frames: Frames, module: object, name: str, packed: str, missing: str
) -> None:
    """Those of 7-Scenes hold further ones."""
    folders.write_seven_scenes(tmp_path, frames)
    shutil.rmtree(tmp_path / missing, ignore_errors=True)
    (tmp_path / packed).write_bytes(b"PK")
    with pytest.raises(MissingDataError, match=rf"is not there, .*: unzip {tmp_path}/{packed} -d {tmp_path}"):
        module.read_scene(tmp_path, name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", ["nan", "-inf", "1.#QNAN", "-1.#IND", "1.#INF"])
def test_seven_scenes_frames_without_a_pose_are_left_out(tmp_path: Path, frames: Frames, lost: str) -> None:
    folders.write_seven_scenes(tmp_path, frames)
    last = f"frame-{len(MAP_FRAMES) - 1:06d}.pose.txt"
    (tmp_path / "chess/seq-01" / last).write_text(f"{lost} {lost} {lost} {lost}\n" * 4)
    _check_poses(seven_scenes.read_scene(tmp_path, "chess"), frames, left_out=1)


def test_twelve_scenes_are_split_by_the_numbers_of_frames(tmp_path: Path, frames: Frames) -> None:
    """Of a copy without one frame of the test, no frame of the map becomes a query."""
    folders.write_twelve_scenes(tmp_path, frames)
    for path in (tmp_path / "apt1/kitchen/data").glob("frame-000001.*"):
        path.unlink()
    scene = twelve_scenes.read_scene(tmp_path, "apt1/kitchen")
    assert [query.name for query in scene.queries] == [f"data/frame-{number:06d}.color.jpg" for number in (0, 2, 3)]
    assert len(scene.map_files) == len(MAP_FRAMES) - 1


def test_cambridge_sequences_may_be_upright(tmp_path: Path, frames: Frames) -> None:
    folders.write_cambridge(tmp_path, frames)
    for path in (tmp_path / "ShopFacade/seq2").iterdir():
        cv2.imwrite(str(path), np.zeros((320, 240, 3), np.uint8))
    scene = cambridge.read_scene(tmp_path, "ShopFacade")
    assert scene.map_files[0].camera == Camera("SIMPLE_RADIAL", 320, 240, (262.5, 160.0, 120.0, -0.001))
    assert scene.queries[0].camera == Camera("SIMPLE_RADIAL", 240, 320, (262.5, 120.0, 160.0, -0.001))


def test_aachen_as_its_archives_unpack(tmp_path: Path, frames: Frames) -> None:
    """Images of v1 and v1.1 in a folder each, lists of both versions side by side, and lists of somebody's own."""
    folders.write_aachen(tmp_path, frames, version="1.1")
    (tmp_path / "images/images_upright").mkdir(parents=True)
    (tmp_path / "images_upright/query").rename(tmp_path / "images/images_upright/query")
    lists = tmp_path / "queries"
    rows = [(lists / f"{group}_time_queries_with_intrinsics.txt").read_text() for group in ("day", "night")]
    (lists / "night_time_queries_with_intrinsics_v1_1.txt").write_text("# v1.1\n" + rows[1])
    (lists / "night_time_queries_with_intrinsics.txt").write_text(rows[1].splitlines()[0])
    (lists / "day_night_time_queries_with_intrinsics.txt").write_text("".join(rows))
    scene = aachen.read_scene(tmp_path, "aachen")
    assert [query.group for query in scene.queries] == ["day", "day", "night", "night"]


def test_aachen_with_the_model_of_its_first_version_in_a_folder(tmp_path: Path, frames: Frames) -> None:
    folders.write_aachen(tmp_path, frames, version="1")
    (tmp_path / "3D-models").rename(tmp_path / "aachen_v_1")
    (tmp_path / "3D-models").mkdir()
    (tmp_path / "aachen_v_1").rename(tmp_path / "3D-models/aachen_v_1")
    assert len(aachen.read_scene(tmp_path, "aachen").map_files) == len(MAP_FRAMES)
