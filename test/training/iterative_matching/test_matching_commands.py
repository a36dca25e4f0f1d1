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

"""`python -m training.iterative_matching.train`, `.export`, and the matcher that comes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from matcher_views import DIMENSION, TINY, make_points, see, step_aside, tiny
from plane_scene import CAMERA, SceneFolder, poses, write_images

from training.data.localized_images import list_keyframe_images
from training.iterative_matching import export as export_command
from training.iterative_matching.export import export
from training.iterative_matching.ground_truth import label_pair
from training.iterative_matching.imp import ImpMatcher
from training.iterative_matching.map_views import MapViews
from training.iterative_matching.network import RotaryMatcher
from training.iterative_matching.task import wrap_network
from training.iterative_matching.train import main
from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.matching_network import MatchableSet, normalise_positions
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.simulation.scenario import DEFAULT_CAMERA
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.maps import read_map

ROOTSIFT = {"name": "rootsift"}


def test_a_command_without_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "model")]) == 1
    assert "nothing to train on" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "model"), "--posed", str(tmp_path)]) == 1
    assert "--posed and --poses belong together" in capsys.readouterr().err
    words = ["--run", str(tmp_path), "--out", str(tmp_path / "model")]
    assert export_command.main(words) == 1
    assert "no run with a scored epoch" in capsys.readouterr().err


def test_a_network_that_vloc_does_not_run_is_not_exported(tmp_path: Path) -> None:
    network = ImpMatcher(tiny("model.layers=1", preset="imp").model, dimension=DIMENSION)
    with pytest.raises(ConfigError, match="trained and scored alone"):
        export(network, tmp_path / "model", ROOTSIFT, {})


def test_keypoints_of_a_map_have_the_depth_of_its_points(scene_folder: SceneFolder, tmp_path: Path) -> None:
    landmark_map = read_map(scene_folder.map)
    folder = tmp_path / "images"
    write_images(scene_folder.scene, poses(8, seed=99), folder)
    for index, name in enumerate(landmark_map.keyframes.names):
        (folder / f"frame-{index:03}.png").rename(folder / name)
    images = list_keyframe_images(landmark_map, folder, CAMERA)
    source = MapViews(landmark_map, images, ROOTSIFT, map_hash="0", keypoints=500)
    extractor = build_map_extractor(landmark_map)
    first, second = (source.make(k, extractor, version=0) for k in (0, 1))
    assert source.scenes.tolist() == [0] * len(images)
    assert label_pair(first, second, positive_px=3.0, negative_px=5.0).matches > 10
    moved = [replace(images[0], scene_from_camera=images[1].scene_from_camera), *images[1:]]
    for others in (images, moved):
        again = MapViews(landmark_map, others, ROOTSIFT, map_hash="0", keypoints=500)
        assert (again.description == source.description) == (others is images)
    with pytest.raises(InputError, match="keypoints of rootsift"):
        MapViews(landmark_map, images, {"name": "xfeat", "model": "xfeat"}, map_hash="0", keypoints=500)


@pytest.mark.slow
def test_a_trained_matcher_matches_as_its_network_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: worlds, a run whose export failed and is repeated, and the robot's matcher, whatever the order."""
    words = [
        word
        for assignment in (*TINY, "model.layers=1", "data.frames=4", "fit.scored_pairs=4")
        for word in ("--set", assignment)
    ]
    model, again = tmp_path / "model", tmp_path / "again"
    words += ["--preset", "tiny", "--worlds", "2", "--held-out-worlds", "1", "--out", str(model)]
    words += ["--set", "data.least_overlap=0.02", "--set", "data.keypoints=200"]

    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("training.iterative_matching.worlds.DEFAULT_CAMERA", DEFAULT_CAMERA.scaled(288, 216))
    with monkeypatch.context() as patch:
        patch.setattr("training.iterative_matching.train.export", fail)
        assert main(words) == 1
    assert export_command.main(["--run", str(tmp_path / "model.run"), "--out", str(again)]) == 0
    network, config, sources = export_command.read_run(tmp_path / "model.run")
    assert (sources["extractor"]["name"], sources["dimension"]) == ("rootsift", 128)
    assert config.model.width == 16
    found = read_matching_network(again)
    assert (found.extractor, found.dimension, found.groups) == ("rootsift", 128, 1)
    rng = np.random.default_rng(0)
    views = [view for view, _ in (see(*make_points(0), pose, seed=0) for pose in (Pose.identity(), step_aside()))]
    wide = rng.normal(size=(DIMENSION, 128)).astype(np.float32) / 10
    sets = [
        MatchableSet(normalise_positions(view.xy, *view.size), view.descriptors.astype(np.float32) @ wide)
        for view in views
    ]
    matches = IterativeMatcher(found, adaptive=False).match(*sets)
    expected = wrap_network(network.eval())(
        *(
            type(view)(view.xy, one.descriptors, view.scores, view.size, view.geometry)
            for view, one in zip(views, sets, strict=True)
        )
    )
    assert np.array_equal(matches.first, expected[0])
    assert np.array_equal(matches.second, expected[1])
    orders = [rng.permutation(len(one)) for one in sets]
    shuffled = [MatchableSet(one.positions[o], one.descriptors[o]) for one, o in zip(sets, orders, strict=True)]
    other = IterativeMatcher(found, adaptive=False).match(*shuffled)
    pairs = set(zip(orders[0][other.first].tolist(), orders[1][other.second].tolist(), strict=True))
    assert pairs == set(zip(matches.first.tolist(), matches.second.tolist(), strict=True))
    assert isinstance(network, RotaryMatcher)
    assert torch.is_tensor(network.input_proj.weight)
