"""Training a global descriptor model: resuming, learning a wall, the files of a run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from place_world import tiny, wall_map, write_wall
from safetensors.torch import save

from training.place_recognition import fitting
from training.place_recognition.baselines import NetVlad, PooledEncoder
from training.place_recognition.checkpoints import (
    MANIFEST,
    OLD_MODULES,
    OLD_PARAMETERS,
    WEIGHTS,
    read_checkpoint,
    write_checkpoint,
)
from training.place_recognition.config import MODELS, PlaceRecognitionConfig
from training.place_recognition.data import EpochSampler, Examples, ViewImages
from training.place_recognition.encoders import build_encoder, embed_images
from training.place_recognition.fitting import Start, TrainedEncoder, describe_views, initialise_from_images, train
from training.place_recognition.labels import compute_overlap
from training.place_recognition.loss import patch_distillation_loss
from training.place_recognition.mining import Miner
from training.place_recognition.ranking import ranking_scores
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages, collect_map_views, join_views
from vloc_ros.core.errors import ConfigError, InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import silent
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.storage.atomic import StorageError


@dataclass(frozen=True)
class Wall:
    """Views along a wall, and their images."""

    views: CovisibleImages
    images: ViewImages


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    scene, landmark_map = wall_map(12)
    views = collect_map_views(landmark_map, write_wall(tmp_path_factory.mktemp("wall") / "images", scene, landmark_map))
    return Wall(views, ViewImages.load(views, in_memory=True, progress=silent))


def train_tiny(wall: Wall, run_dir: Path, *more: str, model: str = "student", **options: Any) -> TrainedEncoder:
    config = tiny("fit.epochs=4", "fit.learning_rate=0.003", *more, model=model)
    return train(wall.views, wall.images, config, run_dir, **options)


def weights(trained: TrainedEncoder) -> Array:
    state = trained.encoder.state_dict()
    return np.concatenate([value.double().numpy().ravel() for value in state.values()])


class Interruption(Callback):
    """Ends the training after two epochs."""

    def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
        trainer.should_stop = trainer.current_epoch == 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("model", MODELS)
def test_an_interrupted_training_that_is_resumed_is_one_that_was_not(
    wall: Wall, tmp_path: Path, model: str, workers: int
) -> None:
    more = (f"fit.workers={workers}",)
    more += ("network.drop_path=0.3", "mining.negative_selection=random") if model == "student" else ()
    torch.manual_seed(0)
    extent_m, of_teacher = wall.views.extent(), tiny(model="teacher")
    teacher = build_encoder(of_teacher, extent_m=extent_m).eval() if model == "student" else None
    whole = train_tiny(wall, tmp_path / "whole", *more, model=model, start=Start(teacher))
    cut = train_tiny(wall, tmp_path / "parts", *more, model=model, start=Start(teacher), callbacks=[Interruption()])
    torch.manual_seed(5)
    resumed = train_tiny(wall, tmp_path / "parts", *more, model=model, start=Start(teacher, resume=True))
    assert np.abs(weights(cut) - weights(whole)).max() > 1e-4
    assert np.abs(weights(resumed) - weights(whole)).max() < 1e-6
    assert resumed.held_out == whole.held_out


def test_netvlad_is_initialised_with_batch_statistics(wall: Wall) -> None:
    torch.manual_seed(0)
    config = tiny(model="resnet18-netvlad")
    encoder = build_encoder(config, extent_m=1.0)
    assert isinstance(encoder, PooledEncoder)
    assert isinstance(encoder.pool, NetVlad)
    examples = Examples(wall.views, wall.images, Preprocessing(encoder.size), config.augmentation, extent_m=1.0)
    initialise_from_images(encoder, examples, Miner(wall.views, compute_overlap(wall.views), config.mining), config)
    assert encoder.training
    with torch.no_grad():
        images = torch.from_numpy(np.stack([examples.prepare(i)[0] for i in range(len(wall.views))]))
        seen = F.normalize(encoder.extract_local(images), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        left = torch.cdist(seen, encoder.pool.centres).amin(dim=1).square().mean()
        assert left < 0.9 * (seen - seen.mean(dim=0)).square().sum(dim=1).mean(), "no better than one centre"


def test_residuals_are_initialised_from_batches_of_several_epochs(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny("fit.groups=2")
    miner = Miner(wall.views, compute_overlap(wall.views), config.mining)
    epoch = -(-len(miner.anchors) // 2)
    keys = fitting._list_first_keys(miner, config)
    assert [key.epoch for key in keys] == [number for number in range(3) for _ in range(epoch)]
    assert len({key.views for key in keys}) == len(keys)
    monkeypatch.setattr(fitting, "_FIRST_IMAGES", 5 * 2 * (1 + config.mining.positives + config.mining.negatives))
    assert fitting._list_first_keys(miner, config) == keys[:5]


def test_resuming_needs_the_same_run(wall: Wall, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        train_tiny(wall, tmp_path / "none", start=Start(resume=True))
    train_tiny(wall, tmp_path / "run", callbacks=[Interruption()])
    with pytest.raises(InputError, match="differs from the given configuration"):
        train_tiny(wall, tmp_path / "run", "fit.seed=5", start=Start(resume=True))


def test_a_student_follows_its_teacher(wall: Wall, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = build_encoder(tiny(model="teacher"), extent_m=3.0).eval()
    alone = train_tiny(wall, tmp_path / "alone")
    distilled = train_tiny(wall, tmp_path / "distilled", start=Start(teacher))
    assert np.abs(weights(alone) - weights(distilled)).max() > 1e-3
    assert not any("teacher" in name for name in torch.load(tmp_path / "distilled/last.ckpt")["state_dict"])
    other = build_encoder(tiny("network.size=60", model="teacher"), extent_m=3.0)
    with pytest.raises(InputError, match=r"the teacher takes images of \(60, 60\), expected \(48, 48\)"):
        train_tiny(wall, tmp_path / "other", start=Start(other))


def test_a_student_weights_patches_as_its_teacher(wall: Wall, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = build_encoder(tiny(model="teacher"), extent_m=3.0).eval()
    assert teacher.residuals is not None
    torch.nn.init.normal_(teacher.residuals.patch_weighting.weight)
    examples = Examples(wall.views, wall.images, Preprocessing((48, 48)), tiny().augmentation, extent_m=3.0)
    images, structure = (
        torch.from_numpy(np.stack(part)) for part in zip(*map(examples.prepare, range(len(wall.views))), strict=True)
    )
    apart = []
    for weight in (0.0, 10.0):
        words = (f"loss.patch_distillation={weight}", "fit.epochs=6", "fit.learning_rate=0.003")
        distilled = train_tiny(wall, tmp_path / str(weight), *words, start=Start(teacher)).encoder
        with torch.no_grad():
            found, known = (embed_images(encoder, images, structure).patch_logits for encoder in (distilled, teacher))
        assert found is not None
        assert known is not None
        apart.append(float(patch_distillation_loss(found, known)))
    assert apart[1] < 0.8 * apart[0]


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_distances_of_descriptors_follow_overlap(tmp_path: Path, model: str) -> None:
    scene, landmark_map = wall_map(24)
    views = collect_map_views(landmark_map, write_wall(tmp_path / "images", scene, landmark_map))
    images, share = ViewImages.load(views, in_memory=True, progress=silent), compute_overlap(views).share.toarray()
    changes = (
        "augmentation.night=0",
        "augmentation.dusk=0",
        "augmentation.mirror=0",
        "augmentation.crop=0.1",
        "augmentation.light=0.1",
    )
    config = tiny("fit.epochs=30", "fit.learning_rate=0.003", "fit.groups=4", "fit.held_out=0", *changes, model=model)
    trained = train(views, images, config, tmp_path / "run")
    assert trained.held_out is None
    still = Examples(views, images, trained.preprocessing, config.augmentation, extent_m=trained.extent_m)
    descriptors, pairs = describe_views(trained.encoder, still), np.triu_indices(len(views), 1)
    apart = np.linalg.norm(descriptors[:, None] - descriptors[None], axis=2)
    assert np.corrcoef(apart[pairs], share[pairs])[0, 1] < -0.5


def test_two_maps_are_learned_at_once(wall: Wall, tmp_path: Path) -> None:
    scene, landmark_map = wall_map(6, seed=5)
    other = collect_map_views(landmark_map, write_wall(tmp_path / "images", scene, landmark_map))
    views = join_views([wall.views, other])
    images = ViewImages.load(views, in_memory=False, progress=silent)
    trained = train(views, images, tiny("fit.epochs=2", "fit.held_out=0.2"), tmp_path / "run")
    assert trained.held_out is not None
    assert trained.extent_m == max(wall.views.extent(), other.extent())


def test_a_run_has_its_configuration_and_a_log(wall: Wall, tmp_path: Path) -> None:
    train_tiny(wall, tmp_path, "fit.epochs=1")
    assert json.loads((tmp_path / "config.json").read_text())["fit"]["epochs"] == 1
    assert list(tmp_path.glob("log/events.*"))


def test_views_that_share_nothing_are_refused(wall: Wall, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no two of the 11 images share 10000 points"):
        train_tiny(wall, tmp_path, "mining.min_shared=10000")


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_an_epoch(wall: Wall, processes: int) -> None:
    config = tiny("fit.groups=1")
    miner = Miner(wall.views, compute_overlap(wall.views), config.mining)
    parts = [EpochSampler(miner, config.fit, rank=rank, processes=processes) for rank in range(processes)]
    for part in parts:
        part.set_epoch(3)
    numbers = [[key.number for key in part] for part in parts]
    assert {len(part) for part in numbers} == {12 // processes}
    assert sorted(number for part in numbers for number in part) == list(range(12))


def checkpoint(folder: Path) -> tuple[TeacherEncoder, PlaceRecognitionConfig]:
    config = tiny(model="teacher")
    encoder = build_encoder(config, extent_m=12.5)
    write_checkpoint(folder, encoder, config, extent_m=12.5, training={"config": asdict(config)})
    assert isinstance(encoder, TeacherEncoder)
    return encoder, config


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    encoder, config = checkpoint(tmp_path)
    again, same = read_checkpoint(tmp_path)
    assert same == config
    assert not again.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_checkpoint_with_old_names_is_read(tmp_path: Path) -> None:
    encoder, config = checkpoint(tmp_path)
    old_modules = {new: old for old, new in OLD_MODULES.items() if new != "mlp"}
    old_state = {
        ".".join(old_modules.get(part, part) for part in name.split(".")): value
        for name, value in encoder.state_dict().items()
    }
    assert "stages.0.looking.0.attn.qkv.weight" in old_state
    weights = save(old_state)
    text = (tmp_path / MANIFEST).read_text()
    for old, new in OLD_PARAMETERS.items():
        assert f'"{new}":' in text
        text = text.replace(f'"{new}":', f'"{old}":')
    content = {**json.loads(text), "hash": hashlib.sha256(weights).hexdigest()}
    (tmp_path / WEIGHTS).write_bytes(weights)
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    again, same = read_checkpoint(tmp_path)
    assert same == config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in encoder.state_dict().items())


def test_a_map_is_not_overwritten_by_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format": "vloc_ros map"}')
    with pytest.raises(StorageError, match="of format 'vloc_ros map', expected nothing or a set of weights"):
        checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "cut")
    data = (tmp_path / "cut" / WEIGHTS).read_bytes()
    (tmp_path / "cut" / WEIGHTS).write_bytes(data[:-8])
    with pytest.raises(ModelError, match="was truncated or altered"):
        read_checkpoint(tmp_path / "cut")
    with pytest.raises(ModelError, match="holds no weights that can be read"):
        read_checkpoint(tmp_path / "none")
    (tmp_path / "cut" / MANIFEST).write_text("{}")
    with pytest.raises(ModelError, match="holds no weights of a model"):
        read_checkpoint(tmp_path / "cut")
    (tmp_path / "cut" / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="do not fit this version"):
        read_checkpoint(tmp_path / "cut")


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
