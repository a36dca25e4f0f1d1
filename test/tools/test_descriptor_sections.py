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

"""Sections of global descriptors: what is measured again, what is published, and the tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import global_descriptors, provenance
from benchmarks.descriptor_models import Recipe
from benchmarks.descriptor_scenes import Place
from benchmarks.global_descriptors import RETRIEVAL_ONLY
from benchmarks.provenance import Rows, Section
from benchmarks.tables.registry import write_table

_TITLES = (
    *("VLAD-SIFT", "VLAD-SIFT, PCA to at most 256 dimensions", "teacher", "student", "student without distillation"),
    *("student without distillation, transformer alone", "student without distillation, initialization only"),
    *("ResNet-18 GeM", "ResNet-18 NetVLAD"),
)
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
        calls: number of calls by kind.
        max_rankings: number of rankings after which the process is killed.
    """

    out: Path
    calls: Counter[str] = field(default_factory=Counter)
    max_rankings: int = 1000

    def train_once(self, _: Path, recipe: Recipe) -> dict[str, Any]:
        self.calls[f"model {recipe.name}"] += 1
        return {"of": recipe.description, "train_s": 60.0, "model_bytes": 1}

    def training(self, module: str, *words: str | Path) -> float:
        assert module == "place_recognition.evaluate"
        if self.calls["ranking"] == self.max_rankings:
            raise Killed
        self.calls["ranking"] += 1
        row = {"encoder": str(words[1]), "dimension": 256, "queries": 6, **_SHARES}
        Path(words[-1]).write_text(json.dumps([row]))
        return 1.0

    def localize(self, *_: object) -> dict[str, Any]:
        self.calls["localization"] += 1
        return dict(_LOCALIZED)

    def run(self, section: Callable[[Path], Mapping[str, Any]], name: str) -> tuple[int, int]:
        """Run a section as `make bench` does; the number of measured rankings and localizations."""
        self.calls.clear()
        provenance.keep_figures(name, section(self.out), provenance.Measured("1", "2026-01-01"))
        return self.calls["ranking"], self.calls["localization"]

    def kitchen(self) -> tuple[int, int]:
        return self.run(global_descriptors.kitchen, "global_descriptors_kitchen")

    def figures(self) -> dict[str, Any]:
        return Section.read(self.out / "global_descriptors_kitchen.json").figures


@pytest.fixture
def bench(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    out = tmp_path / "bench"
    out.mkdir()
    bench, night = Bench(out), replace(place, truth=(*place.truth, "--by-day", place.queries))
    monkeypatch.setattr(global_descriptors, "require_torch", lambda: None)
    monkeypatch.setattr(global_descriptors.scenes, "kitchen", lambda _: place)
    monkeypatch.setattr(global_descriptors.scenes, "building", lambda *_: (place, night))
    monkeypatch.setattr(provenance, "FIGURES", out)
    monkeypatch.setattr(provenance, "revision", lambda: "1")
    monkeypatch.setattr(global_descriptors, "train_once", bench.train_once)
    monkeypatch.setattr(global_descriptors, "training", bench.training)
    monkeypatch.setattr(global_descriptors, "_localize", bench.localize)
    resumed = {"largest_difference": 0.0, "arrays": 1}
    monkeypatch.setattr(global_descriptors, "compare_resumed", lambda *_: resumed)
    return bench


def test_an_interrupted_section_resumes(bench: Bench) -> None:
    bench.max_rankings = 5
    with pytest.raises(Killed):
        bench.kitchen()
    assert not (bench.out / "global_descriptors_kitchen.json").exists()
    bench.max_rankings = 1000
    assert bench.kitchen() == (2 * len(_TITLES) - 5, 4)  # 2 of 6 localizations were there; a teacher is only ranked
    assert bench.kitchen() == (0, 0)
    assert tuple(bench.figures()["day"]) == tuple(bench.figures()["strict"]) == _TITLES


def test_models_are_trained_when_a_row_is_measured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def models() -> set[str]:
        return {name for name in bench.calls if name.startswith("model ")}

    bench.kitchen()
    every = models()
    assert len(every) == len(_TITLES) - 2  # VLAD is the map's
    bench.kitchen()
    assert not models()
    monkeypatch.setattr(global_descriptors, "STRICT", 0.2)
    bench.kitchen()
    assert models() == every


def test_published_figures_are_complete(bench: Bench) -> None:
    bench.kitchen()
    whole = bench.figures()
    Rows.forget("global_descriptors_kitchen")
    bench.max_rankings = 7
    with pytest.raises(Killed):
        bench.kitchen()
    assert bench.figures() == whole


def test_a_model_without_a_recipe_is_no_longer_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kitchen()
    recipes = global_descriptors.recipes

    def fewer(*words: Any, **options: Any) -> dict[str, Recipe]:
        return {title: recipe for title, recipe in recipes(*words, **options).items() if title != "student"}

    monkeypatch.setattr(global_descriptors, "recipes", fewer)
    assert bench.kitchen() == (0, 0)
    figures = bench.figures()
    assert not any("student" in figures[part] for part in ("models", "day", "strict"))


def test_rows_are_measured_again_when_options_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kitchen()
    with monkeypatch.context() as patched:
        patched.setattr(
            global_descriptors, "RETRIEVAL_ONLY", (*RETRIEVAL_ONLY, "--set", "candidates.retrieval_top_k=1")
        )
        assert bench.kitchen() == (0, 6)
    assert bench.kitchen() == (0, 6)
    monkeypatch.setattr(global_descriptors, "STRICT", 0.2)
    assert bench.kitchen() == (len(_TITLES), 0)


def test_a_figure_names_the_revisions_of_its_rows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kitchen()
    monkeypatch.setattr(provenance, "revision", lambda: "2")
    monkeypatch.setattr(global_descriptors, "STRICT", 0.2)
    bench.kitchen()
    assert bench.figures()["row_revisions"] == ["1", "2"]


def test_tables_show_every_model(bench: Bench) -> None:
    bench.kitchen()
    bench.run(global_descriptors.building, "global_descriptors_building")
    bench.run(global_descriptors.ablations, "global_descriptors_ablations")
    sections = {path.stem: Section.read(path) for path in bench.out.glob("global_descriptors_*.json")}
    kitchen = write_table("descriptors_kitchen", sections)
    assert tuple(row[0] for row in kitchen.rows) == _TITLES
    assert kitchen.cell("student", "localized, 5 cm 5°") == "3/6"
    assert write_table("descriptors_building_night", sections).cell("student, 128 dimensions", "dimensions") == "256"
    ablations, gains = (write_table(f"descriptor_{name}", sections) for name in ("ablations", "gains"))
    undistilled = "student without distillation"
    assert ablations.cell(f"{undistilled}, random negatives, day", "seeds") == "0"
    assert ablations.cell(f"{undistilled}, transformer alone, night", "seeds") == "0"
    assert ablations.cell(f"{undistilled}, night", "seeds") == "0 1 2"
    # a variant of one seed is compared with that seed, not with the mean of three
    assert gains.cell("distillation, night", "seeds") == "0 1 2"
    assert gains.cell("hard negatives, day", "seeds") == "0"
