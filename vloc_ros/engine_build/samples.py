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

"""Inputs of a model, to calibrate int8 and to measure what a precision loses: of images, or of a map's own places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points
from vloc_ros.core.clouds.range_view import RangeView
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.iterative_solver import restore_descriptors
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.inference.models import Model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.storage.images import read_image

T = TypeVar("T")
Sample = dict[str, Array]
HELD_OUT, MOST_HELD_OUT = 5, 20
# larger images are reduced: calibration keeps the extremes of every value in memory
_LARGEST_PX = 1024


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs of a graph.

    Attributes:
        calibration: of int8; they are read once.
        count: how many these are.
        held_out: the loss is measured on them.
    """

    calibration: Iterable[Sample] = ()
    count: int = 0
    held_out: Sequence[Sample] = ()


def hold_out(items: Sequence[T], *, every: int = HELD_OUT) -> tuple[list[T], list[T]]:
    """What int8 is calibrated on, and every fifth or so, twenty at most, on which the loss is measured."""
    held_out = range(0, len(items), every)[:MOST_HELD_OUT]
    return [item for index, item in enumerate(items) if index not in held_out], [items[index] for index in held_out]


def sample_images(model: Model, images: Sequence[Path]) -> Samples:
    """Samples of a model that takes images.

    Raises:
        InputError: the model takes no images, or one cannot be read.
    """
    if not images:
        return Samples()
    calibration, held_out = hold_out(images)
    return Samples(read_samples(model, calibration), len(calibration), list(read_samples(model, held_out)))


def sample_keyframes(model: Model, landmark_map: LandmarkMap) -> Samples:
    """Samples of a recogniser: the points that each keyframe of its map observes, as it sees them.

    Raises:
        InputError: the map's descriptors are of another length, or no keyframe observes a point.
    """
    dimension = len(landmark_map.codec.mean)
    expected = model.entry("inputs", "descriptors", "shape")[1]
    if dimension != expected:
        raise InputError(
            f"{model.folder}: takes descriptors of {expected} values, those of the map {landmark_map.name} have "
            f"{dimension}; name the map that it was trained on"
        )
    keyframes = [k for k in range(len(landmark_map.keyframes)) if len(landmark_map.keyframes.visible(k))]
    if not keyframes:
        raise InputError(f"no keyframe of the map {landmark_map.name} observes a point; name another map")
    most = int(model.entry("keypoints", "max_keypoints"))
    calibration, held_out = hold_out(keyframes)
    return Samples(
        (_keyframe_sample(landmark_map, k, most) for k in calibration),
        len(calibration),
        [_keyframe_sample(landmark_map, k, most) for k in held_out],
    )


def sample_scans(model: Model, landmark_map: LandmarkMap) -> Samples:
    """Samples of an encoder of scans: the views of each LiDAR place of a map, of its down-sampled points.

    Raises:
        InputError: the map has no LiDAR places, or no view of them shows a point.
    """
    places, view = landmark_map.places.get(LIDAR), RangeView.from_manifest(model.entry("view"))
    payload = None if places is None else places.payloads.get(POINTS_CM)
    clouds = [] if payload is None else [payload.of(k) for k in range(len(payload.offsets) - 1)]
    views = [view.render_around(decode_points(cloud), None, headings=model.entry("headings")) for cloud in clouds]
    seen = [{"views": one[shown]} for one in views if (shown := one[:, 0].any(axis=(1, 2))).any()]
    if not seen:
        raise InputError(f"no LiDAR place of the map {landmark_map.name} shows a point; name a map with LiDAR places")
    calibration, held_out = hold_out(seen)
    return Samples(calibration, len(calibration), held_out)


def _keyframe_sample(landmark_map: LandmarkMap, k: int, most: int) -> Sample:
    points = landmark_map.keyframes.visible(k)[:most]
    seen = landmark_map.keyframes.pose(k).inverse().apply(landmark_map.points[points])
    rays = seen[:, :2] / np.maximum(seen[:, 2:], 1e-6)
    return {
        "rays": rays.astype(np.float32),
        "descriptors": restore_descriptors(landmark_map, points),
    }


def make_sampler(model: Model) -> Callable[[Array], Sample]:
    """From an image, grey or BGR, to the inputs of the model's graph.

    Raises:
        InputError: a model of this kind does not take images.
    """
    kind = model.manifest.get("kind")
    if kind == "keypoints":
        return lambda image: _keypoint_sample(model, image)
    if kind in ("global descriptor", "place encoder"):
        preprocessing = Preprocessing.from_manifest(model.entry("preprocessing"))
        return lambda image: {"images": preprocessing.apply(image)[None]}
    raise InputError(f"a model of kind {kind!r} takes no images, expected keypoints or a global descriptor; leave "
                     "--images out, and name the map of a recogniser with --map")  # fmt: skip


def read_samples(model: Model, paths: Sequence[Path]) -> Iterator[Sample]:
    """One sample an image."""
    if not paths:
        return iter(())
    sampler = make_sampler(model)
    return (sampler(read_image(path)) for path in paths)


def _keypoint_sample(model: Model, image: Array) -> Sample:
    scale = min(1.0, _LARGEST_PX / max(image.shape[:2]))
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if model.entry("image", "color") == "grey":
        pixels = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    else:
        pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
    stride = int(model.entry("image", "stride"))
    height, width = (size // stride * stride for size in pixels.shape[:2])
    return {
        "image": np.ascontiguousarray(pixels[:height, :width]),
        "max_keypoints": np.array([model.entry("keypoints", "default_max_keypoints")], np.int64),
        "min_score": np.array([model.entry("keypoints", "default_min_score")], np.float32),
    }
