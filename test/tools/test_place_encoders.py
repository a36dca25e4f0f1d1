"""Sections of place encoders: what is measured again, what is published, and what the page says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import global_descriptors, page, provenance
from benchmarks.descriptor_models import Recipe
from benchmarks.descriptor_scenes import Place
from benchmarks.global_descriptors import ALONE

_TITLES = ("VLAD-SIFT", "VLAD-SIFT, at most 256 numbers", "teacher", "student", "student without distillation",
           "student without distillation, transformer alone", "student without distillation, as it begins",
           "ResNet-18 GeM", "ResNet-18 NetVLAD")  # fmt: skip
_SHARES = {f"{letter}@{k}": 0.5 for letter in "PR" for k in (1, 5, 20)}
_LOCALIZED = {
    "queries": 6,
    "false_accepts": 1,
    "recall": {"5cm_5deg": 0.5, "25cm_2deg": 0.5},
}


class Killed(BaseException):
    """The process ended here."""


@dataclass
class Bench:
    """Commands that measure nothing.

    Attributes:
        out: folder of figures.
        asked: how often each was asked what.
        most: so many rankings are scored before the process is killed.
        version: of all models.
    """

    out: Path
    asked: Counter[str] = field(default_factory=Counter)
    most: int = 1000
    version: str = "1"

    def made(self, _: Path, recipe: Recipe) -> dict[str, Any]:
        self.asked[f"model {recipe.name}"] += 1
        return {"of": self.fingerprint(recipe), "train_s": 60.0, "model_bytes": 1}

    def fingerprint(self, recipe: Recipe) -> str:
        return f"{recipe.name} {self.version}"

    def training(self, module: str, *words: str | Path) -> float:
        assert module == "places_scores"
        if self.asked["ranking"] == self.most:
            raise Killed
        self.asked["ranking"] += 1
        row = {"encoder": str(words[1]), "dimension": 256, "queries": 6, **_SHARES}
        Path(words[-1]).write_text(json.dumps([row]))
        return 1.0

    def alone(self, *_: object) -> dict[str, Any]:
        self.asked["alone"] += 1
        return dict(_LOCALIZED)

    def newly(self, section: Callable[[Path], Mapping[str, Any]], name: str) -> tuple[int, int]:
        """Run a section as `make bench` does; how many rankings and localizations were measured."""
        self.asked.clear()
        figures = {**section(self.out), "section_s": 1.0, "machine": "one"}
        (self.out / f"{name}.json").write_text(json.dumps(figures))
        return self.asked["ranking"], self.asked["alone"]

    def kitchen(self) -> tuple[int, int]:
        return self.newly(global_descriptors.kitchen, "place_encoders_kitchen")

    def figures(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "place_encoders_kitchen.json").read_text()))


@pytest.fixture
def bench(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    out = tmp_path / "bench"
    out.mkdir()
    bench, night = Bench(out), replace(place, truth=(*place.truth, "--by-day", place.queries))
    monkeypatch.setattr(global_descriptors, "needs_torch", lambda: None)
    monkeypatch.setattr(global_descriptors.scenes, "kitchen", lambda _: place)
    monkeypatch.setattr(global_descriptors.scenes, "building", lambda *_: (place, night))
    monkeypatch.setattr(provenance, "FIGURES", out)
    monkeypatch.setattr(Recipe, "fingerprint", lambda recipe: bench.fingerprint(recipe))
    monkeypatch.setattr(global_descriptors, "made", bench.made)
    monkeypatch.setattr(global_descriptors, "training", bench.training)
    monkeypatch.setattr(global_descriptors, "_alone", bench.alone)
    resumed = {"largest_difference": 0.0, "arrays": 1}
    monkeypatch.setattr(global_descriptors, "resumed_as_whole", lambda *_: resumed)
    return bench


def test_a_section_that_was_cut_off_goes_on(bench: Bench) -> None:
    bench.most = 5
    with pytest.raises(Killed):
        bench.kitchen()
    assert not (bench.out / "place_encoders_kitchen.json").exists()
    bench.most = 1000
    assert bench.kitchen() == (2 * len(_TITLES) - 5, 4)  # 2 of 6 localizations were there; a teacher is not asked
    assert bench.kitchen() == (0, 0)
    assert tuple(bench.figures()["day"]) == tuple(bench.figures()["strict"]) == _TITLES


def test_models_are_made_when_a_row_is_to_be_measured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def models() -> set[str]:
        return {name for name in bench.asked if name.startswith("model ")}

    bench.kitchen()
    every = models()
    assert len(every) == len(_TITLES) - 2  # VLAD is the map's
    bench.kitchen()
    assert not models()
    monkeypatch.setattr(global_descriptors, "STRICT", 0.2)
    bench.kitchen()
    assert models() == every


def test_what_is_published_is_whole_and_of_one_version(bench: Bench, tmp_path: Path) -> None:
    bench.kitchen()
    whole = bench.figures()
    bench.version, bench.most = "2", 7
    with pytest.raises(Killed):
        bench.kitchen()
    assert bench.figures() == whole
    page.write_page(bench.out, tmp_path / "BENCHMARK.md")
    assert "### A kitchen" in (tmp_path / "BENCHMARK.md").read_text()


def test_a_model_that_is_no_longer_made_is_no_longer_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kitchen()
    recipes = global_descriptors.recipes

    def fewer(*words: Any, **options: Any) -> dict[str, Recipe]:
        return {title: recipe for title, recipe in recipes(*words, **options).items() if title != "student"}

    monkeypatch.setattr(global_descriptors, "recipes", fewer)
    assert bench.kitchen() == (0, 0)
    figures = bench.figures()
    assert not any("student" in figures[part] for part in ("models", "day", "strict"))


def test_rankings_and_localizations_are_measured_again_by_other_code(
    bench: Bench, change: Callable[[str], None]
) -> None:
    bench.kitchen()
    for source, newly in (
        ("training/places/ranking.py", (2 * len(_TITLES), 0)),
        ("training/places_scores.py", (2 * len(_TITLES), 0)),
        ("vloc_ros/core/places.py", (0, 6)),
        ("vloc_ros/cli/demo.py", (0, 0)),
    ):
        change(source)
        assert bench.kitchen() == newly


def test_rows_are_measured_again_when_something_else_is_asked(
    bench: Bench, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.kitchen()
    with monkeypatch.context() as patched:
        patched.setattr(global_descriptors, "ALONE", (*ALONE, "--set", "proposals.places_count=1"))
        assert bench.kitchen() == (0, 6)
    assert bench.kitchen() == (0, 6)
    moved = tmp_path / "moved.txt"
    moved.write_bytes(place.truth[1].read_bytes())
    other = replace(place, truth=("--poses", moved, *place.truth[2:]))
    monkeypatch.setattr(global_descriptors.scenes, "kitchen", lambda _: other)
    assert bench.kitchen() == (0, 0)  # the same poses in another file
    moved.write_text("# others\n")
    assert bench.kitchen() == (2 * len(_TITLES), 0)
    monkeypatch.setattr(global_descriptors, "STRICT", 0.2)
    assert bench.kitchen() == (len(_TITLES), 0)


def test_the_page_shows_every_encoder(bench: Bench, tmp_path: Path) -> None:
    bench.kitchen()
    bench.newly(global_descriptors.building, "place_encoders_building")
    bench.newly(global_descriptors.ablations, "place_encoders_ablations")
    page.write_page(bench.out, tmp_path / "BENCHMARK.md")
    text = (tmp_path / "BENCHMARK.md").read_text()
    kitchen, building, ablations = (part for part in text.split("\n### ")[1:])
    assert all(f"| {title} |" in kitchen for title in _TITLES)
    assert "took 2 minutes together" in kitchen
    assert "3/6" in kitchen  # of the queries, alone
    assert "student, 128 numbers" in building
    assert "At night:" in building
    alone = "student without distillation"
    assert f"| {alone}, random negatives, day | 0 |" in ablations
    assert f"| {alone}, transformer alone, night | 0 |" in ablations
    assert f"| {alone}, night | 0 1 2 |" in ablations
    # a variant of one seed is compared with that seed, not with the mean of three
    gains = ablations.partition("The encoders themselves:")[0]
    assert "| distillation, night | 0 1 2 |" in gains
    assert "| hard negatives, day | 0 |" in gains
    assert "random ones (`mining.negatives_are=random`)" in ablations
