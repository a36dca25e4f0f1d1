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

"""Transforming a map into another frame, the origin of its geometry, and its alignment with gravity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from vloc_ros.core.clouds.place_clouds import POINTS_CM
from vloc_ros.core.errors import InputError, MapError
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Places
from vloc_ros.core.retrieval.tile_encoder import AERIAL
from vloc_ros.core.sources import PosedImage

_LEVEL_WEIGHT = 0.01
_MIN_MEAN_UP = 0.1
# nearer to zero float32 resolves 0.1 mm; farther away a map gets an origin of its own
_MAX_WITHOUT_ORIGIN_M, _ORIGIN_STEP_M = 1e3, 1e3
# farther from the origin float32 loses the centimetres
_MAX_EXTENT_M = 1e5
_MIN_SINE = 1e-9
# of poses that were only moved
_SAME_SCALE = 1e-9
# aerial tiles lie level
_LEVEL_RAD = 0.01


def choose_origin(positions: Sequence[Array]) -> Array:
    """(3,) origin for geometry around (3,) positions, whole kilometres: zero where all lie near to it."""
    if not len(positions) or np.abs(positions).max() <= _MAX_WITHOUT_ORIGIN_M:
        return np.zeros(3)
    kilometres = np.round(np.median(np.stack(positions), axis=0) / _ORIGIN_STEP_M)
    return np.asarray(kilometres * _ORIGIN_STEP_M + 0.0)  # no -0.0


def check_extent(positions: Array, *, what: str) -> None:
    """Refuse a map whose geometry, relative to its origin, float32 cannot hold to the centimetre.

    Args:
        positions: (N, 3) metres from the origin.
        what: lies there, for the message.

    Raises:
        InputError: one lies too far away.
    """
    farthest_m = float(np.abs(positions).max(initial=0.0))
    if farthest_m > _MAX_EXTENT_M:
        raise InputError(
            f"{what} lie up to {farthest_m:.0f} m from the map's origin, expected at most {_MAX_EXTENT_M:.0f} m; check "
            "the scale, and that all are in one frame and in metres, or divide the map"
        )


def check_image_extent(images: Sequence[PosedImage]) -> None:
    """Refuse images whose positions, relative to the origin of their map, lie too far from it; see `check_extent`.

    Where positions were measured these count: odometry then has a frame of its own.
    """
    found = [image.position.position for image in images if image.position is not None]
    found = found or [image.map_from_camera.translation for image in images if image.map_from_camera is not None]
    if found:
        check_extent(np.stack(found), what="images")


def gravity_alignment(landmark_map: LandmarkMap) -> Similarity:
    """The rotation about the scene's origin that makes the cameras level, see `level_rotation`."""
    rotation, origin = level_rotation(landmark_map.keyframes.rotations), landmark_map.scene().origin
    return Similarity(1.0, rotation, origin - rotation @ origin)


def level_rotation(rotations: Array) -> Array:
    """(3, 3) the rotation that turns z up by the least angle, and so keeps the heading.

    Up is estimated from cameras: they are held level, so that their x axes are horizontal, and the mean of their up
    axes (-y) decides what the x axes leave open, the pitch when all look the same way.

    Args:
        rotations: (N, 3, 3) map_from_camera.

    Raises:
        InputError: the cameras' up axes point in all directions.
    """
    mean_up = -rotations[:, :, 1].mean(axis=0)
    if np.linalg.norm(mean_up) < _MIN_MEAN_UP:
        raise InputError("the keyframes' cameras are not held upright, so gravity is unknown; give point pairs")
    sideways = rotations[:, :, 0]
    up = np.linalg.solve(sideways.T @ sideways / len(sideways) + _LEVEL_WEIGHT * np.eye(3), mean_up)
    return _least_rotation_to_z(up / np.linalg.norm(up))


def transform_map(
    landmark_map: LandmarkMap, similarity: Similarity, *, frame_id: str | None = None, metric: bool | None = None
) -> LandmarkMap:
    """The same map in another frame.

    Of the calibrated covariance floor, rotated with the map, the variances along the new axes are kept.

    Args:
        landmark_map: of one scene.
        similarity: target_from_map.
        frame_id: name of the target frame; None keeps the map's.
        metric: whether the target's lengths are metres; None keeps what the map says.

    Raises:
        InputError: the map has several scenes, or is too large in the target frame, or it has a datum that
            cannot move along, see `Datum.transform`.
        MapError: its scale changes, and it has LiDAR places, whose points are in metres, or its frame leans against the
            former one, and it has aerial tiles.
    """
    scene = landmark_map.scene()
    datum = scene.datum.transform(similarity) if scene.datum else None
    placed = landmark_map.keyframes.translations
    if not len(placed):  # a map of places alone
        placed = np.concatenate([places.translations for places in landmark_map.places.values()])
    positions = scene.origin + placed
    origin = choose_origin(list(similarity.apply(positions)))
    shift = similarity.apply(scene.origin) - origin
    moved = transform_geometry(
        landmark_map, Similarity(similarity.scale, similarity.rotation, shift), target_origin=origin
    )
    return replace(
        moved,
        scenes=(replace(moved.scene(), frame_id=frame_id or scene.frame_id, datum=datum),),
        metric=landmark_map.metric if metric is None else metric,
    )


def transform_geometry(landmark_map: LandmarkMap, similarity: Similarity, *, target_origin: Array) -> LandmarkMap:
    """A map of one scene whose geometry, relative to its origin, is moved to another origin.

    Args:
        landmark_map: of one scene.
        similarity: target_from_scene, between coordinates relative to the two origins.
        target_origin: (3,) of the result.

    Raises:
        InputError: points lie too far from the origin for float32.
    """
    scene = landmark_map.scene()
    points = similarity.apply(landmark_map.points)
    check_extent(points, what="points")
    moved = replace(
        scene,
        calibration=_transform_calibration(scene.calibration, similarity),
        frame_uncertainty=_transform_frame_uncertainty(scene.frame_uncertainty, similarity),
        origin=target_origin,
    )
    return replace(
        landmark_map,
        points=points.astype(np.float32),
        keyframes=_transform_keyframes(landmark_map.keyframes, similarity),
        places={
            modality: _transform_places(modality, one, similarity) for modality, one in landmark_map.places.items()
        },
        scenes=(moved,),
    )


def _transform_keyframes(keyframes: Keyframes, similarity: Similarity) -> Keyframes:
    poses = [similarity.apply_to_pose(keyframes.pose(k)) for k in range(len(keyframes))]
    rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
    translations = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    return replace(keyframes, rotations=rotations, translations=translations)


def _transform_places(modality: str, places: Places, similarity: Similarity) -> Places:
    lean = float(np.arccos(np.clip(similarity.rotation[2, 2], -1.0, 1.0)))
    if modality == AERIAL and len(places) and lean > _LEVEL_RAD:
        raise MapError(
            f"the map has aerial tiles, which are level, and its frame would lean by {np.degrees(lean):.1f} deg; align "
            "or georeference its landmarks first, and add the tiles afterwards with `vloc map aerial add`; a map of "
            "tiles alone only turns about its z axis"
        )
    if POINTS_CM in places.payloads and abs(similarity.scale - 1.0) > _SAME_SCALE:
        raise MapError(
            f"the map has LiDAR places, whose points are in metres, and its scale would change by "
            f"{similarity.scale:g}; "
            "align it without --scale, or add the places afterwards"
        )
    poses = [similarity.apply_to_pose(places.pose(k)) for k in range(len(places))]
    rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)
    translations = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    return replace(places, rotations=rotations, translations=translations, extents=similarity.scale * places.extents)


def _transform_calibration(calibration: CovarianceCalibration, similarity: Similarity) -> CovarianceCalibration:
    return replace(calibration, floor=_turn_variances(calibration.floor, similarity))


def _turn_variances(variances: Array, similarity: Similarity) -> Array:
    squared = similarity.rotation**2  # diag(R diag(v) Rᵀ) = (R∘R) v
    return np.concatenate([similarity.scale**2 * squared @ variances[:3], squared @ variances[3:]])


def _transform_frame_uncertainty(uncertainty: FrameUncertainty, similarity: Similarity) -> FrameUncertainty:
    turns = np.eye(7)
    turns[:3, :3], turns[3:6, 3:6] = similarity.scale * similarity.rotation, similarity.rotation
    return FrameUncertainty(
        turns @ uncertainty.covariance @ turns.T,
        similarity.apply(uncertainty.centre),
        _turn_variances(uncertainty.bending, similarity),
    )


def _least_rotation_to_z(up: Array) -> Array:
    """(3, 3) rotation about a horizontal axis that turns a unit vector to z."""
    axis = np.array([up[1], -up[0], 0.0])
    sine = float(np.linalg.norm(axis))
    if sine < _MIN_SINE:
        axis, sine = np.array([1.0, 0.0, 0.0]), 1.0
        angle = 0.0 if up[2] > 0 else np.pi
    else:
        angle = float(np.arctan2(sine, up[2]))
    return np.asarray(cv2.Rodrigues(axis / sine * angle)[0])
