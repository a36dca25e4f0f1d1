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

"""The training of a matcher resumes exactly; its batches follow from their keys; its sources give views."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from matcher_views import CAMERA, DIMENSION, make_points, see, see_plane, step_aside, tiny
from toy_task import Interruption, flatten_weights

from training.framework.finite import NotFiniteError
from training.framework.run import train
from training.iterative_matching import pairs
from training.iterative_matching.batches import PairKey, collate, draw_keypoints, label, list_pair_keys
from training.iterative_matching.config import LightConfig
from training.iterative_matching.ground_truth import UNKNOWN
from training.iterative_matching.homographies import HomographyViews
from training.iterative_matching.pairs import find_pairs
from training.iterative_matching.sources import JoinedViews, ViewStore
from training.iterative_matching.task import IterativeMatchingTask, choose_held_out
from training.iterative_matching.views import PosedGeometry, View
from training.iterative_matching.worlds import WorldViews, shared_shares
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.scenario import make_lap
from vloc_ros.simulation.world import make_world


def quiet(items, **_):
    return items


class PointViews:
    """A source of three scenes of four views."""

    pairs = None

    def __init__(self) -> None:
        self.scenes = self.places = np.repeat(np.arange(3), 4)
        self.description = {"source": "points"}
        self.made = 0

    def make(self, index: int, extractor: object, *, version: int) -> View:
        self.made += 1
        pose = step_aside(0.3 * (index % 4))
        return see(*make_points(index // 4), pose, seed=index + 100 * version)[0]


def make_task(tmp_path: Path, *assignments: str, source: PointViews | None = None) -> IterativeMatchingTask:
    store = ViewStore(source or PointViews(), lambda: None, tmp_path / "views")  # type: ignore[arg-type, return-value]
    config = tiny("data.least_overlap=0.3", "data.most_overlap=1", "fit.scored_pairs=3", *assignments)
    views = JoinedViews([store])
    found = find_pairs(views, config.data, progress=quiet)
    return IterativeMatchingTask(views, found, choose_held_out(views, found, config), config, dimension=DIMENSION)


def test_a_resumed_training_is_equal_to_one_without_interruption(tmp_path: Path) -> None:
    task = make_task(tmp_path, "fit.epochs=3")
    whole = train(task, tmp_path / "whole")
    train(task, tmp_path / "parts", callbacks=[Interruption()])
    resumed = train(task, tmp_path / "parts", resume=True)
    assert np.array_equal(flatten_weights(resumed.network), flatten_weights(whole.network))
    assert {"auc10", "precision", "recall", "strangers"} <= whole.held_out.keys()


def test_a_loss_that_is_not_finite_stops_and_writes_its_batch(tmp_path: Path) -> None:
    class Broken(IterativeMatchingTask):
        def loss(self, network, batch, generator):
            return {"matches": super().loss(network, batch, generator)["matches"] * torch.nan}

    task = make_task(tmp_path)
    task.__class__ = Broken
    with pytest.raises(NotFiniteError):
        train(task, tmp_path / "run")
    assert list((tmp_path / "run").glob("not_finite-0.safetensors"))


def test_the_keypoints_of_a_pair_follow_from_its_key(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    keys = task.list_batches(1, task.build_network())
    first, again = (task.load_batch(keys[0]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.labels0.shape == (2, 32)
    other = task.load_batch(keys[1])
    assert not torch.equal(first.positions0, other.positions0)


def test_a_share_of_the_pairs_are_of_different_places(tmp_path: Path) -> None:
    task = make_task(tmp_path, "fit.pairs=200")
    scenes = np.repeat(np.arange(3), 4)
    keys = list_pair_keys(task._pairs, scenes, 0, task.config.data, task.config.fit)
    assert 20 < sum(not key.same for key in keys) < 60
    assert all((scenes[key.first] == scenes[key.second]) == key.same for key in keys)
    assert isinstance(keys[0], PairKey)
    one_place = list_pair_keys(task._pairs, np.zeros(12, np.int64), 0, task.config.data, task.config.fit)
    assert all(key.same for key in one_place)


def test_drawn_keypoints_have_matches_and_others() -> None:
    config = tiny()
    points, descriptors = make_points(0)
    views = [see(points, descriptors, pose, seed=k)[0] for k, pose in enumerate((Pose.identity(), step_aside()))]
    drawn = draw_keypoints(label(*views, config.data, same=True), config.data, config.fit, seed=3)
    assert len(drawn.first) == len(drawn.second) == 32
    assert 8 <= drawn.labels.matches < 32
    batch = collate([drawn])
    assert int((batch.labels0 >= 0).sum()) == drawn.labels.matches
    assert int((batch.labels0 == UNKNOWN).sum()) < 16


def test_the_essential_matrix_holds_for_true_matches() -> None:
    config = tiny()
    points, descriptors = make_points(0)
    views = [see(points, descriptors, pose, seed=k)[0] for k, pose in enumerate((Pose.identity(), step_aside()))]
    batch = collate([label(*views, config.data, same=True)])
    rows = torch.nonzero(batch.labels0[0] >= 0)[:, 0]
    one = torch.nn.functional.pad(batch.rays0[0, rows], (0, 1), value=1.0)
    other = torch.nn.functional.pad(batch.rays1[0, batch.labels0[0, rows]], (0, 1), value=1.0)
    assert float(((other @ batch.essential[0]) * one).sum(1).abs().max()) < 1e-5


def test_views_are_made_once_or_anew_for_every_epoch(tmp_path: Path) -> None:
    source = PointViews()
    kept = ViewStore(source, lambda: None, tmp_path)  # type: ignore[arg-type, return-value]
    kept.fill(progress=quiet)
    assert source.made == 12
    assert np.array_equal(kept.view(3, epoch=0).xy, kept.view(3, epoch=5).xy)
    assert source.made == 12
    online = ViewStore(source, lambda: None, None)  # type: ignore[arg-type, return-value]
    assert not np.array_equal(online.view(3, epoch=0).xy, online.view(3, epoch=5).xy)
    other = PointViews()
    other.description = {"source": "others"}
    assert ViewStore(other, lambda: None, tmp_path).view(0).xy.shape  # type: ignore[arg-type, return-value]
    assert other.made == 1, "a cache of other views is not used"


def test_views_that_do_not_overlap_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no two images overlap"):
        make_task(tmp_path, "data.most_overlap=0.31")


def test_a_large_scene_has_as_many_candidates_as_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen places far from each other in one scene: views of a place are still paired, others hardly compared."""
    monkeypatch.setattr(pairs, "_TRIED", 3)
    monkeypatch.setattr(pairs, "_NEAREST", 3)

    class Street(PointViews):
        def __init__(self) -> None:
            super().__init__()
            self.scenes = self.places = np.zeros(64, np.int64)

        def make(self, index: int, extractor: object, *, version: int) -> View:
            points, descriptors = make_points(index // 4)
            away = Pose(np.eye(3), np.array([100.0 * (index // 4), 0, 0]))
            return see(away.apply(points), descriptors, away @ step_aside(0.3 * (index % 4)), seed=index)[0]

    views, compared = JoinedViews([ViewStore(Street(), lambda: None, tmp_path)]), []  # type: ignore[arg-type, return-value]

    def note(items, **_):
        compared.extend(items)
        return compared

    config = tiny("data.least_overlap=0.3", "data.most_overlap=1")
    found = find_pairs(views, config.data, progress=note)
    assert len(compared) == len(found) == 16 * 6
    assert (found[:, 0] // 4 == found[:, 1] // 4).all()


def test_keypoints_of_a_simulated_world_match_where_they_are() -> None:
    """Two rendered views of a room: many RootSIFT keypoints of one lie where the other's depth puts them."""
    config = tiny("data.frames=24", "data.night=0", "data.dusk=0")
    extractor = RootSift(RootSiftConfig(max_keypoints=300))
    source = WorldViews([("room", 5)], config.data, {"name": "rootsift"})
    first, second = (source.make(k, extractor, version=0) for k in (0, 1))
    found = label(first, second, config.data, same=True).labels
    assert found.matches > 40
    assert isinstance(first.geometry, PosedGeometry)
    assert first.geometry.scene_from_camera.distance_to(make_lap(make_world("room", 5), 24, 10).map_from_camera[0]) == (
        pytest.approx((0, 0), abs=1e-6)
    )


def test_frames_share_what_both_show() -> None:
    lap = make_lap(make_world("room", 5), 12, 10)
    shares = shared_shares(lap)
    assert np.diag(shares) == pytest.approx(1.0, abs=0.1)
    assert shares[1, 11] > 0.8
    assert shares[0, 2] == 0.0


def test_versions_of_an_image_are_views_of_one_scene(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(2):
        image = np.kron(rng.integers(0, 255, (15, 20), np.uint8), np.ones((16, 16), np.uint8))
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    config = tiny("images.versions=2", "images.roll_deg=5")
    light = LightConfig(dusk=0.0, night=0.0)
    source = HomographyViews(tmp_path, config.images, light, {"name": "rootsift"}, keypoints=200, seed=0)
    extractor = RootSift(RootSiftConfig(max_keypoints=200))
    assert source.scenes.tolist() == [0, 0, 1, 1]
    assert source.places.tolist() == [0] * 4
    views = [source.make(k, extractor, version=0) for k in range(3)]
    assert label(views[0], views[1], config.data, same=True).labels.matches > 20
    assert not np.array_equal(source.make(1, extractor, version=1).xy[:20], views[1].xy[:20])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image among 0 entries"):
        HomographyViews(tmp_path / "empty", config.images, light, {}, keypoints=200, seed=0)


def test_a_planar_pair_has_no_essential_matrix() -> None:
    batch = collate([label(see_plane(np.eye(3)), see_plane(np.eye(3)), tiny().data, same=True)])
    assert not batch.essential.any()
    assert CAMERA.width == 320
