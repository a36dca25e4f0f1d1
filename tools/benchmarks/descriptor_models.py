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

"""Models of global descriptors, each trained once: a model with the same recipe is used again."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import interrupt, training
from benchmarks.real import MissingError

Source = tuple[Path, Path]
PRESET = "small"
_LAST = "last.ckpt"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model is made from.

    Attributes:
        name: name of its folder.
        model: value of `training.place_recognition.train --model`.
        sources: maps, and the images of each.
        settings: parameters that differ from the preset, such as `fit.epochs=10`.
        teacher: recipe of the teacher, None for training without distillation.
    """

    name: str
    model: str
    sources: tuple[Source, ...]
    settings: tuple[str, ...] = ()
    teacher: Recipe | None = None

    @property
    def description(self) -> str:
        """What a model is made from, as text: preset, kind, settings, maps and teacher."""
        maps = " ".join(folder.name for folder, _ in self.sources)
        teacher = f", taught by ({self.teacher.description})" if self.teacher else ""
        return f"{' '.join([PRESET, self.model, *self.settings])} on {maps}{teacher}"

    def words(self, out: Path) -> Sequence[str | Path]:
        """Options of `python -m training.place_recognition.train`."""
        teacher = self.teacher.folder(out) if self.teacher else "none"
        sources = [word for folder, images in self.sources for word in ("--map", folder, "--images", images)]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return (*sources, "--model", self.model, "--preset", PRESET, "--teacher", teacher, *settings)

    def folder(self, out: Path) -> Path:
        """The folder of the model."""
        return out / "models" / self.name


def train_once(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Train a model, resume its training, or use it again; its seconds (None where training was interrupted).

    The working folder is of one revision, so a model of the same description is the same model.

    Raises:
        MissingError: there is no torch.
    """
    if recipe.teacher:
        train_once(out, recipe.teacher)
    folder, wanted = recipe.folder(out), recipe.description
    run, note = folder.with_name(f"{folder.name}.run"), folder.with_name(f"{folder.name}.trained.json")
    known = json.loads(note.read_text()) if note.is_file() else {}
    fits = known.get("of") == wanted
    if not (fits and "train_s" in known and (folder / "manifest.json").is_file()):
        resumed = fits and (run / _LAST).is_file()
        if not resumed:
            for left in (folder, run):
                shutil.rmtree(left, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"of": wanted}))
        words = (*recipe.words(out), "--out", folder, *(("--resume",) if resumed else ()))
        seconds = training("place_recognition.train", *words)
        known = {"of": wanted, "train_s": None if resumed else round(seconds, 1)}
        note.write_text(json.dumps(known))
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {**known, "model_bytes": size}


def compare_resumed(out: Path, recipe: Recipe) -> dict[str, float]:
    """Train once without a break, and once killed after an epoch and resumed: the largest difference of weights."""
    from safetensors.numpy import load_file

    weights = {}
    for name in ("whole", "killed"):
        folder = recipe.folder(out).with_name(f"{recipe.name}-{name}")
        run = folder.with_name(f"{folder.name}.run")
        for left in (folder, run):
            shutil.rmtree(left, ignore_errors=True)
        words = (*recipe.words(out), "--out", folder)
        if name == "killed":
            interrupt("place_recognition.train", *words, when=(run / _LAST).is_file)
            words = (*words, "--resume")
        training("place_recognition.train", *words)
        weights[name] = load_file(run / "weights" / "weights.safetensors")
    differences = [float(abs(value - weights["killed"][key]).max()) for key, value in weights["whole"].items()]
    return {"largest_difference": max(differences), "arrays": len(differences)}


def require_torch() -> None:
    """Check that training is possible.

    Raises:
        MissingError: torch, lightning or timm is missing.
    """
    if not all(importlib.util.find_spec(name) for name in ("torch", "lightning", "timm")):
        raise MissingError("torch, lightning or timm is missing: `make training` installs them")
