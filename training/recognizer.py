"""Train the recogniser of a map: of every keypoint of an image, which landmark of the map it shows.

  python -m training.recognizer --map MAP --images DIR --out MODEL                  on two cores, minutes
  python -m training.recognizer --map MAP --images DIR --preset base --out MODEL    larger, for a GPU

DIR holds the images that the map was built from; nothing else is needed. MODEL is a folder with an ONNX file and a
manifest, which a robot loads without torch. Beside it, MODEL.run holds the log (tensorboard --logdir), the
configuration and the checkpoints; an interrupted training goes on with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.options import training_parser
from training.provenance import training_metadata
from training.recognition.config import PRESETS, chosen_config
from training.recognition.examples import examples_of, images_of_keyframes
from training.recognition.export import export
from training.recognition.fitting import train
from training.runs import check_run_folder
from training.sources import file_hash, images_hash
from vloc_ros.core.errors import VlocError
from vloc_ros.inference.models import replaces_model
from vloc_ros.mapping.indexing.keyframe_images import keyframe_paths
from vloc_ros.progress import bar
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.maps import map_hash, read_map


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parsed(arguments))
    except VlocError as error:
        print(f"recognizer: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    config = chosen_config(args.preset, args.set)
    run_dir = args.run or args.out.with_name(f"{args.out.name}.run")
    replaces_model(args.out)
    check_run_folder(run_dir, args.out)
    of_map, landmark_map = map_hash(args.map), read_map(args.map)
    images = images_of_keyframes(landmark_map, args.images, read_camera(args.camera) if args.camera else None)
    examples = examples_of(images, landmark_map, config, progress=bar)
    sources = {
        "map": of_map,
        "images": images_hash(args.images, keyframe_paths(landmark_map, args.images)),
        "camera": file_hash(args.camera) if args.camera else None,
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


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("recognizer", __doc__, presets=PRESETS)
    parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="what `vloc map build` wrote")
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
