"""How well does a recogniser do on images with known poses, and how long does it take?

  python -m training.recognizer_scores --model MODEL --map MAP --images DIR --poses TUM --camera YAML [--json F]

What runs is the exported model, as a robot runs it. What a keypoint really shows follows from the pose: the nearest
point of the map that appears there and looks like it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.recognition.batches import Example
from training.recognition.config import chosen_config
from training.recognition.examples import TrainingImage, examples_of
from training.recognition.export import OUTPUTS
from training.recognition.scores import Recognize, Scores, scores
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.inference.engines import Engine, OnnxRuntime
from vloc_ros.inference.landmark_recognizer import KIND, OnnxLandmarkRecognizer
from vloc_ros.inference.models import read_model
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.output_files import json_at
from vloc_ros.storage.trajectories import paired_with_images, read_tum

_WARM_UP = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and print; 0 when it worked, 1 for an expected failure."""
    try:
        return _run(_parsed(arguments))
    except VlocError as error:
        print(f"recognizer_scores: {error}", file=sys.stderr)
        return 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What a recogniser does on images, and how long it takes for one.

    Attributes:
        images: that were scored.
        scores: all images together.
        threads: of ONNX Runtime.
        median_ms, p95_ms: of one image, without its keypoints.
    """

    images: int
    scores: Scores
    threads: int
    median_ms: float
    p95_ms: float

    def as_dict(self) -> dict[str, float | None]:
        """Flat, for JSON; None for what there was nothing to count of."""
        shares = {name: None if np.isnan(share) else share for name, share in self.scores.as_dict().items()}
        times = {"threads": self.threads, "median_ms": self.median_ms, "p95_ms": self.p95_ms}
        return {"images": self.images, **shares, **times}


def _run(args: argparse.Namespace) -> int:
    out = json_at(args.json, key="median_ms") if args.json else None
    landmark_map = read_map(args.map)
    measured = measure(args.model, landmark_map, list(_images(args, landmark_map)), threads=args.threads)
    shares = ", ".join(f"{name} {value:.3f}" for name, value in measured.scores.as_dict().items())
    print(f"{measured.images} images: {shares}")
    print(f"{measured.threads} threads: median {measured.median_ms:.1f} ms, 95 % {measured.p95_ms:.1f} ms")
    if out:
        _write_json(out.path, measured.as_dict())
        print(out)
    return 0


def measure(folder: Path, landmark_map: LandmarkMap, images: Sequence[TrainingImage], *, threads: int) -> Measured:
    """Score the model in a folder on images of the map that it was trained on.

    Raises:
        InputError: it is of other landmarks than the map's.
        ModelError: there is no model, or it is damaged.
    """
    model = read_model(folder, kind=KIND)
    engine = OnnxRuntime(model, threads=threads)
    recognizer = OnnxLandmarkRecognizer(model, engine)
    if not np.array_equal(recognizer.landmark_keys, landmark_map.landmarks.keys):
        raise InputError(f"{folder}: is of other landmarks than the map {landmark_map.name}; train it on this map")
    made = examples_of(images, landmark_map, chosen_config("small", ["images.versions=1"]), progress=bar)
    examples = [versions[0] for versions in made]
    found = scores(_asking(engine), examples, landmark_map.landmarks.parents, keypoints=recognizer.max_keypoints)
    most = [example.some(slice(recognizer.max_keypoints)) for example in examples if len(example)]
    for example in most[:_WARM_UP]:
        _asking(engine)(example.rays, example.descriptors.astype(np.float32))
    times_ms = list(_times_ms(_asking(engine), most)) or [float("nan")]
    median, p95 = (float(np.percentile(times_ms, q)) for q in (50, 95))
    return Measured(len(examples), found, threads, median, p95)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.recognizer_scores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, metavar, text in (
        ("--model", "MODEL", "what training.recognizer wrote"),
        ("--map", "MAP", "the map that it was trained on"),
        ("--images", "DIR", "images that were not used to build it"),
        ("--poses", "TUM", "map_from_camera of every image, in name order"),
        ("--camera", "YAML", "camera_info of the images"),
    ):
        parser.add_argument(name, type=Path, required=True, metavar=metavar, help=text)
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of ONNX Runtime; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="F", help="write the same as JSON")
    return parser.parse_args(arguments)


def _images(args: argparse.Namespace, landmark_map: LandmarkMap) -> Iterator[TrainingImage]:
    """Every image, which may show any point of the map."""
    camera, paths, truth = read_camera(args.camera), list_images(args.images), read_tum(args.poses)
    paired_with_images(truth, paths, poses_path=args.poses)
    points = np.arange(len(landmark_map.points))
    for path, pose in zip(paths, truth.poses, strict=True):
        yield TrainingImage(path.name, lambda path=path: read_image(path), camera, pose, points)


def _write_json(path: Path, values: Mapping[str, float | None]) -> None:
    write_bytes_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def _asking(engine: Engine) -> Recognize:
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, Array, Array, Array]:
        answer = engine.run({"rays": rays, "descriptors": descriptors})
        background, landmarks, probabilities, coarse = (answer[name] for name in OUTPUTS)
        return background, landmarks, probabilities, coarse

    return recognize


def _times_ms(recognize: Recognize, examples: Sequence[Example]) -> Iterator[float]:
    for example in examples:
        descriptors = example.descriptors.astype(np.float32)
        start = time.perf_counter()
        recognize(example.rays, descriptors)
        yield (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    sys.exit(main())
