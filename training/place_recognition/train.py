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

"""Train a model of global descriptors: one short descriptor per image, similar for images of the same place.

  python -m training.place_recognition.train DATASET --out MODEL     from positions; options: DATASET --help

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

from training.data.covisible_images import CovisibleImages, join_images
from training.data.image_files import ImageFiles
from training.data.map_images import identify_source, read_map_images
from training.framework.command import (
    add_camera_option,
    make_training_parser,
    name_run_folder,
    report_model,
    run_command,
)
from training.framework.provenance import hash_file, hash_images, training_metadata
from training.framework.run import TrainedNetwork, train
from training.framework.run_folder import LAST, WEIGHTS, check_run_folder, open_run
from training.place_recognition.checkpoints import (
    MANIFEST,
    read_checkpoint,
    read_checkpoint_hash,
    replaces_checkpoint,
    write_checkpoint,
)
from training.place_recognition.config import MODELS, PRESETS, PlaceRecognitionConfig, build_config
from training.place_recognition.encoders import Encoder, InitialWeights, build_encoder, hash_pretrained_weights
from training.place_recognition.export import export
from training.place_recognition.geolocalization import command as geolocalization
from training.place_recognition.task import PlaceRecognitionTask
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import InputError
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera

_NAME = "place_recognition.train"
NO_TEACHER, OWN_TEACHER = "none", "its own"
TEACHER, TEACHER_RUN = "teacher", "teacher.run"
_COMPARED = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure. Of a data set, `geolocalization` does it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and not words[0].startswith("-"):
        if not _is_map(Path(words[0])):
            return geolocalization.main(words)
        words = ["--map", *words]
    return run_command(_NAME, _run, _parse(words))


def _is_map(folder: Path) -> bool:
    """Whether a folder is a map or a COLMAP model, and no data set of images with positions."""
    return any((folder / name).is_file() for name in (MANIFEST, "cameras.bin", "cameras.txt"))


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A command: its configuration and its data.

    Attributes:
        args: arguments of the command.
        config: of the model.
        run_dir: folder of the run.
        views: of all maps.
        files: of the views.
        sources: hashes of the inputs, see `open_run`.
    """

    args: argparse.Namespace
    config: PlaceRecognitionConfig
    run_dir: Path
    views: CovisibleImages
    files: ImageFiles
    sources: Mapping[str, Any]


def _run(args: argparse.Namespace) -> None:
    config, run_dir = build_config(args.preset, args.set, model=args.model), name_run_folder(args)
    _check_outputs(args, config, run_dir)
    parts = _read_views(args)
    sources, views = _identify_sources(args, config, parts), join_images(parts)
    files = ImageFiles.load(views.posed.paths, in_memory=config.fit.in_memory, progress=bar)
    job = _Job(args, config, run_dir, views, files, sources)
    _open_run_once(job)
    teacher = _prepare_teacher(job)
    # if the teacher's training was interrupted, the student's has not started yet
    has_started = args.teacher is not None or teacher is None or (run_dir / LAST).is_file()
    initial = InitialWeights(_is_pretrained(args), args.weights)
    task = PlaceRecognitionTask(views, files, config, teacher=teacher, initial=initial)
    trained = train(task, run_dir, sources=sources, resume=args.resume and has_started)
    if rank_zero_only.rank == 0:
        _write(trained, task, job)


def _check_outputs(args: argparse.Namespace, config: PlaceRecognitionConfig, run_dir: Path) -> None:
    """Check, before the work, that the outputs can be written at its end."""
    if rank_zero_only.rank:  # the first process may be writing already
        return
    if config.model == "teacher":
        replaces_checkpoint(args.out)
    else:
        replaces_model(args.out)
        replaces_checkpoint(run_dir / WEIGHTS)
    check_run_folder(run_dir, args.out, parts=(TEACHER, TEACHER_RUN))


def _identify_sources(
    args: argparse.Namespace, config: PlaceRecognitionConfig, parts: Sequence[CovisibleImages]
) -> dict[str, Any]:
    """The hashes of all inputs."""
    named = args.teacher if args.teacher != NO_TEACHER else None
    own = OWN_TEACHER if args.teacher is None and config.model == "student" else None
    encoder = build_encoder(config, extent_m=1.0) if _is_pretrained(args) else None
    return {
        "maps": [identify_source(folder) for folder in args.map],
        "images": [hash_images(folder, part.posed.paths) for folder, part in zip(args.images, parts, strict=True)],
        "camera": hash_file(args.camera) if args.camera else None,
        "teacher": read_checkpoint_hash(Path(named)) if named else own,
        "weights": hash_pretrained_weights(encoder, args.weights) if encoder else None,
    }


def _is_pretrained(args: argparse.Namespace) -> bool:
    return args.pretrained or args.weights is not None


@rank_zero_only
def _open_run_once(job: _Job) -> None:
    """Open the run before its teacher is trained; a teacher that --teacher names may be in its folder and is kept."""
    leftovers = (TEACHER,) if job.args.teacher in (None, NO_TEACHER) else ()
    open_run(job.run_dir, job.config, job.sources, resume=job.args.resume, leftovers=leftovers)


def _write(trained: TrainedNetwork[Encoder], task: PlaceRecognitionTask, job: _Job) -> None:
    args, config, files = job.args, job.config, job.files
    training = training_metadata(config, trained.held_out, job.sources)
    if job.sources["teacher"] == OWN_TEACHER:
        training["teacher"] = read_checkpoint_hash(job.run_dir / TEACHER)
    is_teacher = config.model == "teacher"
    weights = args.out if is_teacher else job.run_dir / WEIGHTS
    write_checkpoint(weights, trained.network, config, extent_m=task.extent_m, training=training)
    if not is_teacher:
        some = [files[i] for i in range(0, len(files.paths), max(1, len(files.paths) // _COMPARED))]
        export(
            trained.network,
            args.out,
            preprocessing=task.preprocessing,
            images=some,
            training=training,
            batch=args.batch,
        )
    report_model(args.out, trained.held_out)


def _read_views(args: argparse.Namespace) -> list[CovisibleImages]:
    """The views of each map."""
    if len(args.map) != len(args.images):
        raise InputError(f"{len(args.map)} --map and {len(args.images)} --images, expected one folder for each map")
    camera = read_camera(args.camera) if args.camera else None
    return [read_map_images(source, images, camera) for source, images in zip(args.map, args.images, strict=True)]


def _prepare_teacher(job: _Job) -> TeacherEncoder | None:
    """The teacher that --teacher names, or one that is trained here for a student; None for the other models."""
    args, config = job.args, job.config
    if args.teacher == NO_TEACHER or (args.teacher is None and config.model != "student"):
        return None
    folder = job.run_dir / TEACHER if args.teacher is None else Path(args.teacher)
    if args.teacher is None and not (args.resume and (folder / MANIFEST).is_file()):
        return _train_teacher(job, folder)
    encoder, _ = read_checkpoint(folder)
    if not isinstance(encoder, TeacherEncoder):
        raise InputError(f"{folder}: holds no teacher; train one with --model teacher")
    return encoder


def _train_teacher(job: _Job, folder: Path) -> TeacherEncoder:
    """Train a teacher with the student's configuration, and write its weights."""
    config, sources = replace(job.config, model="teacher"), {**job.sources, "teacher": None, "weights": None}
    print("training the teacher first:")
    task = PlaceRecognitionTask(job.views, job.files, config)
    trained = train(task, job.run_dir / TEACHER_RUN, sources=sources, resume=job.args.resume)
    if rank_zero_only.rank == 0:
        training = training_metadata(config, trained.held_out, sources)
        write_checkpoint(folder, trained.network, config, extent_m=task.extent_m, training=training)
    assert isinstance(trained.network, TeacherEncoder)
    return trained.network


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    add_camera_option(parser)
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
