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

"""A model is trained once, and again when its recipe changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import descriptor_models
from benchmarks.descriptor_models import Recipe, train_once
from benchmarks.descriptor_scenes import Place


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture
def recipe(place: Place) -> Recipe:
    return Recipe("student", "student", ((place.map, place.images),), ("fit.epochs=2",))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str | Path]]:
    """The options of every training, which writes an empty model."""
    runs: list[Sequence[str | Path]] = []

    def training(_: str, *words: str | Path) -> float:
        runs.append(words)
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
        return 12.34

    monkeypatch.setattr(descriptor_models, "training", training)
    return runs


def test_a_description_covers_settings_maps_and_teacher(recipe: Recipe, tmp_path: Path) -> None:
    teacher = replace(recipe, model="teacher")
    found = {
        one.description
        for one in (
            recipe,
            teacher,
            replace(recipe, settings=("fit.epochs=3",)),
            replace(recipe, sources=((tmp_path / "other", tmp_path),)),
            replace(recipe, teacher=teacher),
            replace(recipe, teacher=replace(teacher, settings=())),
        )
    }
    assert len(found) == 6


def test_a_model_is_trained_once_with_the_same_settings(
    recipe: Recipe, trained: list[Sequence[str | Path]], tmp_path: Path
) -> None:
    first = train_once(tmp_path, recipe)
    assert first == {"of": recipe.description, "train_s": 12.3, "model_bytes": 2}
    assert train_once(tmp_path, recipe) == first
    assert len(trained) == 1
    assert train_once(tmp_path, replace(recipe, settings=()))["of"] != first["of"]
    assert len(trained) == 2


@pytest.mark.parametrize("same_settings", [True, False])
def test_a_killed_training_resumes_with_the_same_settings_only(
    same_settings: bool,
    recipe: Recipe,
    trained: list[Sequence[str | Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "models" / "student.run"

    def killed(*_: object) -> float:
        run.mkdir()
        (run / "last.ckpt").touch()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(descriptor_models, "training", killed)
        with pytest.raises(Killed):
            train_once(tmp_path, recipe)
    if not same_settings:
        recipe = replace(recipe, settings=())
    assert (train_once(tmp_path, recipe)["train_s"] is None) is same_settings
    assert ("--resume" in trained[0]) is same_settings
    assert run.exists() is same_settings


def test_a_teacher_is_trained_first(recipe: Recipe, trained: list[Sequence[str | Path]], tmp_path: Path) -> None:
    train_once(tmp_path, replace(recipe, teacher=replace(recipe, name="teacher", model="teacher")))
    assert [words[words.index("--model") + 1] for words in trained] == ["teacher", "student"]
