"""Train a model of global descriptors: one short descriptor per image, similar for images of the same place.

  python -m training.place_recognition.train --map MAP --images DIR --preset small --out MODEL    two cores, minutes
  python -m training.place_recognition.train --map MAP --images DIR --preset base --out MODEL     larger, for a GPU

MAP is a map by `vloc map build` or the folder of a COLMAP model; DIR holds the images that it was built from. For
several maps, repeat --map and --images; images of different maps are negatives. A student learns from the labels and
from a teacher that sees the map's 3D structure. The teacher is trained first, unless --teacher names one or is none.

MODEL is a folder with an ONNX file and a manifest, which a robot loads without torch (for a teacher: its weights).
MODEL.run holds the log (progress.txt; tensorboard --logdir), the configuration, the weights and the last epoch's
checkpoint. To resume an interrupted training, repeat the command with --resume. Several GPUs: --set fit.devices=4,
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

from training.options import make_training_parser
from training.place_recognition.checkpoints import (
    MANIFEST,
    read_checkpoint,
    read_checkpoint_hash,
    replaces_checkpoint,
    write_checkpoint,
)
from training.place_recognition.config import MODELS, PRESETS, PlaceRecognitionConfig, build_config
from training.place_recognition.data import ViewImages
from training.place_recognition.encoders import build_encoder, hash_pretrained_weights
from training.place_recognition.export import export
from training.place_recognition.fitting import Start, TrainedEncoder, train
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages, identify_source, join_views, read_views
from training.provenance import training_metadata
from training.runs import LAST, TEACHER, TEACHER_RUN, WEIGHTS, check_run_folder, open_run
from training.sources import hash_file, hash_images
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera

NO_TEACHER, OWN_TEACHER = "none", "its own"
_COMPARED = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parse(arguments))
    except VlocError as error:
        print(f"place_recognition.train: {error}", file=sys.stderr)
        return 1


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A training: its configuration and its data.

    Attributes:
        args: arguments of the command.
        config: of the model.
        run_dir: folder of the run.
        views: of all maps.
        images: of the views.
        sources: hashes of the inputs, see `training.runs.open_run`.
    """

    args: argparse.Namespace
    config: PlaceRecognitionConfig
    run_dir: Path
    views: CovisibleImages
    images: ViewImages
    sources: Mapping[str, Any]


def _run(args: argparse.Namespace) -> int:
    config = build_config(args.preset, args.set, model=args.model)
    run_dir = args.run or args.out.with_name(f"{args.out.name}.run")
    _check_outputs(args, config, run_dir)
    parts = _read_views(args)
    sources, views = _identify_sources(args, config, parts), join_views(parts)
    task = _Task(
        args, config, run_dir, views, ViewImages.load(views, in_memory=config.fit.in_memory, progress=bar), sources
    )
    _open_run_once(task)
    teacher = _prepare_teacher(task)
    # if the teacher's training was interrupted, the student's has not started yet
    has_started = args.teacher is not None or teacher is None or (run_dir / LAST).is_file()
    start = Start(teacher, _is_pretrained(args), args.weights, args.resume and has_started, sources)
    trained = train(views, task.images, config, run_dir, start=start)
    if rank_zero_only.rank == 0:
        _write(trained, task)
    return 0


def _check_outputs(args: argparse.Namespace, config: PlaceRecognitionConfig, run_dir: Path) -> None:
    """Check, before the work, that the outputs can be written at its end."""
    if rank_zero_only.rank:  # the first process may be writing already
        return
    if config.model == "teacher":
        replaces_checkpoint(args.out)
    else:
        replaces_model(args.out)
        replaces_checkpoint(run_dir / WEIGHTS)
    check_run_folder(run_dir, args.out)


def _identify_sources(
    args: argparse.Namespace, config: PlaceRecognitionConfig, parts: Sequence[CovisibleImages]
) -> dict[str, Any]:
    """The hashes of all inputs."""
    named = args.teacher if args.teacher != NO_TEACHER else None
    own = OWN_TEACHER if args.teacher is None and config.model == "student" else None
    encoder = build_encoder(config, extent_m=1.0) if _is_pretrained(args) else None
    return {
        "maps": [identify_source(folder) for folder in args.map],
        "images": [hash_images(folder, part.paths) for folder, part in zip(args.images, parts, strict=True)],
        "camera": hash_file(args.camera) if args.camera else None,
        "teacher": read_checkpoint_hash(Path(named)) if named else own,
        "weights": hash_pretrained_weights(encoder, args.weights) if encoder else None,
    }


def _is_pretrained(args: argparse.Namespace) -> bool:
    return args.pretrained or args.weights is not None


@rank_zero_only
def _open_run_once(task: _Task) -> None:
    """Open the run before its teacher is trained; a teacher that --teacher names may be in its folder and is kept."""
    leftovers = (TEACHER,) if task.args.teacher in (None, NO_TEACHER) else ()
    open_run(task.run_dir, task.config, task.sources, resume=task.args.resume, leftovers=leftovers)


def _write(trained: TrainedEncoder, task: _Task) -> None:
    args, config, images = task.args, task.config, task.images
    training = training_metadata(config, trained.held_out.as_dict() if trained.held_out else {}, task.sources)
    if task.sources["teacher"] == OWN_TEACHER:
        training["teacher"] = read_checkpoint_hash(task.run_dir / TEACHER)
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


def _read_views(args: argparse.Namespace) -> list[CovisibleImages]:
    """The views of each map."""
    if len(args.map) != len(args.images):
        raise InputError(f"{len(args.map)} --map and {len(args.images)} --images, expected one folder for each map")
    camera = read_camera(args.camera) if args.camera else None
    return [read_views(source, images, camera) for source, images in zip(args.map, args.images, strict=True)]


def _prepare_teacher(task: _Task) -> TeacherEncoder | None:
    """The teacher that --teacher names, or one that is trained here for a student; None for the other models."""
    args, config = task.args, task.config
    if args.teacher == NO_TEACHER or (args.teacher is None and config.model != "student"):
        return None
    folder = task.run_dir / TEACHER if args.teacher is None else Path(args.teacher)
    if args.teacher is None and not (args.resume and (folder / MANIFEST).is_file()):
        of_teacher, sources = replace(config, model="teacher"), {**task.sources, "teacher": None, "weights": None}
        print("training the teacher first:")
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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser("place_recognition.train", __doc__, presets=PRESETS)
    for name, metavar, text in (
        ("--map", "MAP", "a vloc map or a COLMAP model; may be repeated"),
        ("--images", "DIR", "the images that it was built from, one folder per map"),
    ):
        parser.add_argument(name, type=Path, action="append", required=True, metavar=metavar, help=text)
    parser.add_argument("--model", choices=MODELS, default="student", help="default: %(default)s")
    parser.add_argument("--teacher", metavar="FOLDER", help="folder written with --model teacher, or none")
    parser.add_argument("--pretrained", action="store_true", help="initialise the backbone from ImageNet (timm)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="initialise the backbone with these weights")
    parser.add_argument("--batch", type=int, metavar="N", help="fixed batch size of the export; dynamic by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
