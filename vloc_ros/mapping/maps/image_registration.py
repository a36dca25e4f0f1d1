"""What a map makes of new images: where it puts them, whether given poses agree, which of its points they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.maps.duplicate_points import ALIKE
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage

# as far as an inlier of the localizer may lie from where it is projected: poses worse than that extend no map
_MAX_SHIFT_PX = 8.0
_MOST_CONTRADICTING = 0.5
# of the points that a keyframe shows, so many are seen again in its own image, and fewer in another one; of a keyframe
# that shows few it is chance
_SAME_IMAGE, _FEWEST_SEEN = 0.8, 20
_KEYPOINTS_NEARBY = 8


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredImages:
    """New images in a map.

    Attributes:
        views: those with a pose that the map does not contradict.
        recognised: how many of all the map itself could place.
        left_out: why not, by image name.
    """

    views: tuple[ExtractedImage, ...]
    recognised: int
    left_out: dict[str, str]


def register_images(
    landmark_map: LandmarkMap, views: Sequence[ExtractedImage], localizer: Localizer, progress: Progress
) -> RegisteredImages:
    """Give poses to views without one, and hold given poses against where the map puts the same images.

    The localizer is asked about all: what it recognises says of every given pose how far it moves known points in the
    image, in pixels, whatever the scale and wherever the pose is. An image that is not recognised may show what is
    not mapped yet: its given pose is taken as it is.

    Raises:
        InputError: the map recognises no image, or most of those that it recognises have poses that contradict it.
    """
    kept, left_out, recognised, contradictions = list[ExtractedImage](), dict[str, str](), 0, list[str]()
    for view in progress(views, description="looking for known"):
        camera, given = view.image.camera, view.image.map_from_camera
        blank = np.zeros((camera.height, camera.width), np.uint8)
        answer = localizer.localize_features((view.features,), Query.single(blank, camera))
        recognised += answer.ok
        if answer.map_from_rig is None:
            if given is None:
                left_out[view.image.name] = f"not recognised in the map ({answer.reason or answer.status.value})"
            else:
                kept.append(view)
        elif given is None:
            kept.append(replace(view, image=replace(view.image, map_from_camera=answer.map_from_rig)))
        elif (shift_px := _shift_px(view, given, landmark_map, answer.inlier_points, answer.inlier_xy)) > _MAX_SHIFT_PX:
            left_out[view.image.name] = _contradiction(given, answer.map_from_rig, shift_px)
            contradictions.append(view.image.name)
        else:
            kept.append(view)
    _check(len(views), recognised, contradictions, left_out, landmark_map.scene().frame_id)
    return RegisteredImages(tuple(kept), recognised, left_out)


def observed_points(view: ExtractedImage, landmark_map: LandmarkMap) -> Array:
    """(K,) int64 point of a map of one scene that each keypoint of a posed view shows, -1 for none.

    Points are looked for at the keypoints around where they are projected; keypoint and point take each other for
    the most alike.
    """
    shown = np.full(len(view.features), -1, np.int64)
    assert view.image.map_from_camera is not None
    pixels = view.image.camera.project(view.image.map_from_camera.inverse().apply(landmark_map.points))
    inside = np.flatnonzero(view.image.camera.contains(pixels))
    if not len(inside) or not len(view.features):
        return shown
    described = landmark_map.codec.project(view.features.descriptors)
    count = min(_KEYPOINTS_NEARBY, len(described))
    off, near = cKDTree(view.features.xy).query(pixels[inside], k=count, distance_upper_bound=_MAX_SHIFT_PX)
    row, column = np.nonzero(np.isfinite(off.reshape(len(inside), count)))
    points, keypoints = inside[row], near.reshape(len(inside), count)[row, column]
    unlike = np.linalg.norm(described[keypoints] - landmark_map.descriptors_of(points), axis=1)
    order = np.argsort(unlike, kind="stable")
    order = order[unlike[order] <= ALIKE]
    points, keypoints = points[order], keypoints[order]
    chosen = np.intersect1d(*(np.unique(a, return_index=True)[1] for a in (points, keypoints)))
    shown[keypoints[chosen]] = points[chosen]
    return shown


def drop_repeated_images(
    placement: RegisteredImages, shown: Sequence[Array], landmark_map: LandmarkMap
) -> tuple[RegisteredImages, list[Array]]:
    """Leave out images that the map holds already: a keyframe has the name, and what it shows is seen in the image.

    Args:
        placement: of the images.
        shown: what `observed_points` gave for each placed one.
        landmark_map: the map of one scene.

    Returns:
        The others, and what each of them shows.

    Raises:
        InputError: it holds all that can be placed.
    """
    keyframes, of_name = landmark_map.keyframes, dict[str, list[int]]()
    for k, name in enumerate(keyframes.names):  # those of an earlier visit or a merged map lie in folders
        of_name.setdefault(name.rpartition("/")[2], []).append(k)
    repeated = {
        view.image.name: keyframes.names[k]
        for view, points in zip(placement.views, shown, strict=True)
        for k in of_name.get(view.image.name, [])
        if len(visible := keyframes.visible(k)) >= _FEWEST_SEEN and np.isin(visible, points).mean() >= _SAME_IMAGE
    }
    kept = [i for i, view in enumerate(placement.views) if view.image.name not in repeated]
    if repeated and not kept:
        name, keyframe = next(iter(repeated.items()))
        raise InputError(
            f"all {len(repeated)} images that can be placed are in the map already ({name} as {keyframe}), expected "
            "images of another visit; give those"
        )
    reasons = {name: f"is in the map already, as {keyframe}" for name, keyframe in repeated.items()}
    others = tuple(placement.views[i] for i in kept)
    return replace(placement, views=others, left_out={**placement.left_out, **reasons}), [shown[i] for i in kept]


def _shift_px(view: ExtractedImage, given: Pose, landmark_map: LandmarkMap, points: Array, xy: Array) -> float:
    """How far, in the middle, recognised points lie from where a given pose has them; infinite where mostly unseen."""
    pixels = view.image.camera.project(given.inverse().apply(landmark_map.points[points]))
    off = np.linalg.norm(pixels - xy, axis=1)
    return float(np.median(np.where(np.isfinite(off), off, np.inf)))


def _contradiction(given: Pose, found: Pose, shift_px: float) -> str:
    distance_m, angle_rad = given.distance_to(found)
    seen = f"{shift_px:.0f} px off in the image" if np.isfinite(shift_px) else "behind the camera"
    return (
        f"its pose lies {distance_m:.2f} m and {np.degrees(angle_rad):.1f} degrees from where the map puts it, what it "
        f"shows {seen}; expected at most {_MAX_SHIFT_PX:.0f} px"
    )


def _check(count: int, recognised: int, contradictions: Sequence[str], left_out: dict[str, str], frame_id: str) -> None:
    if not recognised:
        raise InputError(
            f"the map recognises none of the {count} images, expected some that show what it holds; check that it is "
            "the same place and the right calibration, or build a map of their own and merge it"
        )
    if len(contradictions) > _MOST_CONTRADICTING * recognised:
        name = contradictions[0]
        raise InputError(
            f"the given poses contradict the map for {len(contradictions)} of {recognised} images that it recognises "
            f"({name}: {left_out[name]}); give map_from_camera of optical frames in the frame {frame_id}, or leave out "
            "--poses and let the map place them"
        )
