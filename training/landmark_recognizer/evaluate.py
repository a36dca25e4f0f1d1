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

r"""Evaluate a landmark recogniser on images with known poses, and measure its time.

  python -m training.landmark_recognizer.evaluate --model MODEL --map MAP --images DIR --poses TUM --camera YAML \
      [--json F]

The exported model is run as on a robot. The true landmark of a keypoint follows from the pose: that of the nearest
projected map point with a similar descriptor.
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

from training.data.localized_images import TrainingImage, list_localized_images
from training.framework.command import make_parser, run_command
from training.landmark_recognizer.config import build_config
from training.landmark_recognizer.examples import make_examples
from training.landmark_recognizer.export import OUTPUTS
from training.landmark_recognizer.keypoints import Example
from training.landmark_recognizer.scores import RecognitionScores, Recognize, score_recognition
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.inference.engines import Engine, OnnxRuntime
from vloc_ros.inference.landmark_recognizer import KIND, OnnxLandmarkRecognizer
from vloc_ros.inference.models import read_model
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.output_files import json_at

_NAME = "landmark_recognizer.evaluate"
_WARM_UP = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and print; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


@dataclass(frozen=True, slots=True)
class RecognizerMeasurement:
    """Scores and times of a recogniser.

    Attributes:
        images: number of images.
        scores: over all images.
        threads: of ONNX Runtime.
        median_ms: time for one image, without extraction of its keypoints.
        p95_ms: 95th percentile of that time.
    """

    images: int
    scores: RecognitionScores
    threads: int
    median_ms: float
    p95_ms: float

    def as_dict(self) -> dict[str, float | None]:
        """Flat, for JSON; None for a score without samples."""
        shares = {name: None if np.isnan(share) else share for name, share in self.scores.as_dict().items()}
        times = {"threads": self.threads, "median_ms": self.median_ms, "p95_ms": self.p95_ms}
        return {"images": self.images, **shares, **times}


def _run(args: argparse.Namespace) -> None:
    out = json_at(args.json, key="median_ms") if args.json else None
    landmark_map = read_map(args.map)
    measured = measure_recognizer(
        args.model,
        landmark_map,
        list_localized_images(landmark_map, args.images, args.poses, read_camera(args.camera), scene=args.scene),
        threads=args.threads,
    )
    shares = ", ".join(f"{name} {value:.3f}" for name, value in measured.scores.as_dict().items())
    print(f"{measured.images} images: {shares}")
    print(f"{measured.threads} threads: median {measured.median_ms:.1f} ms, 95 % {measured.p95_ms:.1f} ms")
    if out:
        _write_json(out.path, measured.as_dict())
        print(out)


def measure_recognizer(
    folder: Path, landmark_map: LandmarkMap, images: Sequence[TrainingImage], *, threads: int
) -> RecognizerMeasurement:
    """Score the model in a folder on images of the map that it was trained on.

    Raises:
        InputError: the model has other landmarks than the map.
        ModelError: there is no model, or it is damaged.
    """
    model = read_model(folder, kind=KIND)
    engine = OnnxRuntime(model, threads=threads)
    recognizer = OnnxLandmarkRecognizer(model, engine)
    if not np.array_equal(recognizer.landmark_keys, landmark_map.landmarks.keys):
        raise InputError(f"{folder}: has other landmarks than the map {landmark_map.name}; train it on this map")
    made = make_examples(images, landmark_map, build_config("small", ["images.versions=1"]), progress=bar)
    examples = [versions[0] for versions in made]
    found = score_recognition(
        _wrap_engine(engine), examples, landmark_map.landmarks.parents, keypoints=recognizer.max_keypoints
    )
    most = [example.select(slice(recognizer.max_keypoints)) for example in examples if len(example)]
    for example in most[:_WARM_UP]:
        _wrap_engine(engine)(example.rays, example.descriptors.astype(np.float32))
    times_ms = list(_time_recognition_ms(_wrap_engine(engine), most)) or [float("nan")]
    median, p95 = (float(np.percentile(times_ms, q)) for q in (50, 95))
    return RecognizerMeasurement(len(examples), found, threads, median, p95)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    for name, metavar, text in (
        ("--model", "MODEL", "a model by training.landmark_recognizer.train"),
        ("--map", "MAP", "the map that it was trained on"),
        ("--images", "DIR", "images that were not used to build it"),
        ("--poses", "TUM", "map_from_camera of every image, in name order"),
        ("--camera", "YAML", "camera_info of the images"),
    ):
        parser.add_argument(name, type=Path, required=True, metavar=metavar, help=text)
    parser.add_argument("--scene", default="", metavar="FRAME", help="of the images, where the map has several")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of ONNX Runtime; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="F", help="write the same as JSON")
    return parser.parse_args(arguments)


def _write_json(path: Path, values: Mapping[str, float | None]) -> None:
    write_bytes_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def _wrap_engine(engine: Engine) -> Recognize:
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, Array, Array, Array]:
        outputs = engine.run({"rays": rays, "descriptors": descriptors})
        background, landmarks, probabilities, coarse = (outputs[name] for name in OUTPUTS)
        return background, landmarks, probabilities, coarse

    return recognize


def _time_recognition_ms(recognize: Recognize, examples: Sequence[Example]) -> Iterator[float]:
    for example in examples:
        descriptors = example.descriptors.astype(np.float32)
        start = time.perf_counter()
        recognize(example.rays, descriptors)
        yield (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    sys.exit(main())
