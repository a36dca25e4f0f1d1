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

"""`vloc localize` writes all results or none."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pytest

from vloc_ros.cli.main import main
from vloc_ros.core.errors import InputError
from vloc_ros.storage.maps import read_map, write_map
from vloc_ros.storage.pose_files import pair_poses
from vloc_ros.storage.results import read_results
from vloc_ros.storage.trajectories import Trajectory, read_tum, write_tum


def localize(folder, out, *words, images=None) -> int:
    given = ["--map", folder.map, "--images", images or folder.images, "--camera", folder.camera, "--out", out]
    return main([str(word) for word in ("localize", *given, *words)])


def test_every_image_has_a_result_and_the_accepted_are_in_the_trajectory(scene_folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(scene_folder.images, images)
    shutil.copy(scene_folder.negatives / "frame-000.png", images / "frame-999.png")
    assert localize(scene_folder, tmp_path / "results", "--json", images=images) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["queries"], summary["accepted"]) == (7, 6)
    records = read_results(tmp_path / "results")
    assert [record.result.ok for record in records] == [True] * 6 + [False]
    assert records[6].image == "frame-999.png"
    assert records[6].result.reason
    paired = pair_poses([record.image for record in records[:6]], tmp_path / "results" / "poses.txt")
    for found, truth in zip(paired, scene_folder.truth, strict=True):
        metres, radians = found.pose.distance_to(truth)
        assert metres < 0.01
        assert np.rad2deg(radians) < 0.5


def test_images_named_by_their_time_keep_it(scene_folder, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    names = ("1403636579763555584", "1403636579813555584")
    for name, image in zip(names, sorted(scene_folder.images.iterdir()), strict=False):
        shutil.copy(image, images / f"{name}.png")
    assert localize(scene_folder, tmp_path / "results", images=images) == 0
    assert [record.stamp_ns for record in read_results(tmp_path / "results")] == [int(name) for name in names]


def test_poses_in_a_map_without_scale_are_not_called_metres(scene_folder, tmp_path):
    write_map(dataclasses.replace(read_map(scene_folder.map), metric=False), tmp_path / "map")
    given = ["--map", tmp_path / "map", "--images", scene_folder.images, "--camera", scene_folder.camera]
    assert main([str(word) for word in ("localize", *given, "--out", tmp_path / "results")]) == 0
    assert "scale unknown" in (tmp_path / "results" / "poses.txt").read_text().splitlines()[0]


def test_no_time_is_made_up(scene_folder, tmp_path, capsys):
    """Rows of images without a time begin with their names: a tool that pairs by time refuses them, as it should."""
    assert localize(scene_folder, tmp_path / "results") == 0
    assert {record.stamp_ns for record in read_results(tmp_path / "results")} == {None}
    with pytest.raises(InputError, match=r"the stamp is 'frame-000.png'"):
        read_tum(tmp_path / "results" / "poses.txt")
    given = ["--images", scene_folder.images, "--camera", scene_folder.camera, "--map", scene_folder.map]
    words = ["evaluate", *given, "--poses", tmp_path / "results" / "poses.txt", "--json", tmp_path / "s.json"]
    assert main([str(word) for word in words]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["median_translation_m"] < 1e-6


def test_times_of_a_file_pair_the_results_with_the_truth(scene_folder, tmp_path):
    """Times that are not one second apart, as those of a recording."""
    truth = Trajectory(5 * 10**8 + np.arange(6) * 10**8, tuple(scene_folder.truth))
    write_tum(tmp_path / "truth.txt", truth)
    assert localize(scene_folder, tmp_path / "results", "--times", tmp_path / "truth.txt") == 0
    found = read_tum(tmp_path / "results" / "poses.txt")
    assert found.stamps_ns.tolist() == truth.stamps_ns.tolist()
    apart_m = [pose.distance_to(true)[0] for pose, true in zip(found.poses, truth.poses, strict=True)]
    assert np.median(apart_m) < 0.005
    (tmp_path / "short.txt").write_text("1.0\n2.0\n")
    assert localize(scene_folder, tmp_path / "again", "--times", tmp_path / "short.txt") == 1


def test_a_damaged_image_is_named_and_the_others_are_localized(scene_folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(scene_folder.images, images)
    whole = (images / "frame-004.png").read_bytes()
    (images / "frame-004.png").write_bytes(whole[: len(whole) // 2])
    assert localize(scene_folder, tmp_path / "results", images=images) == 1
    printed = capsys.readouterr()
    assert "warning: frame-004.png cannot be used: " in printed.err
    assert "cut short or damaged" in printed.err
    assert "5 of 6 images localized, 1 could not be used" in printed.out
    records = read_results(tmp_path / "results")
    assert [record.usable for record in records] == [True] * 4 + [False, True]
    assert (records[4].stamp_ns, records[4].result.ok) == (None, False)
    assert "cut short or damaged" in records[4].result.reason


def test_refusals_are_counted_by_status(scene_folder, tmp_path, capsys):
    """Images that cannot be used are none."""
    images = tmp_path / "images"
    shutil.copytree(scene_folder.negatives, images)
    (images / "zz.png").write_bytes(b"no image")
    assert localize(scene_folder, tmp_path / "results", images=images) == 1
    refused = [record.result for record in read_results(tmp_path / "results") if record.usable]
    line, cause = capsys.readouterr().out.splitlines()[-2:]
    counted, _, where = line.removeprefix("refused: ").partition("; ")
    assert sum(int(part.split()[-1]) for part in counted.split(", ")) == len(refused) > 1
    assert counted.startswith(Counter(result.status.value.replace("_", " ") for result in refused).most_common()[0][0])
    assert where == "reasons in results.jsonl"
    assert "another place" in cause
    assert "docs/ros-interface.md#statuses" in cause


def test_images_in_folders_below_are_not_passed_over_in_silence(scene_folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(scene_folder.images, images)
    shutil.copytree(scene_folder.images, images / "left")
    assert localize(scene_folder, tmp_path / "results", images=images) == 0
    assert f"note: 6 images in {images / 'left'} are not read" in capsys.readouterr().err


def test_images_of_which_none_can_be_used_leave_nothing_behind(scene_folder, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    assert localize(scene_folder, tmp_path / "results", images=tmp_path / "images") == 1
    error = capsys.readouterr().err
    assert "a.png: the content is no JPEG or PNG image" in error
    assert "none of 2 images can be used" in error
    assert not (tmp_path / "results").exists()


def test_an_empty_folder_and_a_missing_map_are_named(scene_folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert localize(scene_folder, tmp_path / "results", images=tmp_path / "empty") == 1
    assert str(tmp_path / "empty") in capsys.readouterr().err
    given = ["--images", f"{scene_folder.images}", "--camera", f"{scene_folder.camera}", "--out", f"{tmp_path}/results"]
    assert main(["localize", "--map", f"{scene_folder.map}p", *given]) == 1
    assert f"{scene_folder.map}p: does not exist, expected the folder of a map; did you mean" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_map_of_unknown_scale_is_warned_of_and_never_played_live(scene_folder, tmp_path, capsys):
    assert localize(scene_folder, tmp_path / "results") == 0
    assert "warning" not in capsys.readouterr().err
    write_map(dataclasses.replace(read_map(scene_folder.map), metric=False), tmp_path / "map")
    folder = dataclasses.replace(scene_folder, map=tmp_path / "map")
    assert localize(folder, tmp_path / "results") == 0
    assert "lengths are not metres" in capsys.readouterr().err
    words = ["evaluate", "--map", tmp_path / "map", "--bag", tmp_path / "bag", "--absent", "--live"]
    assert main([str(word) for word in words]) == 1
    assert "expected metres for ROS; align it first" in capsys.readouterr().err


@pytest.fixture
def bag(scene_folder, tmp_path):
    """The images as a robot with its camera 20 cm ahead of its base recorded them."""
    given = ["--images", scene_folder.images, "--camera", scene_folder.camera, "--poses", scene_folder.poses]
    words = ["bag", "make", *given, "--mount", "0.2", "0", "0", "0", "0", "0", "--out", tmp_path / "bag"]
    assert main([str(word) for word in words]) == 0
    return tmp_path / "bag"


def test_images_of_a_bag_are_localized_as_the_camera(scene_folder, bag, tmp_path, capsys):
    words = ["localize", "--map", f"{scene_folder.map}", "--bag", f"{bag}", "--out", f"{tmp_path}/results"]
    assert main(words) == 0
    assert "6 of 6 images localized" in capsys.readouterr().out
    found = read_tum(tmp_path / "results" / "poses.txt")
    assert len(found.stamps_ns) == 6
    for pose, truth in zip(found.poses, scene_folder.truth, strict=True):
        assert pose.distance_to(truth)[0] < 0.01
    assert main([*words, "--image-topic", "/no"]) == 1
    assert "has no images on /no" in capsys.readouterr().err
    assert main([*words, "--camera", f"{scene_folder.camera}", "--rectified"]) == 1
    assert "takes the place of the bag's camera_info" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--images i --image-topic /a", "--image-topic goes with --bag, found --images"),
        ("--bag b --times t", "--times goes with --images, found --bag"),
        ("--bag b --compensated", "go with --scans, found --bag"),
        ("--scans s --rectified", "go with --bag, found --scans"),
    ],
)
def test_options_of_another_source_are_refused(words, said, tmp_path, capsys):
    assert main(["localize", "--map", "m", *words.split(), "--out", f"{tmp_path}/r"]) == 1
    assert said in capsys.readouterr().err
