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

"""Training a global descriptor model: resuming, learning a wall, the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
import torch.nn.functional as F
from place_world import tiny, wall_map, write_wall
from toy_task import Interruption

from training.data.covisible_images import CovisibleImages, join_images
from training.data.image_files import ImageFiles
from training.data.map_images import collect_keyframes
from training.data.overlap import compute_overlap
from training.data.posed_images import PosedImages
from training.framework.run import TrainedNetwork, train
from training.place_recognition import task
from training.place_recognition.aggregation import NetVlad
from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.encoders import Encoder, build_encoder, embed_images
from training.place_recognition.examples import Examples
from training.place_recognition.loss import patch_distillation_loss
from training.place_recognition.mining import Miner
from training.place_recognition.ranking import ranking_scores
from training.place_recognition.task import PlaceRecognitionTask, describe_views, initialise_from_images
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import silent
from vloc_ros.inference.preprocessing import Preprocessing


@dataclass(frozen=True)
class Wall:
    """Views along a wall, and their images."""

    views: CovisibleImages
    files: ImageFiles


def make_wall(folder: Path, count: int, *, seed: int = 0) -> Wall:
    scene, landmark_map = wall_map(count, seed=seed)
    views = collect_keyframes(landmark_map, write_wall(folder, scene, landmark_map))
    return Wall(views, ImageFiles.load(views.posed.paths, in_memory=True, progress=silent))


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    return make_wall(tmp_path_factory.mktemp("wall") / "images", 12)


@pytest.fixture
def teacher(wall: Wall) -> TeacherEncoder:
    torch.manual_seed(0)
    encoder = build_encoder(tiny(model="teacher"), extent_m=wall.views.extent()).eval()
    assert isinstance(encoder, TeacherEncoder)
    return encoder


def make_task(wall: Wall, *more: str, model: str = "student", **options: Any) -> PlaceRecognitionTask:
    config = tiny("fit.epochs=3", "fit.learning_rate=0.003", *more, model=model)
    return PlaceRecognitionTask(wall.views, wall.files, config, **options)


def flatten_weights(trained: TrainedNetwork[Encoder]) -> Array:
    return np.concatenate([value.double().numpy().ravel() for value in trained.network.state_dict().values()])


@pytest.mark.slow
def test_a_resumed_training_is_bit_equal(wall: Wall, tmp_path: Path, teacher: TeacherEncoder) -> None:
    """With everything that is drawn at random; `test_run` has the cases of the framework."""
    more = ("fit.workers=1", "network.drop_path=0.3", "network.second_blocks=2", "mining.negative_selection=random")
    whole = train(make_task(wall, *more, teacher=teacher), tmp_path / "whole")
    cut = train(make_task(wall, *more, teacher=teacher), tmp_path / "parts", callbacks=[Interruption()])
    torch.manual_seed(5)
    resumed = train(make_task(wall, *more, teacher=teacher), tmp_path / "parts", resume=True)
    assert np.abs(flatten_weights(cut) - flatten_weights(whole)).max() > 1e-4
    assert np.array_equal(flatten_weights(resumed), flatten_weights(whole))
    assert resumed.held_out == whole.held_out
    assert not any("teacher" in name for name in torch.load(tmp_path / "parts/last.ckpt")["state_dict"])


def test_a_batch_depends_on_its_key_alone(wall: Wall) -> None:
    tasks = [make_task(wall) for _ in range(2)]
    key = tasks[0].list_batches(1, tasks[0].build_network())[2]
    tasks[1].load_batch(key._replace(number=0))
    once, again, later = tasks[0].load_batch(key), tasks[1].load_batch(key), tasks[0].load_batch(key._replace(epoch=2))
    assert all(map(torch.equal, once, again))
    assert not torch.equal(once.images, later.images)


def test_images_without_points_are_trained_on_by_their_distance(wall: Wall, tmp_path: Path) -> None:
    posed = wall.views.posed
    positions = np.array([5e5, 5.4e6, 0.0]) + posed.positions
    unposed = Wall(CovisibleImages.without_points(PosedImages(posed.paths, positions, None, posed.scenes)), wall.files)
    radii = ("mining.positive_radius_m=0.3", "mining.negative_radius_m=0.6")
    distances = ("mining.overlap=distance", *radii, "fit.held_out=0.2", "fit.epochs=1")
    trained = train(make_task(unposed, *distances), tmp_path)
    assert trained.held_out["queries"] == 2
    with pytest.raises(InputError, match=r"no two of the 11 images share 8 points"):
        make_task(unposed)
    with pytest.raises(InputError, match=r"no 3D points"):
        make_task(unposed, *distances, model="teacher")


def test_netvlad_is_initialised_with_batch_statistics(wall: Wall) -> None:
    torch.manual_seed(0)
    config = tiny(model="resnet18-netvlad")
    encoder = build_encoder(config, extent_m=1.0)
    assert isinstance(encoder, PooledEncoder)
    assert isinstance(encoder.pool, NetVlad)
    examples = Examples(wall.views, wall.files, Preprocessing(encoder.size), config.augmentation, extent_m=1.0)
    initialise_from_images(
        encoder, examples, Miner(wall.views.posed, compute_overlap(wall.views), config.mining), config
    )
    assert encoder.training
    with torch.no_grad():
        images = torch.from_numpy(np.stack([examples.prepare(i)[0] for i in range(len(wall.views))]))
        seen = F.normalize(encoder.extract_local(images), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        left = torch.cdist(seen, encoder.pool.centres).amin(dim=1).square().mean()
        assert left < 0.9 * (seen - seen.mean(dim=0)).square().sum(dim=1).mean(), "no better than one centre"


def test_residuals_are_initialised_from_batches_of_several_epochs(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny("fit.groups=2")
    miner = Miner(wall.views.posed, compute_overlap(wall.views), config.mining)
    epoch = -(-len(miner.anchors) // 2)
    keys = task._list_first_keys(miner, config)
    assert [key.epoch for key in keys] == [number for number in range(3) for _ in range(epoch)]
    assert len({key.views for key in keys}) == len(keys)
    monkeypatch.setattr(task, "_FIRST_IMAGES", 5 * 2 * (1 + config.mining.positives + config.mining.negatives))
    assert task._list_first_keys(miner, config) == keys[:5]


@pytest.mark.slow
def test_a_student_follows_its_teacher(wall: Wall, tmp_path: Path, teacher: TeacherEncoder) -> None:
    """In its descriptors, and in the weights of its patches."""
    torch.nn.init.normal_(teacher.residuals.patch_weighting.weight)
    examples = Examples(wall.views, wall.files, Preprocessing((48, 48)), tiny().augmentation, extent_m=3.0)
    images, structure = (
        torch.from_numpy(np.stack(part)) for part in zip(*map(examples.prepare, range(len(wall.views))), strict=True)
    )
    apart, descriptors = [], []
    for weight in (0.0, 10.0):
        words = (f"loss.patch_distillation={weight}", "fit.epochs=4")
        distilled = train(make_task(wall, *words, teacher=teacher), tmp_path / str(weight)).network
        with torch.no_grad():
            found, known = (embed_images(encoder, images, structure) for encoder in (distilled, teacher))
        assert found.patch_logits is not None
        assert known.patch_logits is not None
        apart.append(float(patch_distillation_loss(found.patch_logits, known.patch_logits)))
        descriptors.append(found.descriptors)
    assert apart[1] < 0.8 * apart[0]
    assert not torch.equal(*descriptors)


def test_the_loss_has_a_term_for_a_teacher(wall: Wall, teacher: TeacherEncoder) -> None:
    generator = torch.Generator()
    alone, taught = make_task(wall), make_task(wall, teacher=teacher)
    network = alone.build_network()
    batch = alone.load_batch(alone.list_batches(0, network)[0])
    terms = [set(one.loss(network, batch, generator)) for one in (alone, taught)]
    assert terms[1] - terms[0] == {"distillation", "patch_distillation"}
    other = build_encoder(tiny("network.size=60", model="teacher"), extent_m=3.0)
    with pytest.raises(InputError, match=r"the teacher takes images of \(60, 60\), expected \(48, 48\)"):
        make_task(wall, teacher=other)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["teacher", "student"])
def test_distances_of_descriptors_follow_overlap(tmp_path: Path, model: str) -> None:
    long_wall = make_wall(tmp_path / "images", 18)
    share = compute_overlap(long_wall.views).share.toarray()
    changes = ("night=0", "dusk=0", "mirror=0", "crop=0.1", "light=0.1")
    settings = ("fit.groups=4", "fit.held_out=0", *(f"augmentation.{change}" for change in changes))
    wanted = make_task(long_wall, "fit.epochs=4", "fit.learning_rate=0.005", *settings, model=model)
    trained = train(wanted, tmp_path / "run")
    assert not trained.held_out
    descriptors, pairs = describe_views(trained.network, wanted.examples), np.triu_indices(len(long_wall.views), 1)
    apart = np.linalg.norm(descriptors[:, None] - descriptors[None], axis=2)
    assert np.corrcoef(apart[pairs], share[pairs])[0, 1] < -0.7  # -0.75; -0.68 and -0.66 where the losses are zero


def test_two_maps_are_learned_at_once(wall: Wall, tmp_path: Path) -> None:
    other = make_wall(tmp_path / "images", 6, seed=5)
    views = join_images([wall.views, other.views])
    both = Wall(views, ImageFiles.load(views.posed.paths, in_memory=False, progress=silent))
    wanted = make_task(both, "fit.epochs=1", "fit.held_out=0.2")
    assert train(wanted, tmp_path / "run").held_out["queries"] > 1
    assert wanted.extent_m == max(wall.views.extent(), other.views.extent())


def test_views_that_share_nothing_are_refused(wall: Wall) -> None:
    with pytest.raises(InputError, match="no two of the 11 images share 10000 points"):
        make_task(wall, "mining.min_shared=10000")


def test_precision_and_recall_by_hand() -> None:
    database = np.eye(4)
    queries = np.array([[4, 3, 2, 1], [1, 2, 3, 4], [1, 0, 0, 0]]) / np.sqrt([[30], [30], [1]])
    positive = np.array([[True, False, True, False], [True, False, False, False], [False] * 4])
    found = ranking_scores(queries, database, positive)
    assert found.queries == 2
    assert found.precision == pytest.approx({1: 0.5, 5: (2 / 2 + 1 / 1) / 2, 20: 1.0})
    assert found.recall == pytest.approx({1: 0.5, 5: 1.0, 20: 1.0})
    assert found.as_dict()["P@1"] == 0.5
    assert np.isnan(ranking_scores(queries, database, positive & False).precision[1])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("network.size=50", "size is 50, expected a multiple of 12"),
        ("network.width=25", "width is 25, expected a multiple of twice the 2 heads"),
        ("spatial.encoding=sine", "expected one of rotary, none"),
        ("fit.epoch=3", "unknown parameter fit.epoch"),
        ("loss.transfer=1", "parameter loss.transfer is now loss.distillation"),
        ("changes.crop=0.5", "parameter changes.crop is now augmentation.crop"),
    ],
)
def test_a_wrong_parameter_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(assignment)


def test_small_numbers_may_have_an_exponent() -> None:
    assert tiny("fit.learning_rate=1e-4").fit.learning_rate == 1e-4
    assert tiny("fit.learning_rate=0.001").fit.learning_rate == 1e-3
