"""Train a place encoder: of an image, a short descriptor that is near to those of images that show the same place.

  python -m training.student --map MAP --images DIR --preset small --out MODEL      on two cores, minutes
  python -m training.student --map MAP --images DIR --preset base --out MODEL       larger, for a GPU

MAP is what `vloc map build` wrote, or the folder of a COLMAP model; DIR holds the images that it was built from.
Several maps are given as several --map and --images; they share nothing. A student learns from the labels and from a
teacher that sees the map's 3D structure, which is trained first, unless --teacher names one or says none.

MODEL is a folder with an ONNX file and a manifest, which a robot loads without torch (of a teacher: its weights).
Beside it, MODEL.run holds the log (tensorboard --logdir), the configuration, the weights and the last epoch's
checkpoint; an interrupted training goes on with --resume. Several GPUs: --set fit.devices=4, or torchrun or Slurm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from training.places.checkpoints import MANIFEST, read_checkpoint, write_checkpoint
from training.places.config import MODELS, PRESETS, PlacesConfig, chosen_config
from training.places.data import Images
from training.places.export import export
from training.places.fitting import Start, Trained, train
from training.places.teacher import TeacherEncoder
from training.places.views import Views, joined, read_views
from training.provenance import bar, revision
from training.runs import LAST
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.manifests import MANIFEST as MAP_MANIFEST
from vloc_ros.storage.maps import map_hash
from vloc_ros.storage.text import read_text

NO_TEACHER = "none"
_COMPARED = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parsed(arguments))
    except VlocError as error:
        print(f"student: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    config = chosen_config(args.preset, args.set, model=args.model)
    views = _views(args)
    images = Images.of(views, in_memory=config.fit.in_memory, progress=bar)
    run_dir = args.run or args.out.with_name(f"{args.out.name}.run")
    teacher = _teacher(args, config, views, images, run_dir)
    # where the teacher's training was interrupted, the student's has not begun
    begun = args.teacher is not None or teacher is None or (run_dir / LAST).is_file()
    start = Start(teacher, args.pretrained or args.weights is not None, args.weights, args.resume and begun)
    trained = train(views, images, config, run_dir, start=start)
    if rank_zero_only.rank == 0:
        _write(trained, args, config, images, run_dir)
    return 0


def _write(trained: Trained, args: argparse.Namespace, config: PlacesConfig, images: Images, run_dir: Path) -> None:
    training = _provenance(config, trained, args.map)
    teacher = config.model == "teacher"
    weights = args.out if teacher else run_dir / "weights"
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


def _views(args: argparse.Namespace) -> Views:
    if len(args.map) != len(args.images):
        raise InputError(f"{len(args.map)} --map and {len(args.images)} --images, expected one folder for each map")
    camera = read_camera(args.camera) if args.camera else None
    return joined([read_views(source, images, camera) for source, images in zip(args.map, args.images, strict=True)])


def _teacher(
    args: argparse.Namespace, config: PlacesConfig, views: Views, images: Images, run_dir: Path
) -> TeacherEncoder | None:
    """The one that is named, or one that is trained for the student; the baselines learn without."""
    if args.teacher == NO_TEACHER or (args.teacher is None and config.model != "student"):
        return None
    folder = run_dir / "teacher" if args.teacher is None else Path(args.teacher)
    if args.teacher is None and not (args.resume and (folder / MANIFEST).is_file()):
        run = run_dir / "teacher.run"
        of_teacher = replace(config, model="teacher")
        print("the teacher first:")
        trained = train(views, images, of_teacher, run, start=Start(resume=args.resume))
        if rank_zero_only.rank == 0:
            provenance = _provenance(of_teacher, trained, args.map)
            write_checkpoint(folder, trained.encoder, of_teacher, extent_m=trained.extent_m, training=provenance)
        assert isinstance(trained.encoder, TeacherEncoder)
        return trained.encoder
    encoder, _ = read_checkpoint(folder)
    if not isinstance(encoder, TeacherEncoder):
        raise InputError(f"{folder}: holds no teacher; train one with --model teacher")
    return encoder


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.student", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, metavar, text in (
        ("--map", "MAP", "a vloc map or a COLMAP model; may be given several times"),
        ("--images", "DIR", "the images that it was built from, one folder for each map"),
    ):
        parser.add_argument(name, type=Path, action="append", required=True, metavar=metavar, help=text)
    parser.add_argument("--camera", type=Path, metavar="YAML", help="of the images, where a map does not know it")
    parser.add_argument("--model", choices=MODELS, default="student", help="default: %(default)s")
    parser.add_argument("--teacher", metavar="FOLDER", help="what --model teacher wrote, or none")
    parser.add_argument("--pretrained", action="store_true", help="start the backbone from ImageNet's weights (timm)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="start the backbone from these weights")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, such as fit.epochs=20"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="export for so many images at a time; any by default")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    parser.add_argument("--run", type=Path, metavar="DIR", help="log and checkpoints; MODEL.run by default")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch")
    return parser.parse_args(arguments)


def _provenance(config: PlacesConfig, trained: Trained, maps: Sequence[Path]) -> dict[str, Any]:
    """How a model came about, for its manifest."""
    held_out = trained.held_out.as_dict() if trained.held_out else {}
    return {
        "config": asdict(config),
        # where nothing was counted there is no share, and JSON has no NaN
        "metrics": {"held_out": {name: None if value != value else value for name, value in held_out.items()}},
        "maps": [_named(folder) for folder in maps],
        "git": revision(),
        "seed": config.fit.seed,
    }


def _named(folder: Path) -> dict[str, str | None]:
    """What a map is called, and which state of it was learned from."""
    path = folder / MAP_MANIFEST
    if not path.is_file():
        return {"name": folder.resolve().name, "hash": None}
    return {"name": json.loads(read_text(path)).get("name") or folder.resolve().name, "hash": map_hash(folder)}


if __name__ == "__main__":
    sys.exit(main())
