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

"""Registration of new images in a map: their poses, and whether given poses agree with the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage

# the reprojection error of an inlier: less accurate poses extend no map
_MAX_SHIFT_PX = PoseConfig().max_error_px
_MAX_CONTRADICTING = 0.5
# of the points that a keyframe observes, so many are matched in its own image, and fewer in another one; of a keyframe
# that observes few it is chance
_SAME_IMAGE, _MIN_OBSERVED = 0.8, 20


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredImages:
    """New images in a map.

    Attributes:
        images: those with a pose that the map does not contradict, relative to the origin of its scene.
        localized: number of all images that the map itself localized.
        left_out: reason for each of the others, by image name.
    """

    images: tuple[ExtractedImage, ...]
    localized: int
    left_out: dict[str, str]


def register_images(
    landmark_map: LandmarkMap, images: Sequence[ExtractedImage], localizer: Localizer, progress: Progress
) -> RegisteredImages:
    """Estimate poses of images without one, and compare given poses with where the map localizes the same images.

    All images are localized: the inliers show how far a given pose moves known points in the image, in pixels, whatever
    the scale. An image that is not localized may show what is not mapped yet: its given pose is kept.

    Args:
        landmark_map: of one scene.
        images: with poses relative to the scene's origin, or None.
        localizer: of the map.
        progress: shows the progress.

    Raises:
        InputError: no image is localized, or most of those that are have poses that contradict the map.
    """
    kept, left_out, localized, contradictions = list[ExtractedImage](), dict[str, str](), 0, list[str]()
    scene = landmark_map.scene()
    for image in progress(images, description="localizing"):
        camera, given = image.image.camera, image.image.map_from_camera
        blank = np.zeros((camera.height, camera.width), np.uint8)
        result = localizer.localize_features((image.features,), Query.single(blank, camera))
        localized += result.ok
        if result.map_from_rig is None:
            if given is None:
                left_out[image.image.name] = f"not localized in the map ({result.reason or result.status.value})"
            else:
                kept.append(image)
            continue
        found = scene.scene_from(result.map_from_rig)
        if given is None:
            kept.append(replace(image, image=replace(image.image, map_from_camera=found)))
        elif (shift := _shift_px(image, given, landmark_map, result.inlier_points, result.inlier_xy)) > _MAX_SHIFT_PX:
            left_out[image.image.name] = _describe_contradiction(given, found, shift)
            contradictions.append(image.image.name)
        else:
            kept.append(image)
    _check(len(images), localized, contradictions, left_out, scene.frame_id)
    return RegisteredImages(tuple(kept), localized, left_out)


def drop_repeated_images(
    registered: RegisteredImages, shown: Sequence[Array], landmark_map: LandmarkMap
) -> tuple[RegisteredImages, list[Array]]:
    """Leave out images that the map holds already: a keyframe has the name, and its points are matched in the image.

    Args:
        registered: the images.
        shown: what `match_by_pose` gave for each of them.
        landmark_map: of one scene.

    Returns:
        The others, and what each of them shows.

    Raises:
        InputError: all are in the map already.
    """
    keyframes, by_name = landmark_map.keyframes, dict[str, list[int]]()
    for k, name in enumerate(keyframes.names):  # those of an earlier visit or a merged map lie in folders
        by_name.setdefault(name.rpartition("/")[2], []).append(k)
    repeated = {
        image.image.name: keyframes.names[k]
        for image, points in zip(registered.images, shown, strict=True)
        for k in by_name.get(image.image.name, [])
        if len(visible := keyframes.visible(k)) >= _MIN_OBSERVED and np.isin(visible, points).mean() >= _SAME_IMAGE
    }
    kept = [i for i, image in enumerate(registered.images) if image.image.name not in repeated]
    if repeated and not kept:
        name, keyframe = next(iter(repeated.items()))
        raise InputError(
            f"all {len(repeated)} images that can be registered are in the map already ({name} as {keyframe}), "
            "expected images of another visit; give those"
        )
    reasons = {name: f"is in the map already, as {keyframe}" for name, keyframe in repeated.items()}
    others = tuple(registered.images[i] for i in kept)
    return replace(registered, images=others, left_out={**registered.left_out, **reasons}), [shown[i] for i in kept]


def _shift_px(image: ExtractedImage, given: Pose, landmark_map: LandmarkMap, points: Array, xy: Array) -> float:
    """Median distance of inliers from where a given pose projects them; infinite where most are behind the camera."""
    pixels = image.image.camera.project(given.inverse().apply(landmark_map.points[points]))
    shift = np.linalg.norm(pixels - xy, axis=1)
    return float(np.median(np.where(np.isfinite(shift), shift, np.inf)))


def _describe_contradiction(given: Pose, found: Pose, shift_px: float) -> str:
    distance_m, angle_rad = given.distance_to(found)
    seen = f"{shift_px:.0f} px off in the image" if np.isfinite(shift_px) else "behind the camera"
    return (
        f"its pose lies {distance_m:.2f} m and {np.degrees(angle_rad):.1f} degrees from where the map localizes it, "
        f"its points {seen}; expected at most {_MAX_SHIFT_PX:.0f} px"
    )


def _check(count: int, localized: int, contradictions: Sequence[str], left_out: dict[str, str], frame_id: str) -> None:
    if not localized:
        raise InputError(
            f"none of the {count} images is localized in the map, expected some that show what it holds; check that it "
            "is the same place and the right calibration, or build a map of their own and merge it"
        )
    if len(contradictions) > _MAX_CONTRADICTING * localized:
        name = contradictions[0]
        raise InputError(
            f"the given poses contradict the map for {len(contradictions)} of {localized} images that it localizes "
            f"({name}: {left_out[name]}); give map_from_camera of optical frames in the frame {frame_id}, or leave out "
            "--poses and let the map localize them"
        )
