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

r"""Train a network of place recognition from positions, as the visual geo-localization benchmark does.

  python -m training.place_recognition.train DATASET --out MODEL                 EfficientNet-Lite0, GeM, triplets
  python -m training.place_recognition.train STREETS ROOMS --radii 10 25 --radii 1 2 --out MODEL
  python -m training.place_recognition.train DATASET --backbone resnet18 --weights pretrained --aggregation netvlad \
      --mining full --optimizer adam --learning-rate 1e-5 --size 480 640 --logs logs --out MODEL
  python -m training.place_recognition.train DATASET --teacher models/xfeat --teacher models/large --out MODEL
  python -m training.place_recognition.train MAP --images DIR --out MODEL        a map's student, see the end

DATASET has the benchmark's layout or a places.csv with the splits train and val (`vloc place export`); training stops
when the R@5 of val gets no better. MODEL is an index for `vloc place test --index MODEL` and `vloc map encode`.
MODEL.run, or with --logs a folder LOGS/MODEL/DATE, holds info.log (size, FLOPs, dimension), progress.txt, the
configuration and the checkpoints. To resume, repeat the command with --resume. Several GPUs: --set fit.devices=4.

A student that learns from a map's 3D structure: python -m training.place_recognition.train --map MAP --help
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from training.framework.command import make_training_parser, name_run_folder, report_model, run_command
from training.framework.provenance import training_metadata
from training.framework.run import TrainedNetwork, train
from training.framework.run_folder import check_run_folder
from training.place_recognition.encoders import InitialWeights, hash_pretrained_weights
from training.place_recognition.geolocalization.config import (
    COSPLACE,
    FULL,
    GEM,
    GRID,
    MIXVPR,
    MULTI_SIMILARITY,
    NETVLAD,
    PARTIAL,
    PRESETS,
    RANDOM,
    TRIPLET,
    GeolocalizationConfig,
    build_config,
)
from training.place_recognition.geolocalization.export import check_any_size, export
from training.place_recognition.geolocalization.images import (
    ImageStore,
    PlaceImages,
    Radii,
    open_images,
    read_place_images,
)
from training.place_recognition.geolocalization.network import PlaceNetwork
from training.place_recognition.geolocalization.task import GeolocalizationTask
from training.place_recognition.geolocalization.teachers import VLAD_SIFT, describe_by_teachers
from vloc_ros.core.errors import InputError
from vloc_ros.datasets.place_recognition.place_images import QUERIES
from vloc_ros.inference.models import read_kind, read_model, replaces_model
from vloc_ros.progress import bar

_NAME = "place_recognition.train"
_PRETRAINED, _NONE = "pretrained", "none"
_DATE = "%Y-%m-%d_%H-%M-%S"
_COMPARED = 8
# options that stand for a parameter of --set
_SHORTHANDS = {
    "backbone": "network.backbone",
    "aggregation": "network.aggregation",
    "loss": "loss.kind",
    "mining": "tuples.mining",
    "optimizer": "fit.optimizer",
    "learning_rate": "fit.learning_rate",
    "weight_decay": "fit.weight_decay",
}


def main(arguments: Sequence[str]) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """A split that was read: its images, and where they are."""

    images: PlaceImages
    store: ImageStore


def _run(args: argparse.Namespace) -> None:
    config, run_dir = _build_config(args), _name_run_folder(args)
    if args.logs and config.fit.devices * config.fit.nodes > 1:
        raise InputError("--logs names a folder by the time, which several processes do not share; give --run")
    initial = InitialWeights(args.weights != _NONE, _weights_file(args.weights))
    if args.any_size:
        check_any_size(config.network)
    if not rank_zero_only.rank:  # the first process may be writing already
        replaces_model(args.out)
        check_run_folder(run_dir, args.out)
    weights = hash_pretrained_weights(PlaceNetwork(config.network), initial.path) if initial.pretrained else None
    train_split, val_split = (_read(args, split, config) for split in ("train", "val"))
    targets = describe_by_teachers(args.teacher, train_split.images.paths, progress=bar) if args.teacher else None
    task = GeolocalizationTask(
        (train_split.images, train_split.store),
        (val_split.images, val_split.store),
        config,
        initial=initial,
        targets=targets,
    )
    print(f"train: {len(train_split.images)} images, {len(task.miner.queries)} queries with a positive, "
          f"{task.miner.dropped} without are left out; val: {len(val_split.images)} images")  # fmt: skip
    sources = {
        "images": [_hash_images(split.images) for split in (train_split, val_split)],
        "weights": weights,
        "teachers": [name if name == VLAD_SIFT else _read_model_hash(Path(name)) for name in args.teacher],
    }
    trained = train(task, run_dir, sources=sources, resume=args.resume)
    if not rank_zero_only.rank:
        _write(args, task, trained, sources)


def _write(
    args: argparse.Namespace, task: GeolocalizationTask, trained: TrainedNetwork[PlaceNetwork], sources: dict[str, Any]
) -> None:
    export(
        trained.network,
        args.out,
        preprocessing=task.preprocessing,
        images=task.sample_images(_COMPARED),
        training=training_metadata(task.config, trained.held_out, sources),
        any_size=args.any_size,
    )
    report_model(args.out, trained.held_out)


def _build_config(args: argparse.Namespace) -> GeolocalizationConfig:
    given = {parameter: getattr(args, name) for name, parameter in _SHORTHANDS.items()}
    if args.size:
        given |= {"network.height": args.size[0], "network.width": args.size[1]}
    assignments = [f"{name}={value}" for name, value in given.items() if value is not None]
    return build_config(args.preset, [*assignments, *args.set])


def _name_run_folder(args: argparse.Namespace) -> Path:
    """The folder of the run; with --logs LOGS/MODEL/DATE, the newest one to resume."""
    if not args.logs:
        return name_run_folder(args)
    if args.run:
        raise InputError("found --run and --logs, expected one of them")
    folder: Path = args.logs / args.out.name
    if not args.resume:
        return folder / datetime.now(timezone.utc).strftime(_DATE)
    runs = sorted(path for path in folder.glob("*") if path.is_dir())
    if not runs:
        raise InputError(f"{folder}: holds no run to resume; start one without --resume")
    return runs[-1]


def _weights_file(weights: str) -> Path | None:
    """The file of weights that are given by their path."""
    return None if weights in (_NONE, _PRETRAINED) else Path(weights)


def _read(args: argparse.Namespace, split: str, config: GeolocalizationConfig) -> _Split:
    """The images of a split; damaged ones are named, counted and left out.

    Raises:
        InputError: there are none, or none can be read.
    """
    radii = [Radii(*pair) for pair in args.radii or [[10.0, 25.0]]]
    if len(radii) not in (1, len(args.dataset)):
        raise InputError(f"{len(radii)} --radii for {len(args.dataset)} data sets, expected one, or one for each")
    radii = radii * len(args.dataset) if len(radii) == 1 else radii
    queries = args.val_queries or [QUERIES] if split == "val" else [QUERIES]
    found = read_place_images(args.dataset, split, radii, queries=queries)
    usable, store, damaged = open_images(found, config.network.size, in_memory=config.fit.in_memory, progress=bar)
    for message in damaged:
        print(f"{_NAME}: warning: left out: {message}", file=sys.stderr)
    if damaged:
        print(f"{split}: {len(damaged)} of {len(found)} images are damaged and left out")
    for number, folder in enumerate(args.dataset):
        for role, is_query in (("database", False), ("queries", True)):
            if not ((usable.datasets == number) & (usable.is_query == is_query)).any():
                raise InputError(f"{folder}: no image of {split}/{role} can be read, expected some")
    return _Split(usable, store)


def _read_model_hash(folder: Path) -> str:
    return str(read_model(folder, kind=read_kind(folder)).entry("hash"))


def _hash_images(images: PlaceImages) -> str:
    """SHA-256 of names, sizes in bytes and labels of images, whose content is not hashed."""
    digest = hashlib.sha256()
    for path in images.paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
    for part in (images.positions, images.headings, images.datasets, images.is_query):
        digest.update(part.tobytes())
    digest.update(repr(images.radii).encode())
    return digest.hexdigest()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    parser.add_argument("dataset", type=Path, nargs="+", metavar="DATASET", help="with the splits train and val")
    parser.add_argument("--backbone", metavar="NAME", help="efficientnet-lite0, crossvit, or of timm")
    parser.add_argument("--aggregation", choices=(GEM, NETVLAD, MIXVPR, GRID), help=f"default: {GEM}")
    parser.add_argument(
        "--weights", default=_PRETRAINED, metavar=f"{_PRETRAINED}|{_NONE}|FILE", help="default: %(default)s (ImageNet)"
    )
    parser.add_argument("--loss", choices=(TRIPLET, MULTI_SIMILARITY, COSPLACE), help=f"default: {TRIPLET}")
    parser.add_argument("--mining", choices=(FULL, PARTIAL, RANDOM), help=f"default: {PARTIAL}")
    parser.add_argument("--optimizer", metavar="NAME", help="adamw, adam, asgd or sgd")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="largest")
    parser.add_argument("--weight-decay", type=float, metavar="D")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the input, in pixels")
    parser.add_argument(
        "--radii",
        type=float,
        nargs=2,
        action="append",
        metavar=("P", "N"),
        help="metres within which images show one place, and beyond which they do not; of each data set (10 25)",
    )
    parser.add_argument("--val-queries", action="append", metavar="NAME", help="sets of queries of val; repeatable")
    parser.add_argument(
        "--teacher", action="append", default=[], metavar=f"{VLAD_SIFT}|MODEL", help="distil from these; repeatable"
    )
    parser.add_argument("--any-size", action="store_true", help="export for images of any size, as --scales needs it")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="write the run to DIR/MODEL/DATE")
    return parser.parse_args(arguments)
