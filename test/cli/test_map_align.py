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

"""`vloc map align` moves a map and says how well it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.assembly import build_localizer
from vloc_ros.cli.main import main
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.query import Query
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import read_image
from vloc_ros.storage.maps import map_hash, read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum

_SITE_FROM_MAP = Similarity(
    2.5, Pose.from_rotation_vector([0.3, -0.2, 1.0], np.zeros(3)).rotation, np.array([4.0, -5, 1])
)
_RIGID = Similarity(1.0, _SITE_FROM_MAP.rotation, _SITE_FROM_MAP.translation)


@pytest.fixture
def unscaled(scene_folder, tmp_path: Path) -> Path:
    """The scene's map with its lengths declared unknown."""
    write_map(replace(read_map(scene_folder.map), metric=False), tmp_path / "unscaled")
    return tmp_path / "unscaled"


def _pairs_file(path: Path, source: Array, target: Array) -> Path:
    rows = [" ".join(f"{v:.9f}" for v in row) for row in np.column_stack([source, target])]
    path.write_text("# mx my mz tx ty tz\n\n" + "\n".join(rows) + "  # the last one\n")
    return path


def _points() -> Array:
    return np.random.default_rng(0).uniform(-2, 2, (8, 3))


def _trajectory_file(path: Path, map_folder: Path, similarity: Similarity) -> Path:
    keyframes = read_map(map_folder).keyframes
    poses = tuple(similarity.apply_to_pose(keyframes.pose(k)) for k in range(len(keyframes)))
    write_tum(path, Trajectory(np.arange(len(poses)), poses))
    return path


def _assert_moved(before: Path, after: Path, similarity: Similarity) -> None:
    np.testing.assert_allclose(read_map(after).points, similarity.apply(read_map(before).points), atol=1e-4)


def test_pairs_give_scale_and_frame_to_a_map_without_scale(unscaled: Path, tmp_path: Path, capsys) -> None:
    pairs = _pairs_file(tmp_path / "pairs.txt", _points(), _SITE_FROM_MAP.apply(_points()))
    out = tmp_path / "aligned"
    assert main(["map", "align", str(unscaled), "--pairs", str(pairs), "--frame-id", "site", "--out", str(out)]) == 0
    _assert_moved(unscaled, out, _SITE_FROM_MAP)
    aligned = read_map(out)
    assert (aligned.metric, aligned.frame_ids) == (True, ("site",))
    assert aligned.provenance["alignments"][0]["from_map"] == map_hash(unscaled)
    printed = capsys.readouterr().out
    assert "rms     0.0000 m" in printed
    assert "scale   2.5" in printed


def test_a_map_in_metres_keeps_its_scale_unless_asked(scene_folder, tmp_path: Path, capsys) -> None:
    pairs = _pairs_file(tmp_path / "pairs.txt", _points(), 1.02 * _points())
    words = ["map", "align", str(scene_folder.map), "--pairs", str(pairs), "--out"]
    assert main([*words, str(tmp_path / "kept")]) == 0
    assert "scale   1\n" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "scaled"), "--scale"]) == 0
    _assert_moved(scene_folder.map, tmp_path / "scaled", Similarity(1.02, np.eye(3), np.zeros(3)))


def test_the_worst_pair_is_named(scene_folder, tmp_path: Path, capsys) -> None:
    target = _RIGID.apply(_points())
    target[4] += [0.0, 3.0, 4.0]
    pairs = _pairs_file(tmp_path / "pairs.txt", _points(), target)
    assert main(["map", "align", str(scene_folder.map), "--pairs", str(pairs), "--out", str(tmp_path / "out")]) == 0
    assert "max     5.0000 m (row 5)" in capsys.readouterr().out
    _assert_moved(scene_folder.map, tmp_path / "out", _RIGID)


def test_a_trajectory_of_the_keyframes_aligns(scene_folder, tmp_path: Path) -> None:
    poses = _trajectory_file(tmp_path / "poses.txt", scene_folder.map, _RIGID)
    out = tmp_path / "out"
    assert main(["map", "align", str(scene_folder.map), "--trajectory", str(poses), "--out", str(out)]) == 0
    _assert_moved(scene_folder.map, out, _RIGID)


def test_gravity_turns_z_up(scene_folder, tmp_path: Path, capsys) -> None:
    """The scene's cameras look along z, with y down: up is -y."""
    out = tmp_path / "out"
    assert main(["map", "align", str(scene_folder.map), "--gravity", "--out", str(out)]) == 0
    up = -read_map(out).keyframes.rotations[:, :, 1].mean(axis=0)
    assert up[2] / np.linalg.norm(up) > 0.99
    assert "rms" not in capsys.readouterr().out


def test_a_datum_that_cannot_move_is_dropped_with_a_note(scene_folder, tmp_path: Path, capsys) -> None:
    given = read_map(scene_folder.map)
    write_map(replace(given, scenes=(replace(given.scene(), datum=Datum(47.4, 8.55, 450.0)),)), tmp_path / "earth")
    pairs = _pairs_file(tmp_path / "pairs.txt", _points(), _points() + np.array([465_000.0, 5_250_000.0, 0.0]))
    assert main(["map", "align", f"{tmp_path}/earth", "--pairs", str(pairs), "--out", f"{tmp_path}/utm"]) == 0
    assert "no datum any more" in capsys.readouterr().err
    assert read_map(tmp_path / "utm").scene().datum is None


def test_a_moved_map_localizes_to_moved_poses(scene_folder, tmp_path: Path) -> None:
    poses = _trajectory_file(tmp_path / "poses.txt", scene_folder.map, _RIGID)
    out = tmp_path / "out"
    assert main(["map", "align", str(scene_folder.map), "--trajectory", str(poses), "--out", str(out)]) == 0
    query = Query.single(read_image(sorted(scene_folder.images.iterdir())[2]), read_camera(scene_folder.camera))
    before, after = (
        build_localizer(LocalizerConfig(), read_map(folder)).localize(query) for folder in (scene_folder.map, out)
    )
    assert before.map_from_rig is not None
    assert after.map_from_rig is not None
    translation_m, rotation_rad = after.map_from_rig.distance_to(_RIGID.apply_to_pose(before.map_from_rig))
    assert translation_m < 1e-3
    assert rotation_rad < 1e-3
    np.testing.assert_allclose(np.linalg.det(after.covariance), np.linalg.det(before.covariance), rtol=0.05)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("1 2 3 4 5\n", "line 1: 5 columns, expected six numbers"),
        ("# only a comment\n", "found 0 point pairs, expected at least 3"),
        ("1 2 3 4 5 six\n", "line 1: could not convert string to float: 'six', expected numbers"),
        ("\n1 2 3 4 5 nan\n", "line 2: a value that is not finite"),
        ("0 0 0 0 0 0\n1 1 1 1 1 1\n2 2 2 2 2 2\n", "lie on a line"),
    ],
)
def test_bad_pairs_are_one_line_and_leave_nothing(scene_folder, tmp_path: Path, capsys, rows, reason) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(rows)
    assert main(["map", "align", str(scene_folder.map), "--pairs", str(pairs), "--out", str(tmp_path / "out")]) == 1
    complaint = capsys.readouterr().err
    assert f"{pairs}" in complaint
    assert reason in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_trajectory_of_other_length_is_refused(scene_folder, tmp_path: Path, capsys) -> None:
    poses = tmp_path / "poses.txt"
    write_tum(poses, Trajectory(np.arange(2), (Pose.identity(), Pose.identity())))
    out = tmp_path / "out"
    assert main(["map", "align", str(scene_folder.map), "--trajectory", str(poses), "--out", str(out)]) == 1
    count = len(read_map(scene_folder.map).keyframes)
    assert f"holds 2 poses, there are {count} keyframes" in capsys.readouterr().err
    assert not out.exists()


def test_options_that_contradict_each_other(scene_folder, tmp_path: Path, capsys) -> None:
    folder, out = str(scene_folder.map), str(tmp_path / "out")
    before = map_hash(scene_folder.map)
    for words, reason in {
        ("--gravity", "--out", folder): "the map itself; name another folder",
        ("--gravity", "--scale", "--out", out): "--gravity, which gives no scale",
        ("--gravity", "--frame-id", " ", "--out", out): "expected the name of a ROS frame",
    }.items():
        assert main(["map", "align", folder, *words]) == 1
        assert reason in capsys.readouterr().err
    assert map_hash(scene_folder.map) == before
    with pytest.raises(SystemExit) as stopped:
        main(["map", "align", folder, "--out", out])
    assert stopped.value.code == 2
