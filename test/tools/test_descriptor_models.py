"""A model is trained once, and again when its recipe or its code changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def test_a_fingerprint_covers_configuration_teacher_and_code(recipe: Recipe, change: Callable[[str], None]) -> None:
    teacher = replace(recipe, model="teacher")
    found = {
        recipe.fingerprint(),
        teacher.fingerprint(),
        replace(recipe, settings=("fit.epochs=3",)).fingerprint(),
        replace(recipe, teacher=teacher).fingerprint(),
        replace(recipe, teacher=replace(teacher, settings=())).fingerprint(),
    }
    for source in (
        *("training/framework/run.py", "training/place_recognition/loss.py", "training/place_recognition/patches.py"),
        *("vloc_ros/inference/preprocessing.py", "vloc_ros/simulation/lighting.py"),
    ):
        change(source)
        found.add(recipe.fingerprint())
    assert len(found) == 5 + 5
    for source in ("training/place_recognition/evaluate.py", "training/place_recognition/teacher.py"):
        change(source)
        assert recipe.fingerprint() in found


@pytest.mark.parametrize(
    ("model", "covered"), [("teacher", (True, True)), ("student", (True, False)), ("resnet18-gem", (False, False))]
)
def test_a_fingerprint_covers_the_code_of_its_kind_of_model(
    recipe: Recipe, change: Callable[[str], None], model: str, covered: tuple[bool, bool]
) -> None:
    changed = []
    for source in ("training/place_recognition/discriminant.py", "training/networks/rotary.py"):
        before = replace(recipe, model=model).fingerprint()
        change(source)
        changed.append(replace(recipe, model=model).fingerprint() != before)
    assert tuple(changed) == covered


def test_a_model_is_trained_once_by_the_same_code(
    recipe: Recipe, trained: list[Sequence[str | Path]], change: Callable[[str], None], tmp_path: Path
) -> None:
    first = train_once(tmp_path, recipe)
    assert first == {"of": recipe.fingerprint(), "train_s": 12.3, "model_bytes": 2}
    assert train_once(tmp_path, recipe) == first
    assert len(trained) == 1
    change("training/place_recognition/mining.py")
    assert train_once(tmp_path, recipe)["of"] != first["of"]
    assert len(trained) == 2


@pytest.mark.parametrize("same_code", [True, False])
def test_a_killed_training_resumes_with_the_same_code_only(
    same_code: bool,
    recipe: Recipe,
    trained: list[Sequence[str | Path]],
    change: Callable[[str], None],
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
    if not same_code:
        change("training/place_recognition/loss.py")
    assert (train_once(tmp_path, recipe)["train_s"] is None) is same_code
    assert ("--resume" in trained[0]) is same_code
    assert run.exists() is same_code


def test_a_teacher_is_trained_first(recipe: Recipe, trained: list[Sequence[str | Path]], tmp_path: Path) -> None:
    train_once(tmp_path, replace(recipe, teacher=replace(recipe, name="teacher", model="teacher")))
    assert [words[words.index("--model") + 1] for words in trained] == ["teacher", "student"]
