"""Training: what is drawn, what is held out, resuming, and that something is learned."""

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
from recognition_world import Words, tiny, wall_images, words
from safetensors.numpy import load_file

from training.recognition.batches import ChangedExamples, Example, collated
from training.recognition.config import RecognizerFitConfig, chosen_config
from training.recognition.examples import examples_of
from training.recognition.fitting import TrainedRecognizer, recognize_with, train
from training.recognition.scores import scores
from training.runs import held_out_stretches
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.core.sources import silent

WORDS = words()


def fitted(run_dir: Path, *more: str, **options: Any) -> TrainedRecognizer:
    config = tiny("fit.epochs=4", "fit.learning_rate=0.01", *more)
    return train(WORDS.examples, WORDS.table, config, run_dir, **options)


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
    whole = fitted(tmp_path / "whole", *settings)
    interrupted = fitted(tmp_path / "parts", *settings, callbacks=[Interruption()])
    resumed = fitted(tmp_path / "parts", *settings, resume=True)
    if not held_out:  # otherwise the best epoch may have been one of the first two
        assert np.abs(weights(interrupted) - weights(whole)).max() > 1e-3
    assert np.abs(weights(resumed) - weights(whole)).max() < 1e-6
    assert resumed.held_out == whole.held_out


class Orders(Callback):
    """Notes in which order the examples of every epoch come."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[int, int]]] = []

    def on_train_epoch_start(self, trainer: Any, _: Any) -> None:
        self.seen.append(list(trainer.train_dataloader.sampler))


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    orders = Orders()
    fitted(tmp_path, "fit.held_out=0.0", callbacks=[orders])
    assert [{epoch for epoch, _ in order} for order in orders.seen] == [{0}, {1}, {2}, {3}]
    indices = [[index for _, index in order] for order in orders.seen]
    assert all(sorted(order) == list(range(10)) for order in indices)
    assert len({tuple(order) for order in indices}) == 4


def test_resuming_needs_the_same_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        fitted(tmp_path / "none", resume=True)
    fitted(tmp_path / "run", callbacks=[Interruption()])
    with pytest.raises(InputError, match="differs from the configuration asked for; resume with the same"):
        fitted(tmp_path / "run", "fit.seed=5", resume=True)


def test_a_run_leaves_its_configuration_and_its_best_weights(tmp_path: Path) -> None:
    trained = fitted(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["fit"]["epochs"] == 4
    kept = load_file(tmp_path / "best.safetensors")
    assert all(np.array_equal(kept[name], value.numpy()) for name, value in trained.model.state_dict().items())
    assert list(tmp_path.glob("log/events.*"))


def test_examples_that_show_nothing_are_refused(tmp_path: Path) -> None:
    blank = [[Example(v.rays, v.descriptors, np.full(len(v), -1, np.int32)) for v in vs] for vs in WORDS.examples]
    with pytest.raises(InputError, match="no keypoint of any image shows a point of the map"):
        train(blank, WORDS.table, tiny(), tmp_path)


def test_a_model_that_learned_a_wall_recognises_it_from_elsewhere(tmp_path: Path) -> None:
    scene = make_plane_scene()
    columns = LandmarkTable(np.arange(6), np.arange(6, dtype=np.int32) // 2)
    clear = ("images.versions=12", "images.blur_px=0.5", "images.night=0.0", "images.light=0.5", "fit.held_out=0.0")
    steps = ("fit.drawn_keypoints=128", "fit.batch=8", "fit.epochs=40", "fit.learning_rate=0.003")
    config = tiny("model.width=64", *clear, *steps)
    seen = examples_of(wall_images(scene, 10, seed=3), scene.landmark_map, config, progress=silent)
    trained = train(seen, columns, config, tmp_path)
    images = wall_images(scene, 4, seed=1)
    elsewhere = chain(*examples_of(images, scene.landmark_map, tiny("images.versions=1"), progress=silent))
    found = scores(recognize_with(trained.model), elsewhere, columns.parents, keypoints=300)
    assert found.top1 > 0.7
    assert found.coarse > 0.8
    assert found.image_recall > 0.8


def test_held_out_keyframes_lie_in_stretches() -> None:
    held = held_out_stretches(100, RecognizerFitConfig(held_out=0.1, held_out_segments=2, held_out_length=5))
    assert np.flatnonzero(held).tolist() == [*range(22, 27), *range(72, 77)]
    many = held_out_stretches(2000, RecognizerFitConfig(held_out=0.1, held_out_length=6))
    starts, ends = (np.flatnonzero(np.diff(many.astype(int)) == step) for step in (1, -1))
    assert many.sum() == 200
    assert (ends - starts).max() <= 6
    assert not held_out_stretches(100, RecognizerFitConfig(held_out=0.0)).any()
    assert held_out_stretches(3, RecognizerFitConfig(held_out=0.1)).sum() == 0


def drawn(words: Words, epoch: int, *more: str) -> list[Example]:
    config = tiny(*more)
    changed = ChangedExamples([versions[0] for versions in words.examples], config.keypoints, config.fit)
    return [changed[epoch, index] for index in range(len(changed))]


def test_what_is_drawn_follows_from_the_epoch() -> None:
    once, again, later = collated(drawn(WORDS, 3)), collated(drawn(WORDS, 3)), collated(drawn(WORDS, 4))
    assert all(map(np.array_equal, once, again))
    assert once.rays.shape != later.rays.shape or not np.array_equal(once.rays, later.rays)


def test_distractors_are_background() -> None:
    unchanged = ("keypoints.noise=0", "keypoints.stretch=0", "keypoints.roll_deg=0", "keypoints.drop=0")
    for versions, mixed in zip(WORDS.examples, drawn(WORDS, 0, *unchanged, "keypoints.distractors=1.0"), strict=True):
        mine = {tuple(ray): landmark for ray, landmark in zip(versions[0].rays, versions[0].landmarks, strict=True)}
        for ray, landmark in zip(mixed.rays, mixed.landmarks, strict=True):
            assert landmark == mine.get(tuple(ray), -1)
    assert sum((example.landmarks < 0).sum() for example in drawn(WORDS, 0, "keypoints.distractors=1.0")) > 100


def test_scores_count_what_they_say() -> None:
    truth = np.array([0, 1, 2, -1] * 5, np.int32)
    example = Example(np.zeros((20, 2), np.float32), np.zeros((20, 8), np.float16), truth)
    landmarks = np.array([[0, 2], [1, 3]])
    of_keypoint = np.array([[[0.6, 0.3], [0.1, 0]], [[0.2, 0], [0.1, 0.7]], [[0.1, 0.2], [0.7, 0]], [[0, 0], [0, 0.1]]])

    def recognize(_: Array, __: Array) -> tuple[Array, ...]:
        background = np.tile([0.0, 0.0, 0.0, 0.9], 5)
        return background, landmarks, np.tile(of_keypoint, (5, 1, 1)), np.zeros(2)

    found = scores(recognize, [example], np.array([0, 1, 0, 1]), keypoints=100)
    assert (found.top1, found.top3, found.coarse) == pytest.approx((1 / 3, 1.0, 2 / 3))
    assert (found.foreground, found.background) == (1, 1)
    assert found.image_recall == pytest.approx(2 / 3)  # evidence 0.9, 0.9, 0.8 of 0, 1, 3; landmark 2 has 0.5


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("fit.epochs", "expected NAME=VALUE"),
        ("fit.epoch=3", "unknown parameter fit.epoch"),
        ("fits.epochs=3", "unknown parameter fits.epochs"),
        ("fit.epochs=0", "epochs is 0"),
        ("model.width=100", "expected a multiple"),
    ],
)
def test_a_wrong_parameter_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_config("small", [assignment, "model.heads=3"] if "width" in assignment else [assignment])
