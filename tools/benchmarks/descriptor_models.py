"""Place encoders that are trained once: what was trained from the same maps in the same way is taken again."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import interrupted, training
from benchmarks.provenance import fingerprint, source_hash
from benchmarks.real import MissingError

from vloc_ros.storage.maps import map_hash

Source = tuple[Path, Path]
PRESET = "small"
# what decides, beside the configuration, what is learned and exported; how that is scored does not
_OF_ALL = (
    *("training/student.py", "training/runs.py", "training/onnx_files.py"),
    *(f"training/places/{part}.py" for part in ("baselines", "checkpoints", "config", "data", "encoders", "export")),
    *(f"training/places/{part}.py" for part in ("fitting", "labels", "loss", "mining", "structure", "views")),
    *("vloc_ros/inference/preprocessing.py", "vloc_ros/simulation/lighting.py"),
)
_OF_STUDENTS = tuple(f"training/places/{part}.py" for part in ("crossvit", "discriminant", "patches", "residuals"))
_OF_TEACHERS = (*_OF_STUDENTS, "training/places/teacher.py", "training/rotary.py")
_LAST = "last.ckpt"


def learning(model: str) -> tuple[str, ...]:
    """The files that decide what a model of this kind learns."""
    match model:
        case "teacher":
            return (*_OF_ALL, *_OF_TEACHERS)
        case "student":
            return (*_OF_ALL, *_OF_STUDENTS)
        case _:
            return _OF_ALL


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model is made from.

    Attributes:
        name: of its folder.
        model: of `training.place_recognition.train --model`.
        sources: maps, and the images of each.
        settings: what differs from the preset, such as `fit.epochs=10`.
        teacher: whom it learns from, where it does.
    """

    name: str
    model: str
    sources: tuple[Source, ...]
    settings: tuple[str, ...] = ()
    teacher: Recipe | None = None

    def fingerprint(self) -> str:
        """Of the maps, the whole configuration, the teacher and the code that learns."""
        from training.place_recognition.config import chosen_config

        return fingerprint(
            {
                "maps": [map_hash(folder) for folder, _ in self.sources],
                "config": asdict(chosen_config(PRESET, self.settings, model=self.model)),
                "teacher": self.teacher.fingerprint() if self.teacher else None,
                "code": source_hash(*learning(self.model)),
            }
        )

    def words(self, out: Path) -> Sequence[str | Path]:
        """Of `python -m training.place_recognition.train`."""
        teacher = self.teacher.folder(out) if self.teacher else "none"
        sources = [word for folder, images in self.sources for word in ("--map", folder, "--images", images)]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return (*sources, "--model", self.model, "--preset", PRESET, "--teacher", teacher, *settings)

    def folder(self, out: Path) -> Path:
        """Where it lies."""
        return out / "models" / self.name


def made(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Train a model unless it is there, or go on with its training; its seconds (None where it was interrupted).

    Raises:
        MissingError: there is no torch.
    """
    if recipe.teacher:
        made(out, recipe.teacher)
    folder, wanted = recipe.folder(out), recipe.fingerprint()
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
        seconds = training("student", *words)
        known = {"of": wanted, "train_s": None if resumed else round(seconds, 1)}
        note.write_text(json.dumps(known))
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {**known, "model_bytes": size}


def resumed_as_whole(out: Path, recipe: Recipe) -> dict[str, float]:
    """Train once without a break and once killed after an epoch and resumed: the largest difference of weights."""
    from safetensors.numpy import load_file

    weights = {}
    for name in ("whole", "killed"):
        folder = recipe.folder(out).with_name(f"{recipe.name}-{name}")
        run = folder.with_name(f"{folder.name}.run")
        for left in (folder, run):
            shutil.rmtree(left, ignore_errors=True)
        words = (*recipe.words(out), "--out", folder)
        if name == "killed":
            interrupted("student", *words, when=(run / _LAST).is_file)
            words = (*words, "--resume")
        training("student", *words)
        weights[name] = load_file(run / "weights" / "weights.safetensors")
    apart = [float(abs(value - weights["killed"][key]).max()) for key, value in weights["whole"].items()]
    return {"largest_difference": max(apart), "arrays": len(apart)}


def needs_torch() -> None:
    """See that training can be done.

    Raises:
        MissingError: it cannot.
    """
    if not all(importlib.util.find_spec(name) for name in ("torch", "lightning", "timm")):
        raise MissingError("torch, lightning or timm is missing: `make training` installs them")
