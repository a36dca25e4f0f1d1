"""Train the landmark recogniser of a map: it predicts which landmark of the map each keypoint of an image shows.

  python -m training.recognizer --map MAP --images DIR --out MODEL                  two cores, minutes
  python -m training.recognizer --map MAP --images DIR --preset base --out MODEL    larger, for a GPU

DIR holds the images that the map was built from; nothing else is needed. MODEL is a folder with an ONNX file and a
manifest, which a robot loads without torch. MODEL.run holds the log (progress.txt; tensorboard --logdir), the
configuration and the checkpoints. To resume an interrupted training, repeat the command with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.options import make_training_parser
from training.provenance import training_metadata
from training.recognition.config import PRESETS, build_config
from training.recognition.examples import list_keyframe_images, make_examples
from training.recognition.export import export
from training.recognition.fitting import train
from training.runs import check_run_folder
from training.sources import hash_file, hash_images
from vloc_ros.core.errors import VlocError
from vloc_ros.datasets.keyframe_images import find_keyframe_images
from vloc_ros.inference.models import replaces_model
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.maps import map_hash, read_map


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parse(arguments))
    except VlocError as error:
        print(f"recognizer: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    config = build_config(args.preset, args.set)
    run_dir = args.run or args.out.with_name(f"{args.out.name}.run")
    replaces_model(args.out)
    check_run_folder(run_dir, args.out)
    of_map, landmark_map = map_hash(args.map), read_map(args.map)
    images = list_keyframe_images(landmark_map, args.images, read_camera(args.camera) if args.camera else None)
    examples = make_examples(images, landmark_map, config, progress=bar)
    sources = {
        "map": of_map,
        "images": hash_images(args.images, find_keyframe_images(landmark_map, args.images)),
        "camera": hash_file(args.camera) if args.camera else None,
    }
    trained = train(examples, landmark_map.landmarks, config, run_dir, sources=sources, resume=args.resume)
    held_out = trained.held_out.as_dict() if trained.held_out else {}
    export(
        trained.model,
        landmark_map.landmarks,
        args.out,
        extractor=landmark_map.extractor,
        keypoints=config.fit.keypoints,
        training=training_metadata(config, held_out, sources),
    )
    print("held-out keyframes: " + ", ".join(f"{name} {value:.3f}" for name, value in held_out.items()))
    print(f"written: {args.out} ({sum(path.stat().st_size for path in args.out.iterdir()) / 1e6:.2f} MB)")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_training_parser("recognizer", __doc__, presets=PRESETS)
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="a map by `vloc map build`")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="the images that it was built from, by the keyframes' names: subfolders for an update or a merged map",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
