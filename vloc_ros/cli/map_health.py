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

"""Show how good each landmark of a map is, worst first.

  vloc map health MAP                                             size, points, from how many keyframes
  vloc map health MAP --images DIR --poses TUM --camera YAML      how often it is recognised, and with what confused
  vloc map health MAP --images ... --recognizer MODEL             by a trained model instead of the nearest points

Images should be others than those that the map was built from. Poses are TUM rows of map_from_camera, one per image in
name order. Of each image the strongest keypoints are classified: a landmark is visible where five or more show it, and
recognised there when more of them name it than any other.

Marked are landmarks with fewer than 15 points, seen by fewer than 3 keyframes or by none that stands for the map;
confused ones, of whose keypoints a fifth or more is taken for one other landmark; and those that are rarely recognised,
of whose keypoints less than half is classified correctly.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from math import degrees
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.camera_options import add_camera, explain_missing_camera, has_camera, read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.localizer_options import add_inference_option, inference_from
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.mapping.landmarks.health import LandmarkHealth
    from vloc_ros.mapping.landmarks.observations import LandmarkClassifier, LandmarkObservations, PosedFeatures

_HEADER = (
    "landmark",
    "coarse",
    "points",
    "keyframes",
    "references",
    "extent",
    "classified correctly",
    "else mostly",
    "",
)
_OF_IMAGES = slice(6, 8)


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images of the mapped place")
    parser.add_argument("--poses", type=Path, metavar="TUM", help="map_from_camera of every image")
    add_camera(parser)
    parser.add_argument("--scene", default="", metavar="FRAME", help="of the images, where the map has several")
    parser.add_argument(
        "--recognizer", type=Path, metavar="MODEL", help="folder of a landmark recogniser that was trained on the map"
    )
    add_inference_option(parser)
    parser.add_argument(
        "--rows", type=int, default=20, metavar="N", help="rows of the table, worst first (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write all landmarks as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table, and write the file."""
    from vloc_ros.mapping.landmarks.health import landmark_health
    from vloc_ros.storage.maps import read_map
    from vloc_ros.storage.output_files import json_at

    check_options(args)
    out = json_at(args.json, key="summary") if args.json else None
    landmark_map = read_map(args.map)
    rows = landmark_health(landmark_map, _observe(args, landmark_map) if args.images else None)
    print(format_table(rows[: args.rows], with_images=args.images is not None))
    if len(rows) > args.rows:
        print(f"and {len(rows) - args.rows} more, no worse; --rows {len(rows)} shows all")
    print(format_summary(rows))
    if not args.images:
        print("how well they are recognised: --images DIR --poses TUM --camera YAML")
    if out:
        write_json(out.path, rows)
        print(out)
    return 0


def check_options(args: argparse.Namespace) -> None:
    """What argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.rows < 1:
        raise InputError(f"--rows is {args.rows}, expected 1 or more")
    if args.images and not args.poses:
        raise InputError("--images without --poses, expected --images DIR --poses TUM --camera YAML")
    if args.images and not has_camera(args):
        raise InputError(explain_missing_camera(args))
    with_images = {"--poses": args.poses, "--camera": args.camera, "--focal": args.focal}
    needless = {**with_images, "--recognizer": args.recognizer, "--scene": args.scene}
    if not args.images and (given := [name for name, value in needless.items() if value not in (None, "")]):
        raise InputError(f"{given[0]} without --images, expected --images DIR --poses TUM --camera YAML")


def _observe(args: argparse.Namespace, landmark_map: LandmarkMap) -> LandmarkObservations:
    from vloc_ros.mapping.landmarks.observations import observe_landmarks

    landmark_map.scene(args.scene)  # an unknown scene is refused before the work
    classifier, keypoints = _classifier(args, landmark_map)
    return observe_landmarks(
        landmark_map, _extract(args, landmark_map), classifier, frame_id=args.scene, keypoints=keypoints
    )


def _classifier(args: argparse.Namespace, landmark_map: LandmarkMap) -> tuple[LandmarkClassifier, int]:
    """What names the landmark of a keypoint, and how many keypoints of an image it is given."""
    from vloc_ros.core.localization.landmark_candidates import VOTERS
    from vloc_ros.core.map.map_index import MapIndex
    from vloc_ros.inference.landmark_recognizer import read_landmark_recognizer
    from vloc_ros.mapping.landmarks.observations import classify_by_nearest_point, classify_by_recognizer

    if args.recognizer:
        model = read_landmark_recognizer(args.recognizer, inference_from(args))
        return classify_by_recognizer(landmark_map, model), model.max_keypoints
    return classify_by_nearest_point(MapIndex(landmark_map)), VOTERS


def _extract(args: argparse.Namespace, landmark_map: LandmarkMap) -> Iterator[PosedFeatures]:
    """The keypoints of every image, with its pose."""
    from vloc_ros.assembly import build_map_extractor
    from vloc_ros.datasets.image_folders import list_posed_images
    from vloc_ros.mapping.landmarks.observations import PosedFeatures
    from vloc_ros.mapping.sfm.extracted_images import extract_features

    report_images_passed_over(args.images)
    camera = read_given_camera(args)
    assert camera is not None
    images = list_posed_images(args.images, camera, poses_file=args.poses)
    features = extract_features(images, build_map_extractor(landmark_map, inference=inference_from(args)), bar)
    for image, found in zip(images, features, strict=True):
        assert image.map_from_camera is not None  # there is a file of poses
        yield PosedFeatures(found, image.camera, image.map_from_camera)


def format_table(rows: Sequence[LandmarkHealth], *, with_images: bool) -> str:
    """Lines of aligned text, without the columns that only images fill where there are none."""
    lines = [_HEADER, *(_cells(row) for row in rows)]
    if not with_images:
        lines = [(*line[: _OF_IMAGES.start], *line[_OF_IMAGES.stop :]) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: LandmarkHealth) -> tuple[str, ...]:
    seen, accuracy, confused = row.recognised, "", ""
    if seen is not None:
        accuracy = f"{seen.accuracy:.0%} of {seen.keypoints}, first in {seen.recognised_in}/{seen.images} images"
    if seen is not None and seen.confused_with is not None:
        away = "another scene" if seen.apart_m is None else f"{seen.apart_m:.2f} m away"
        confused = f"{seen.confused_with}: {seen.confused:.0%}, {away}"
    return (
        str(row.number),
        str(row.coarse),
        str(row.points),
        str(row.keyframes),
        str(row.references),
        f"{row.extent_m:.2f} m, {degrees(row.extent_rad):.0f} deg",
        accuracy,
        confused,
        "<- " + ", ".join(mark.value for mark in row.marks) if row.marks else "",
    )


def summarize(rows: Sequence[LandmarkHealth]) -> dict[str, Any]:
    """How many landmarks are marked, and with what; how many keypoints are classified correctly."""
    marks = Counter(mark.value for row in rows for mark in row.marks)
    keypoints = sum(row.recognised.keypoints for row in rows if row.recognised)
    right = sum(row.recognised.accuracy * row.recognised.keypoints for row in rows if row.recognised)
    return {
        "landmarks": len(rows),
        "marked": sum(bool(row.marks) for row in rows),
        "marks": dict(marks.most_common()),
        "seen": sum(row.recognised is not None for row in rows),
        "keypoints": keypoints,
        "accuracy": right / keypoints if keypoints else None,
    }


def format_summary(rows: Sequence[LandmarkHealth]) -> str:
    """The same in a line."""
    found = summarize(rows)
    line = f"{found['landmarks']} landmarks, {found['marked']} marked"
    if found["marks"]:
        line += " (" + ", ".join(f"{count} {mark}" for mark, count in found["marks"].items()) + ")"
    if found["accuracy"] is not None:
        line += (
            f"; {found['seen']} visible in the images, {found['accuracy']:.1%} of {found['keypoints']} keypoints right"
        )
    return line


def write_json(path: Path, rows: Sequence[LandmarkHealth]) -> None:
    """All landmarks, lengths in metres and angles in radians, keys as 16 hexadecimal digits."""
    from dataclasses import asdict

    from vloc_ros.storage.atomic import write_bytes_atomically

    landmarks = [
        asdict(row) | {"key": f"{row.key & 0xFFFFFFFFFFFFFFFF:016x}", "marks": [mark.value for mark in row.marks]}
        for row in rows
    ]
    text = json.dumps({"summary": summarize(rows), "landmarks": landmarks}, indent=2, allow_nan=False)
    write_bytes_atomically(path, f"{text}\n".encode())
