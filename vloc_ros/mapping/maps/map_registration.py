"""Maps of one place as one scene: a map that overlaps with another is moved into its frame and added to it.

`Align.AUTO` joins only where nearly all that both maps should hold is in both, see `same_place`; whoever knows that two
maps are of one place says so with `Align.SAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.map.landmark_map import CovarianceCalibration, LandmarkMap
from vloc_ros.core.sources import Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import drop_model_indices, encoded_as_joined
from vloc_ros.mapping.indexing.vlad_index import ensure_searchable, rebuild_vlad_index
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.codec_conversion import convert_codes, restore_descriptors
from vloc_ros.mapping.maps.duplicate_points import DescribedPoints, find_duplicate_points
from vloc_ros.mapping.maps.map_growth import MapAddition, append_to_scene
from vloc_ros.mapping.maps.merge import (
    check_mergeable,
    join_extractors,
    join_landmark_tables,
    map_title,
    prefix_scene_names,
)
from vloc_ros.mapping.maps.overlap_verification import OverlapVerification, verify_map_overlap
from vloc_ros.mapping.maps.point_registration import RegistrationSide


class Align(Enum):
    """Which maps become one scene."""

    NEVER = "never"
    AUTO = "auto"
    SAME = "same"


def register_maps(
    maps: Sequence[LandmarkMap], align: Align, progress: Progress = silent
) -> tuple[list[LandmarkMap], list[str]]:
    """Fewer maps, those that overlap put together, and a line for each of the others on what became of it.

    A map keeps its points, landmarks and frame; what is added comes behind. Maps of several scenes take in others and
    are not taken in. With `Align.SAME` every map of one scene must find its place.

    Raises:
        InputError: the maps do not go together, or are not of the same place though it was said.
    """
    check_mergeable(maps)
    kept, lines = [maps[0]], list[str]()
    for one in progress(maps[1:], description="looking for overlap"):
        if align is Align.NEVER or len(one.scenes) > 1:
            kept.append(one)
            continue
        k, frame_id, judgement = _best_place(kept, one, align)
        if judgement.found is not None and not judgement.objection:
            whole = _taken_in(drop_model_indices(kept[k]), frame_id, one, judgement)
            kept[k] = encoded_as_joined(whole, kept[k], frame_id, one)
            lines.append(f"{one.scene().frame_id} is aligned with {frame_id}: {_agreement(judgement)}")
        elif align is Align.SAME:
            raise InputError(f"{map_title(one)} cannot be aligned: {judgement.objection}; leave it out, or --align auto")
        else:
            kept.append(one)
            lines.append(f"{one.scene().frame_id} stays a scene of its own: {judgement.objection}")
    return kept, lines


def _best_place(kept: Sequence[LandmarkMap], one: LandmarkMap, align: Align) -> tuple[int, str, OverlapVerification]:
    """The scene that a map overlaps with most, in which of the maps it is, and whether they are one."""
    answers = [
        (k, frame_id, verify_map_overlap(other.part(frame_id), one, vouched=align is Align.SAME))
        for k, other in enumerate(kept)
        for frame_id in other.frame_ids
    ]
    return max(answers, key=lambda j: (not j[2].objection, 0 if j[2].found is None else len(j[2].found.agreeing)))


def _agreement(judgement: OverlapVerification) -> str:
    assert judgement.found is not None
    again = f", {judgement.consistency:.0%} of what both should hold is in both" if judgement.consistency else ""
    return f"{len(judgement.found.agreeing)} points agree to {100 * judgement.found.error_m:.1f} cm{again}"


def _taken_in(whole: LandmarkMap, frame_id: str, one: LandmarkMap, judgement: OverlapVerification) -> LandmarkMap:
    """A map with another added to one of its scenes.

    A point that both have is kept once, as the first has it: twice it would be expected twice in every image, and
    matched once.
    """
    assert judgement.found is not None
    there = transform_map(one, judgement.found.first_from_second)
    grown = append_to_scene(whole, frame_id, _addition(whole, frame_id, there))
    scenes = [
        replace(s, calibration=_wider(s.calibration, there.scene().calibration)) if s.frame_id == frame_id else s
        for s in grown.scenes
    ]
    step = {
        "scene": frame_id,
        "agreeing_points": len(judgement.found.agreeing),
        "error_m": round(judgement.found.error_m, 4),
        "provenance": dict(one.provenance),
    }
    provenance = {**whole.provenance, "joined": {**whole.provenance.get("joined", {}), map_title(one): step}}
    grown = replace(grown, scenes=tuple(scenes), extractor=join_extractors([whole, one]), provenance=provenance)
    return rebuild_vlad_index(grown) if "vlad" in grown.places else ensure_searchable(grown, MappingConfig())


def _addition(whole: LandmarkMap, frame_id: str, there: LandmarkMap) -> MapAddition:
    scene = whole.part(frame_id)
    twin = find_duplicate_points(
        DescribedPoints(there.points, lambda points: whole.codec.project(restore_descriptors(there, points))),
        DescribedPoints(scene.points, scene.descriptors_of),
        RegistrationSide.of(there).reach,
    )
    new = twin < 0
    number = np.where(new, len(scene.points) + np.cumsum(new) - 1, twin)
    visible = [np.unique(number[there.keyframes.visible(k)]) for k in range(len(there.keyframes))]
    keyframes = replace(
        there.keyframes,
        names=tuple(prefix_scene_names(there)),
        point_offsets=np.cumsum([0, *map(len, visible)]).astype(np.int64),
        point_indices=np.concatenate(visible).astype(np.int32),
    )
    return MapAddition(
        points=there.points[new],
        codes=convert_codes(there, np.flatnonzero(new), whole.codec),
        landmark_ids=there.landmark_ids[new] + np.int32(len(whole.landmarks)),
        landmarks=join_landmark_tables([whole.landmarks, there.landmarks]),
        keyframes=keyframes,
        places={name: np.zeros((len(visible), p.descriptors.shape[1]), np.float32) for name, p in whole.places.items()},
    )


def _wider(some: CovarianceCalibration, other: CovarianceCalibration) -> CovarianceCalibration:
    """What claims less; not calibrated where one of them is not."""
    return CovarianceCalibration(
        max(some.scale, other.scale), np.maximum(some.floor, other.floor), min(some.samples, other.samples)
    )
