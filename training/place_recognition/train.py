"""Train a place encoder: of an image, a short descriptor that is near to those of images that show the same place.

  python -m training.place_recognition.train --map MAP --images DIR --preset small --out MODEL      on two cores, minutes
  python -m training.place_recognition.train --map MAP --images DIR --preset base --out MODEL       larger, for a GPU

MAP is what `vloc map build` wrote, or the folder of a COLMAP model; DIR holds the images that it was built from.
Several maps are given as several --map and --images; they share nothing. A student learns from the labels and from a
teacher that sees the map's 3D structure, which is trained first, unless --teacher names one or says none.

MODEL is a folder with an ONNX file and a manifest, which a robot loads without torch (of a teacher: its weights).
Beside it, MODEL.run holds the log (tensorboard --logdir), the configuration, the weights and the last epoch's
checkpoint; an interrupted training goes on with --resume and else the same words. Several GPUs: --set fit.devices=4, or
torchrun or Slurm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from training.options import training_parser
from training.place_recognition.checkpoints import (
    MANIFEST,
    checkpoint_hash,
    read_checkpoint,
    replaces_checkpoint,
    write_checkpoint,
)
from training.place_recognition.config import MODELS, PRESETS, PlacesConfig, chosen_config
from training.place_recognition.data import Images
from training.place_recognition.encoders import build_encoder, pretrained_hash
from training.place_recognition.export import export
from training.place_recognition.fitting import Start, TrainedEncoder, train
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages, joined, read_views, source_of
from training.provenance import training_metadata
from training.runs import LAST, TEACHER, TEACHER_RUN, WEIGHTS, check_run_folder, open_run
from training.sources import file_hash, images_hash
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera

NO_TEACHER, OWN_TEACHER = "none", "its own"
_COMPARED = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parsed(arguments))
    except VlocError as error:
        print(f"student: {error}", file=sys.stderr)
        return 1


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is to be learned from what.

    Attributes:
        args: of the command.
        config: of the model.
        run_dir: of its run.
        views: of all maps,
        images: and their pixels.
        sources: the content of all that is given, see `runs.claim`.
    """

    args: argparse.Namespace
    config: PlacesConfig
    run_dir: Path
    views: CovisibleImages
    images: Images
    sources: Mapping[str, Any]


def _run(args: argparse.Namespace) -> int:
    config = chosen_config(args.preset, args.set, model=args.model)
    run_dir = args.run or args.out.with_name(f"{args.out.name}.run")
    _check_outputs(args, config, run_dir)
    parts = _views(args)
    sources, views = _sources(args, config, parts), joined(parts)
    task = _Task(args, config, run_dir, views, Images.of(views, in_memory=config.fit.in_memory, progress=bar), sources)
    _claim_once(task)
    teacher = _teacher(task)
    # where the teacher's training was interrupted, the student's has not begun
    begun = args.teacher is not None or teacher is None or (run_dir / LAST).is_file()
    start = Start(teacher, _is_pretrained(args), args.weights, args.resume and begun, sources)
    trained = train(views, task.images, config, run_dir, start=start)
    if rank_zero_only.rank == 0:
        _write(trained, task)
    return 0


def _check_outputs(args: argparse.Namespace, config: PlacesConfig, run_dir: Path) -> None:
    """Before the work: what is written at the end must find its place."""
    if rank_zero_only.rank:  # the first process may have begun to write
        return
    if config.model == "teacher":
        replaces_checkpoint(args.out)
    else:
        replaces_model(args.out)
        replaces_checkpoint(run_dir / WEIGHTS)
    check_run_folder(run_dir, args.out)


def _sources(args: argparse.Namespace, config: PlacesConfig, parts: Sequence[CovisibleImages]) -> dict[str, Any]:
    """What is given, by its content."""
    named = args.teacher if args.teacher != NO_TEACHER else None
    own = OWN_TEACHER if args.teacher is None and config.model == "student" else None
    encoder = build_encoder(config, extent_m=1.0) if _is_pretrained(args) else None
    return {
        "maps": [source_of(folder) for folder in args.map],
        "images": [images_hash(folder, part.paths) for folder, part in zip(args.images, parts, strict=True)],
        "camera": file_hash(args.camera) if args.camera else None,
        "teacher": checkpoint_hash(Path(named)) if named else own,
        "weights": pretrained_hash(encoder, args.weights) if encoder else None,
    }


def _is_pretrained(args: argparse.Namespace) -> bool:
    return args.pretrained or args.weights is not None


@rank_zero_only
def _claim_once(task: _Task) -> None:
    """Before the teacher is trained, which is of this run too; one that was named may lie in the run's folder."""
    leftovers = (TEACHER,) if task.args.teacher in (None, NO_TEACHER) else ()
    open_run(task.run_dir, task.config, task.sources, resume=task.args.resume, leftovers=leftovers)


def _write(trained: TrainedEncoder, task: _Task) -> None:
    args, config, images = task.args, task.config, task.images
    training = training_metadata(config, trained.held_out.as_dict() if trained.held_out else {}, task.sources)
    if task.sources["teacher"] == OWN_TEACHER:
        training["teacher"] = checkpoint_hash(task.run_dir / TEACHER)
    teacher = config.model == "teacher"
    weights = args.out if teacher else task.run_dir / WEIGHTS
    write_checkpoint(weights, trained.encoder, config, extent_m=trained.extent_m, training=training)
    if not teacher:
        some = [images[i] for i in range(0, len(images.paths), max(1, len(images.paths) // _COMPARED))]
        export(
            trained.encoder,
            args.out,
            preprocessing=trained.preprocessing,
            images=some,
            training=training,
            batch=args.batch,
        )
    held_out = trained.held_out.as_dict() if trained.held_out else {}
    print("held-out images: " + ", ".join(f"{name} {value:g}" for name, value in held_out.items()))
    size = sum(path.stat().st_size for path in args.out.iterdir() if path.is_file())
    print(f"written: {args.out} ({size / 1e6:.2f} MB)")


def _views(args: argparse.Namespace) -> list[CovisibleImages]:
    """Those of each map."""
    if len(args.map) != len(args.images):
        raise InputError(f"{len(args.map)} --map and {len(args.images)} --images, expected one folder for each map")
    camera = read_camera(args.camera) if args.camera else None
    return [read_views(source, images, camera) for source, images in zip(args.map, args.images, strict=True)]


def _teacher(task: _Task) -> TeacherEncoder | None:
    """The one that is named, or one that is trained for the student; the baselines learn without."""
    args, config = task.args, task.config
    if args.teacher == NO_TEACHER or (args.teacher is None and config.model != "student"):
        return None
    folder = task.run_dir / TEACHER if args.teacher is None else Path(args.teacher)
    if args.teacher is None and not (args.resume and (folder / MANIFEST).is_file()):
        of_teacher, sources = replace(config, model="teacher"), {**task.sources, "teacher": None, "weights": None}
        print("the teacher first:")
        start = Start(resume=args.resume, sources=sources)
        trained = train(task.views, task.images, of_teacher, task.run_dir / TEACHER_RUN, start=start)
        if rank_zero_only.rank == 0:
            training = training_metadata(of_teacher, trained.held_out.as_dict() if trained.held_out else {}, sources)
            write_checkpoint(folder, trained.encoder, of_teacher, extent_m=trained.extent_m, training=training)
        assert isinstance(trained.encoder, TeacherEncoder)
        return trained.encoder
    encoder, _ = read_checkpoint(folder)
    if not isinstance(encoder, TeacherEncoder):
        raise InputError(f"{folder}: holds no teacher; train one with --model teacher")
    return encoder


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("student", __doc__, presets=PRESETS)
    for name, metavar, text in (
        ("--map", "MAP", "a vloc map or a COLMAP model; may be given several times"),
        ("--images", "DIR", "the images that it was built from, one folder for each map"),
    ):
        parser.add_argument(name, type=Path, action="append", required=True, metavar=metavar, help=text)
    parser.add_argument("--model", choices=MODELS, default="student", help="default: %(default)s")
    parser.add_argument("--teacher", metavar="FOLDER", help="what --model teacher wrote, or none")
    parser.add_argument("--pretrained", action="store_true", help="start the backbone from ImageNet's weights (timm)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="start the backbone from these weights")
    parser.add_argument("--batch", type=int, metavar="N", help="export for so many images at a time; any by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
