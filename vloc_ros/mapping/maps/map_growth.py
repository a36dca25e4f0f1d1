"""Points and keyframes added behind those of a scene; what was there keeps its order, its numbers and its landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import Keyframes, LandmarkMap, LandmarkTable, Scene, number_consecutively


@dataclass(frozen=True, slots=True, eq=False)
class MapAddition:
    """What a scene of P points gets.

    Attributes:
        points: (N, 3) metres in its frame.
        codes: (N, d) uint8, by the map's codec.
        landmark_ids: (N,) int32 in
        landmarks: the map's landmarks with new ones behind them.
        keyframes: what they saw counts from the scene's first point: below P old points, from P on these.
        places: by name of the map's place indices, (K, D) descriptors of the keyframes.
    """

    points: Array
    codes: Array
    landmark_ids: Array
    landmarks: LandmarkTable
    keyframes: Keyframes
    places: Mapping[str, Array]


def append_to_scene(landmark_map: LandmarkMap, frame_id: str, addition: MapAddition) -> LandmarkMap:
    """The map with an addition to one of its scenes; the points of later scenes move up behind it."""
    scene = landmark_map.scene(frame_id)
    point, keyframe = scene.points.stop, scene.keyframes.stop
    return replace(
        landmark_map,
        scenes=number_consecutively(_grown(one, addition) if one is scene else one for one in landmark_map.scenes),
        points=_inserted(landmark_map.points, point, addition.points.astype(np.float32)),
        landmark_ids=_inserted(landmark_map.landmark_ids, point, addition.landmark_ids.astype(np.int32)),
        landmarks=addition.landmarks,
        codes=_inserted(landmark_map.codes, point, addition.codes),
        keyframes=_joined(landmark_map.keyframes, scene, addition),
        places={
            name: replace(index, descriptors=_inserted(index.descriptors, keyframe, addition.places[name]))
            for name, index in landmark_map.places.items()
        },
    )


def _grown(scene: Scene, addition: MapAddition) -> Scene:
    points = range(len(scene.points) + len(addition.points))
    return replace(scene, points=points, keyframes=range(len(scene.keyframes) + len(addition.keyframes)))


def _joined(old: Keyframes, scene: Scene, addition: MapAddition) -> Keyframes:
    new, at = addition.keyframes, scene.keyframes.stop
    first_seen = old.point_offsets[at]
    later = old.point_indices[first_seen:] + np.int32(len(addition.points))
    return Keyframes(
        names=(*old.names[:at], *new.names, *old.names[at:]),
        rotations=_inserted(old.rotations, at, new.rotations),
        translations=_inserted(old.translations, at, new.translations),
        point_offsets=np.concatenate(
            [
                old.point_offsets[:at],
                new.point_offsets[:-1] + first_seen,
                old.point_offsets[at:] + new.point_offsets[-1],
            ]
        ),
        point_indices=np.concatenate(
            [old.point_indices[:first_seen], new.point_indices + np.int32(scene.points.start), later]
        ).astype(np.int32),
        # of all keyframes, or of none where they are not known
        cameras=(*old.cameras[:at], *new.cameras, *old.cameras[at:]) if old.cameras and new.cameras else (),
    )


def _inserted(array: Array, at: int, more: Array) -> Array:
    return np.concatenate([array[:at], more, array[at:]])
