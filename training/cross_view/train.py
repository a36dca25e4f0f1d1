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

r"""Phase 1 of cross-view retrieval: one descriptor for the views of a place from a drone, a satellite or the street.

  python -m training.cross_view.train DATASET --out MODEL                         two cores, minutes
  python -m training.cross_view.train DATASET --preset seed --weights swin.pth --clip clip.pth --dinov2 dinov2.pth \
      --out MODEL                                                                 for a GPU
  python -m training.cross_view.train DATASET --config my.yaml --views street satellite --out MODEL

DATASET has University-1652's layout (training/cross_view/layout.py), perhaps with positions.csv; `inspect` shows what
it holds, `simulate` makes one. MODEL is an index for `vloc place test --index MODEL` and `vloc map encode`; MODEL.run
holds the log, the configuration and the checkpoints. To resume, repeat the command with --resume. Every view is encoded
alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from training.cross_view.config import PRESETS, CrossViewConfig, read_config
from training.cross_view.layout import TRAIN, VIEWS, ViewImages, hold_out, read_views
from training.cross_view.network import CrossViewNetwork
from training.cross_view.task import CrossViewTask, Side
from training.cross_view.teachers import TEACHERS, describe_by_teacher
from training.framework.command import make_training_parser, name_run_folder, report_model, run_command
from training.framework.provenance import hash_file, hash_images, training_metadata
from training.framework.run import train
from training.framework.run_folder import check_run_folder
from training.place_recognition.encoders import InitialWeights, hash_pretrained_weights
from training.place_recognition.geolocalization.export import export
from training.place_recognition.geolocalization.images import open_images
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar

_NAME = "cross_view.train"
_PRETRAINED, _NONE = "pretrained", "none"
_COMPARED = 8


def main() -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse())


def _run(args: argparse.Namespace) -> None:
    config, run_dir = read_config(args.config or args.preset, CrossViewConfig, args.set), name_run_folder(args)
    path = None if args.weights in (_NONE, _PRETRAINED) else Path(args.weights)
    initial = InitialWeights(args.weights != _NONE, path)
    if not rank_zero_only.rank:  # the first process may be writing already
        replaces_model(args.out)
        check_run_folder(run_dir, args.out)
    empty = CrossViewNetwork(config, pretrained=False, teachers={})
    weights = hash_pretrained_weights(empty.encoder, path) if initial.pretrained else None
    teachers = {name: getattr(args, name) for name in TEACHERS if getattr(args, name)}
    sides = [
        open_side(read_views(args.dataset, TRAIN, view, is_query=k == 0), config, empty.encoder.size, teachers)
        for k, view in enumerate(args.views)
    ]
    training, val = split_sides((sides[0], sides[1]), config.fit.held_out)
    task = CrossViewTask(training, val, config, initial=initial)
    print(f"train: {len(task.miner.queries)} queries, {len(training[1].images)} in the gallery; held out: "
          f"{len(val[0].images) if val else 0} and {len(val[1].images) if val else 0}")  # fmt: skip
    sources = {
        "images": [hash_images(args.dataset, side.images.paths) for side in sides],
        "views": list(args.views),
        "weights": weights,
        "teachers": {name: hash_file(file) for name, file in teachers.items()},
    }
    trained = train(task, run_dir, sources=sources, resume=args.resume)
    if not rank_zero_only.rank:
        export(
            trained.network.encoder,
            args.out,
            preprocessing=task.preprocessing,
            images=task.sample_images(_COMPARED),
            training=training_metadata(config, trained.held_out, sources),
        )
        report_model(args.out, trained.held_out)


def open_side(images: ViewImages, config: CrossViewConfig, size: tuple[int, int], teachers: Mapping[str, Path]) -> Side:
    """The images of a view that can be read, described by each teacher; the others are named.

    Raises:
        InputError: none can be read.
    """
    usable, store, damaged = open_images(images, size, in_memory=config.fit.in_memory, progress=bar)
    for message in damaged:
        print(f"{_NAME}: warning: left out: {message}", file=sys.stderr)
    if not len(usable):
        raise InputError(f"{images.paths[0].parent.parent}: none of {len(images)} images can be read, expected some")
    return Side(usable, store, {name: describe_by_teacher(name, file, store) for name, file in teachers.items()})


def split_sides(sides: tuple[Side, Side], share: float) -> tuple[tuple[Side, Side], tuple[Side, Side] | None]:
    """What is trained on, and what is held out: whole regions of the gallery where they are known, else places."""
    queries, gallery = (side.images for side in sides)
    names = [one.regions if all(gallery.regions) and all(queries.regions) else one.places for one in (queries, gallery)]
    held = np.unique(names[1][hold_out(names[1], share)])
    out = [np.isin(of, held) for of in names]
    if not all(one.any() for one in out):
        return sides, None
    return _select(sides, [~one for one in out]), _select(sides, out)


def _select(sides: tuple[Side, Side], kept: list[Array]) -> tuple[Side, Side]:
    queries, gallery = (side.select(np.flatnonzero(one)) for side, one in zip(sides, kept, strict=True))
    return queries, gallery


def _parse() -> argparse.Namespace:
    parser = make_training_parser(_NAME, __doc__, presets=PRESETS)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="with the split train, or the views themselves")
    parser.add_argument("--config", type=Path, metavar="YAML", help="instead of a preset")
    parser.add_argument(
        "--views", nargs=2, choices=VIEWS, default=("drone", "satellite"), metavar=("QUERY", "GALLERY"),
        help="of which pairs are made; default: drone satellite",
    )  # fmt: skip
    parser.add_argument(
        "--weights", default=_PRETRAINED, metavar=f"{_PRETRAINED}|{_NONE}|FILE", help="default: %(default)s (ImageNet)"
    )
    for name, teacher in TEACHERS.items():
        parser.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"weights of {teacher.architecture} of timm: a teacher"
        )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
