"""Training a recogniser: augmentation, held-out keyframes, resuming, and that it learns."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from lightning.pytorch.callbacks import Callback
from plane_scene import make_plane_scene
from recognition_world import SyntheticExamples, make_synthetic_examples, tiny, wall_images
from safetensors.numpy import load_file

from training.recognition.batches import AugmentedExamples, Example, collate
from training.recognition.config import RecognizerFitConfig, build_config
from training.recognition.examples import make_examples
from training.recognition.fitting import TrainedRecognizer, train, wrap_model
from training.recognition.scores import score_recognition
from training.runs import select_held_out
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.core.sources import silent

SYNTHETIC = make_synthetic_examples()


def train_tiny(run_dir: Path, *more: str, **options: Any) -> TrainedRecognizer:
    config = tiny("fit.epochs=4", "fit.learning_rate=0.01", *more)
    return train(SYNTHETIC.examples, SYNTHETIC.table, config, run_dir, **options)


def weights(trained: TrainedRecognizer) -> Array:
    return np.concatenate([p.detach().numpy().ravel() for p in trained.model.parameters()])


class Interruption(Callback):
    """Ends the training after two epochs."""

    def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
        trainer.should_stop = trainer.current_epoch == 1


@pytest.mark.parametrize(("held_out", "workers"), [(0.0, 0), (0.2, 0), (0.0, 2)])
def test_an_interrupted_training_that_is_resumed_is_one_that_was_not(
    tmp_path: Path, held_out: float, workers: int
) -> None:
    settings = f"fit.held_out={held_out}", f"fit.workers={workers}"
    whole = train_tiny(tmp_path / "whole", *settings)
    interrupted = train_tiny(tmp_path / "parts", *settings, callbacks=[Interruption()])
    resumed = train_tiny(tmp_path / "parts", *settings, resume=True)
    if not held_out:  # otherwise the best epoch may have been one of the first two
        assert np.abs(weights(interrupted) - weights(whole)).max() > 1e-3
    assert np.abs(weights(resumed) - weights(whole)).max() < 1e-6
    assert resumed.held_out == whole.held_out


class Orders(Callback):
    """Records the order of the examples of every epoch."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[int, int]]] = []

    def on_train_epoch_start(self, trainer: Any, _: Any) -> None:
        self.seen.append(list(trainer.train_dataloader.sampler))


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    orders = Orders()
    train_tiny(tmp_path, "fit.held_out=0.0", callbacks=[orders])
    assert [{epoch for epoch, _ in order} for order in orders.seen] == [{0}, {1}, {2}, {3}]
    indices = [[index for _, index in order] for order in orders.seen]
    assert all(sorted(order) == list(range(10)) for order in indices)
    assert len({tuple(order) for order in indices}) == 4


def test_resuming_needs_the_same_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        train_tiny(tmp_path / "none", resume=True)
    train_tiny(tmp_path / "run", callbacks=[Interruption()])
    with pytest.raises(InputError, match="differs from the given configuration; resume with the same"):
        train_tiny(tmp_path / "run", "fit.seed=5", resume=True)


def test_a_run_has_its_configuration_and_its_best_weights(tmp_path: Path) -> None:
    trained = train_tiny(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["fit"]["epochs"] == 4
    kept = load_file(tmp_path / "best.safetensors")
    assert all(np.array_equal(kept[name], value.numpy()) for name, value in trained.model.state_dict().items())
    assert list(tmp_path.glob("log/events.*"))


def test_examples_that_show_nothing_are_refused(tmp_path: Path) -> None:
    blank = [[Example(v.rays, v.descriptors, np.full(len(v), -1, np.int32)) for v in vs] for vs in SYNTHETIC.examples]
    with pytest.raises(InputError, match="no keypoint of any image shows a point of the map"):
        train(blank, SYNTHETIC.table, tiny(), tmp_path)


def test_a_wall_is_recognised_from_other_viewpoints(tmp_path: Path) -> None:
    scene = make_plane_scene()
    columns = LandmarkTable(np.arange(6), np.arange(6, dtype=np.int32) // 2)
    clear = ("images.versions=12", "images.blur_px=0.5", "images.night=0.0", "images.light=0.5", "fit.held_out=0.0")
    steps = ("fit.drawn_keypoints=128", "fit.batch=8", "fit.epochs=40", "fit.learning_rate=0.003")
    config = tiny("model.width=64", *clear, *steps)
    seen = make_examples(wall_images(scene, 10, seed=3), scene.landmark_map, config, progress=silent)
    trained = train(seen, columns, config, tmp_path)
    images = wall_images(scene, 4, seed=1)
    others = chain(*make_examples(images, scene.landmark_map, tiny("images.versions=1"), progress=silent))
    found = score_recognition(wrap_model(trained.model), others, columns.parents, keypoints=300)
    assert found.top1 > 0.7
    assert found.coarse > 0.8
    assert found.image_recall > 0.8


def test_held_out_keyframes_form_segments() -> None:
    held = select_held_out(100, RecognizerFitConfig(held_out=0.1, held_out_segments=2, held_out_length=5))
    assert np.flatnonzero(held).tolist() == [*range(22, 27), *range(72, 77)]
    many = select_held_out(2000, RecognizerFitConfig(held_out=0.1, held_out_length=6))
    starts, ends = (np.flatnonzero(np.diff(many.astype(int)) == step) for step in (1, -1))
    assert many.sum() == 200
    assert (ends - starts).max() <= 6
    assert not select_held_out(100, RecognizerFitConfig(held_out=0.0)).any()
    assert select_held_out(3, RecognizerFitConfig(held_out=0.1)).sum() == 0


def augment(synthetic: SyntheticExamples, epoch: int, *more: str) -> list[Example]:
    config = tiny(*more)
    changed = AugmentedExamples([versions[0] for versions in synthetic.examples], config.keypoints, config.fit)
    return [changed[epoch, index] for index in range(len(changed))]


def test_augmentation_depends_on_the_epoch() -> None:
    once, again, later = collate(augment(SYNTHETIC, 3)), collate(augment(SYNTHETIC, 3)), collate(augment(SYNTHETIC, 4))
    assert all(map(np.array_equal, once, again))
    assert once.rays.shape != later.rays.shape or not np.array_equal(once.rays, later.rays)


def test_distractors_are_background() -> None:
    unchanged = ("keypoints.noise=0", "keypoints.stretch=0", "keypoints.roll_deg=0", "keypoints.drop=0")
    for versions, mixed in zip(
        SYNTHETIC.examples, augment(SYNTHETIC, 0, *unchanged, "keypoints.distractors=1.0"), strict=True
    ):
        mine = {tuple(ray): landmark for ray, landmark in zip(versions[0].rays, versions[0].landmarks, strict=True)}
        for ray, landmark in zip(mixed.rays, mixed.landmarks, strict=True):
            assert landmark == mine.get(tuple(ray), -1)
    assert sum((example.landmarks < 0).sum() for example in augment(SYNTHETIC, 0, "keypoints.distractors=1.0")) > 100


def test_scores_by_hand() -> None:
    truth = np.array([0, 1, 2, -1] * 5, np.int32)
    example = Example(np.zeros((20, 2), np.float32), np.zeros((20, 8), np.float16), truth)
    landmarks = np.array([[0, 2], [1, 3]])
    of_keypoint = np.array([[[0.6, 0.3], [0.1, 0]], [[0.2, 0], [0.1, 0.7]], [[0.1, 0.2], [0.7, 0]], [[0, 0], [0, 0.1]]])

    def recognize(_: Array, __: Array) -> tuple[Array, ...]:
        background = np.tile([0.0, 0.0, 0.0, 0.9], 5)
        return background, landmarks, np.tile(of_keypoint, (5, 1, 1)), np.zeros(2)

    found = score_recognition(recognize, [example], np.array([0, 1, 0, 1]), keypoints=100)
    assert (found.top1, found.top3, found.coarse) == pytest.approx((1 / 3, 1.0, 2 / 3))
    assert (found.foreground, found.background) == (1, 1)
    assert found.image_recall == pytest.approx(2 / 3)  # evidence 0.9, 0.9, 0.8 of 0, 1, 3; landmark 2 has 0.5


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("fit.epochs", "expected NAME=VALUE"),
        ("fit.epoch=3", r"unknown parameter fit\.epoch, did you mean fit\.epochs\?"),
        ("fits.epochs=3", r"unknown parameter fits\.epochs, did you mean fit\.epochs\?"),
        ("xyzzy.plugh=3", r"unknown parameter xyzzy\.plugh, expected one of model\.width"),
        ("fit.epochs=0", "epochs is 0"),
        ("labels.radius_px=3", "parameter labels.radius_px was removed"),
        ("model.width=100", "expected a multiple"),
    ],
)
def test_a_wrong_parameter_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config("small", [assignment, "model.heads=3"] if "width" in assignment else [assignment])
