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

"""Usual mistakes in poses and calibrations, found by the two-view geometry of a few pairs of images.

Matches of a pair are kept where one fundamental matrix explains them, which needs neither poses nor a calibration.
Under each hypothesis the poses or the intrinsics are put right, and the matches are counted that fit the epipolar
geometry of the poses then. A hypothesis is named where it explains most of them and what was given does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
import poselib

from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.camera import PARAMETER_NAMES, Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage, Progress
from vloc_ros.mapping.sfm.correspondences import epipolar_inliers, mutual_matches
from vloc_ros.mapping.sfm.extracted_images import extract_features
from vloc_ros.mapping.sfm.pairs import Pair

# images that are tried: so many groups along the sequence, each of an image and these after it
_GROUPS, _AFTER = 6, (0, 1, 2, 4)
_MATCH_RATIO, _LEAST_MATCHES, _MOST_MATCHES, _LEAST_PAIRS = 0.8, 30, 80, 3
_FUNDAMENTAL = {"max_iterations": 1000, "min_iterations": 100, "success_prob": 0.999, "seed": 0}
# distances from an epipolar line, in parts of the image's width: of the matches that one matrix explains, and of those
# that poses do, which are less exact
_VERIFIED_PART, _EXPLAINED_PART = 0.0025, 0.006
# a mistake is named when putting it right explains this part of the matches, so much more than was explained as given,
# and leaves at most this part of what was not
_EXPLAINS, _GAINS, _LEAVES = 0.5, 0.1, 0.5
# hypotheses that explain this much less than the best are not behind it
_AS_GOOD = 0.01

_ZERO = np.zeros(3)
_OPTICAL_FROM_GL = Pose(np.diag([1.0, -1.0, -1.0]), _ZERO)
_BODY_FROM_OPTICAL = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), _ZERO)
_FOCAL_FACTORS = tuple(factor for factor in np.geomspace(0.4, 2.5, 17) if abs(factor - 1.0) > 1e-9)

Matches = Mapping[Pair, tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class InputMistake:
    """A mistake that would explain the images.

    Attributes:
        text: what it is and what to do, for people.
        explained: part of the matches that fit the poses when it is put right.
        as_given: part of them that fit the poses as they are.
    """

    text: str
    explained: float
    as_given: float

    def __str__(self) -> str:
        return (
            f"{self.text} ({100 * self.explained:.0f} % of the matches between images fit the poses then, "
            f"{100 * self.as_given:.0f} % as given)"
        )


@dataclass(frozen=True, slots=True)
class _Calibration:
    """The given intrinsics, but for a factor of the focal length and the principal point."""

    focal: float = 1.0
    centred: bool = False

    def of(self, camera: Camera) -> Camera:
        names = PARAMETER_NAMES[camera.model]
        middle = {"cx": camera.width / 2, "cy": camera.height / 2} if self.centred else {}
        values = [
            middle.get(name, value) * (self.focal if name[0] == "f" else 1.0)
            for name, value in zip(names, camera.parameters, strict=True)
        ]
        return replace(camera, parameters=tuple(values))


_AS_GIVEN = _Calibration()


def find_input_mistakes(images: Sequence[PosedImage], extractor: Extractor, progress: Progress) -> list[InputMistake]:
    """The mistakes that explain the images clearly better than what was given, the best first; none in doubt.

    Args:
        images: in the order they were taken; where one has no pose, nothing is found.
        extractor: of keypoints.
        progress: shows the progress.

    Raises:
        InputError: an image cannot be used.
    """
    poses = [image.map_from_camera for image in images if image.map_from_camera is not None]
    if len(poses) < len(images) or len(images) <= _LEAST_PAIRS:
        return []
    matches = _match_groups(images, extractor, progress)
    if len(matches) < _LEAST_PAIRS:
        return []

    @cache
    def rays(calibration: _Calibration) -> Matches:
        return _unproject(calibration, images, matches)

    def explained(poses: Sequence[Pose], calibration: _Calibration = _AS_GIVEN) -> float:
        return _explained_part(images, poses, calibration, rays(calibration))

    as_given = explained(poses)
    tried = {text: explained(corrected) for text, corrected in _corrected_poses(poses).items()}
    tried |= _try_calibrations(lambda calibration: explained(poses, calibration))
    found = [
        InputMistake(text, part, as_given)
        for text, part in tried.items()
        if part >= max(_EXPLAINS, as_given + _GAINS) and 1.0 - part <= _LEAVES * (1.0 - as_given)
    ]
    # of two that are as good the first, which is the simpler one, stays first
    return sorted(found, key=lambda one: -round(one.explained / _AS_GOOD))


def _match_groups(images: Sequence[PosedImage], extractor: Extractor, progress: Progress) -> Matches:
    """(M, 2) pixels in both images of the matches that one fundamental matrix explains, of pairs with enough."""
    starts = np.unique(np.linspace(0, max(len(images) - 1 - _AFTER[-1], 0), _GROUPS).astype(int))
    groups = [[start + after for after in _AFTER if start + after < len(images)] for start in starts]
    chosen = sorted({i for group in groups for i in group})
    features = dict(zip(chosen, extract_features([images[i] for i in chosen], extractor, progress), strict=True))
    pairs = sorted({pair for group in groups for pair in combinations(group, 2)})
    matched = {(i, j): _match(features[i], features[j], images[i].camera) for i, j in pairs}
    return {pair: both for pair, both in matched.items() if len(both[0]) >= _LEAST_MATCHES}


def _match(first: Features, second: Features, camera: Camera) -> tuple[Array, Array]:
    found = mutual_matches(first, second, ratio=_MATCH_RATIO)
    both = first.xy[found[:, 0]].astype(np.float64), second.xy[found[:, 1]].astype(np.float64)
    if len(found) < _LEAST_MATCHES:
        return both[0][:0], both[1][:0]
    options = _FUNDAMENTAL | {"max_epipolar_error": _VERIFIED_PART * camera.width}
    _, result = poselib.estimate_fundamental(*both, options, {})
    inliers = np.flatnonzero(np.asarray(result["inliers"], bool))
    some = inliers[:: max(1, len(inliers) // _MOST_MATCHES)]
    return both[0][some], both[1][some]


def _unproject(calibration: _Calibration, images: Sequence[PosedImage], matches: Matches) -> Matches:
    """(M, 3) rays of both images of every pair."""
    sides: dict[Camera, list[tuple[Pair, int]]] = {}
    for pair in matches:
        for side, image in enumerate(pair):
            sides.setdefault(images[image].camera, []).append((pair, side))
    rays: dict[tuple[Pair, int], Array] = {}
    for camera, shown in sides.items():  # all at once: without distortion again is slow for few
        pixels = [matches[pair][side] for pair, side in shown]
        found = calibration.of(camera).unproject(np.concatenate(pixels))
        rays.update(zip(shown, np.split(found, np.cumsum([len(xy) for xy in pixels])[:-1]), strict=True))
    return {pair: (rays[pair, 0], rays[pair, 1]) for pair in matches}


def _explained_part(
    images: Sequence[PosedImage], poses: Sequence[Pose], calibration: _Calibration, rays: Matches
) -> float:
    """Mean over the pairs of the part of their matches that fits the poses."""
    parts = []
    for (i, j), both in rays.items():
        cameras = calibration.of(images[i].camera), calibration.of(images[j].camera)
        error_px = _EXPLAINED_PART * images[i].camera.width
        parts.append(epipolar_inliers(both, (poses[i], poses[j]), cameras, max_error_px=error_px).mean())
    return float(np.mean(parts))


def _corrected_poses(poses: Sequence[Pose]) -> dict[str, Sequence[Pose]]:
    """What the poses would be under each hypothesis."""
    inverted = [pose.inverse() for pose in poses]
    named = "; begin each row with the name of its image"
    return {
        "the poses are inverted, camera_from_map: give map_from_camera": inverted,
        "the quaternions are in the order w x y z: write x y z w": [_from_wxyz(pose) for pose in poses],
        "the quaternions are in the order w x y z and the poses inverted, camera_from_map, as COLMAP has both: write "
        "map_from_camera with x y z w": [_from_wxyz(pose).inverse() for pose in poses],
        "the cameras have the axes of OpenGL, y up and z back: turn each pose about its x axis by 180 degrees": [
            pose @ _OPTICAL_FROM_GL for pose in poses
        ],
        "the poses are inverted and their cameras have the axes of OpenGL, y up and z back: invert each, and turn it "
        "about its x axis by 180 degrees": [pose @ _OPTICAL_FROM_GL for pose in inverted],
        "the poses are of a body, x forward and z up, and not of the camera's optical frame, z forward and y down: "
        "multiply each by the extrinsics": [pose @ _BODY_FROM_OPTICAL for pose in poses],
        f"the poses are in the reverse order of the images{named}": poses[::-1],
        f"each pose is that of the image after its own{named}": [poses[0], *poses[:-1]],
        f"each pose is that of the image before its own{named}": [*poses[1:], poses[-1]],
    }


def _try_calibrations(explained: Callable[[_Calibration], float]) -> dict[str, float]:
    """What is explained by another principal point or focal length, and by both where neither alone does as well."""
    centred = explained(_Calibration(centred=True))
    factor, longer = _best_factor(explained, centred=False)
    factor_of_both, both = _best_factor(explained, centred=True)
    again = "calibrate the camera"
    found = {
        f"the principal point is not that of these images, it is near their middle: {again}": centred,
        f"the focal length is not that of these images, one {factor:.2f} times as long fits: {again}": longer,
    }
    if both > max(centred, longer) + _AS_GOOD:
        text = (
            f"the calibration is of images of another size, a focal length {factor_of_both:.2f} times as long and a "
            "principal point in the middle fit: give that of these images"
        )
        found[text] = both
    return found


def _best_factor(explained: Callable[[_Calibration], float], *, centred: bool) -> tuple[float, float]:
    """The middle of the focal lengths' factors that explain about the most, and how much."""
    parts = [explained(_Calibration(factor, centred)) for factor in _FOCAL_FACTORS]
    best = [factor for factor, part in zip(_FOCAL_FACTORS, parts, strict=True) if part >= max(parts) - _AS_GOOD]
    return float(np.exp(np.mean(np.log(best)))), max(parts)


def _from_wxyz(pose: Pose) -> Pose:
    """The pose whose quaternion was written w x y z and read x y z w."""
    w, x, y, z = pose.quaternion
    return Pose.from_quaternion([x, y, z, w], pose.translation)
