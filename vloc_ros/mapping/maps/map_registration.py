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

"""Registration of maps: a map that overlaps with another is moved into its frame and becomes part of its scene.

`Align.AUTO` does so only where nearly all that both maps should hold is in both, see `overlap_verification`;
`Align.SAME` is for a user who knows that two maps are of one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import merge_places
from vloc_ros.core.map.scene import Scene, SelfSimilarity
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.sources import Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.indexing.global_descriptors import drop_keyframe_indices, rows_of_second
from vloc_ros.mapping.indexing.vlad_index import ensure_searchable, rebuild_vlad_index
from vloc_ros.mapping.maps.alignment import transform_geometry
from vloc_ros.mapping.maps.codec_conversion import convert_codes, restore_descriptors
from vloc_ros.mapping.maps.duplicate_points import DescribedPoints, find_duplicate_points
from vloc_ros.mapping.maps.map_growth import MapAddition, append_to_scene
from vloc_ros.mapping.maps.merge import (
    check_mergeable,
    join_extractors,
    join_landmark_tables,
    join_statistics,
    map_title,
    prefix_scene_names,
)
from vloc_ros.mapping.maps.overlap_verification import OverlapVerification, verify_map_overlap
from vloc_ros.mapping.maps.point_registration import MapAlignment, RegistrationSide


class Align(Enum):
    """Which maps become one scene."""

    NEVER = "never"
    AUTO = "auto"
    SAME = "same"


def register_maps(
    maps: Sequence[LandmarkMap], align: Align, progress: Progress = silent
) -> tuple[list[LandmarkMap], list[str]]:
    """Fewer maps, those that overlap put together, and a line for people on each of the others.

    A map keeps its points, landmarks and frame; what is added is appended. Maps of several scenes take in others and
    are not taken in. With `Align.SAME` every map of one scene must be registered.

    Raises:
        InputError: the maps cannot be merged, or with `Align.SAME` are not of one place.
    """
    check_mergeable(maps)
    kept, lines = [maps[0]], list[str]()
    for one in progress(maps[1:], description="registering maps"):
        if align is Align.NEVER or len(one.scenes) > 1:
            kept.append(one)
            continue
        best = _best_scene(kept, one, align)
        verification, alignment = best.verification, best.verification.alignment
        if alignment is not None and not verification.objection:
            datum, about_datum = _joined_datum(kept[best.map].scene(best.frame_id), one.scene(), alignment)
            kept[best.map] = _take_in(kept[best.map], best.frame_id, one, alignment, datum)
            agreement = _describe_agreement(alignment, verification)
            lines.append(f"{one.scene().frame_id} is aligned with {best.frame_id}: {agreement}{about_datum}")
        elif align is Align.SAME:
            raise InputError(
                f"{map_title(one)} cannot be aligned: {verification.objection}; leave it out, or --align auto"
            )
        else:
            kept.append(one)
            lines.append(f"{one.scene().frame_id} stays a scene of its own: {verification.objection}")
    return kept, lines


@dataclass(frozen=True, slots=True, eq=False)
class _Overlap:
    """A scene that a map overlaps with: number of its map, frame, and whether the two are one place."""

    map: int
    frame_id: str
    verification: OverlapVerification

    @property
    def rank(self) -> tuple[bool, int]:
        """Greater for a better overlap."""
        alignment = self.verification.alignment
        return not self.verification.objection, 0 if alignment is None else len(alignment.inliers)


def _best_scene(kept: Sequence[LandmarkMap], one: LandmarkMap, align: Align) -> _Overlap:
    """The scene that a map overlaps with most."""
    overlaps = [
        _Overlap(k, frame_id, verify_map_overlap(other.part(frame_id), one, known_same=align is Align.SAME))
        for k, other in enumerate(kept)
        for frame_id in other.frame_ids
    ]
    return max(overlaps, key=lambda overlap: overlap.rank)


def _describe_agreement(alignment: MapAlignment, verification: OverlapVerification) -> str:
    consistency = verification.consistency
    both = f", {consistency:.0%} of what both should hold is in both" if consistency else ""
    return f"{len(alignment.inliers)} points agree to {100 * alignment.error_m:.1f} cm{both}"


def _joined_datum(first: Scene, second: Scene, alignment: MapAlignment) -> tuple[Datum | None, str]:
    """The first scene's datum, or else the second's in the first frame; and what people should know of it."""
    if second.datum is None:
        return first.datum, ""
    local = alignment.first_from_second
    # the scale is that of the agreement of the maps: lengths are the first map's
    origin = second.origin + local.inverse().apply(-first.origin)
    try:
        moved = second.datum.transform(Similarity(1.0, local.rotation, -local.rotation @ origin))
    except InputError as error:
        return first.datum, f"; the datum of {second.frame_id} is lost: {error}"
    if first.datum is None:
        return moved, f"; the datum is that of {second.frame_id}"
    apart_m = float(np.linalg.norm(first.datum.local(moved.latitude, moved.longitude)[:2]))
    return first.datum, f"; the datum of {second.frame_id} is {apart_m:.1f} m away, the first is kept"


def _take_in(
    first: LandmarkMap, frame_id: str, second: LandmarkMap, alignment: MapAlignment, datum: Datum | None
) -> LandmarkMap:
    """A map with a second one added to one of its scenes, whose datum is given.

    A point that both have is kept once, as the first has it: otherwise it would be expected twice in every image, and
    matched once.
    """
    origin = first.scene(frame_id).origin
    moved = transform_geometry(second, alignment.first_from_second, target_origin=origin)
    rows = rows_of_second(first, moved)
    whole = drop_keyframe_indices(first, keep=rows)
    grown = append_to_scene(whole, frame_id, replace(_addition(whole, frame_id, moved), rows=rows))
    grown = _add_places(grown, frame_id, moved)
    scenes = [
        replace(_more_cautious(s, moved.scene()), datum=datum) if s.frame_id == frame_id else s for s in grown.scenes
    ]
    step = {
        "scene": frame_id,
        "agreeing_points": len(alignment.inliers),
        "error_m": round(alignment.error_m, 4),
        "provenance": dict(second.provenance),
    }
    grown = replace(
        grown,
        scenes=tuple(scenes),
        extractor=join_extractors([first, second]),
        descriptor_statistics=join_statistics([first, second]),
        provenance={**first.provenance, "joined": {**first.provenance.get("joined", {}), map_title(second): step}},
    )
    return rebuild_vlad_index(grown) if VLAD in grown.retrieval else ensure_searchable(grown, MappingConfig())


def _addition(whole: LandmarkMap, frame_id: str, moved: LandmarkMap) -> MapAddition:
    scene_map = whole.part(frame_id)
    duplicate = find_duplicate_points(
        DescribedPoints(moved.points, lambda points: whole.codec.project(restore_descriptors(moved, points))),
        DescribedPoints(scene_map.points, scene_map.descriptors_of),
        radius_m=RegistrationSide.of(moved).radius_m,
        max_distance=whole.descriptor_limit(DescriptorLimit.STRICT),
    )
    new = duplicate < 0
    number = np.where(new, len(scene_map.points) + np.cumsum(new) - 1, duplicate)
    visible = [np.unique(number[moved.keyframes.visible(k)]) for k in range(len(moved.keyframes))]
    keyframes = replace(
        moved.keyframes,
        names=tuple(prefix_scene_names(moved)),
        point_offsets=np.cumsum([0, *map(len, visible)]).astype(np.int64),
        point_indices=np.concatenate(visible).astype(np.int32),
    )
    return MapAddition(
        points=moved.points[new],
        codes=convert_codes(moved, np.flatnonzero(new), whole.codec),
        landmark_ids=moved.landmark_ids[new] + np.int32(len(whole.landmarks)),
        landmarks=join_landmark_tables([whole.landmarks, moved.landmarks]),
        keyframes=keyframes,
    )


def _add_places(whole: LandmarkMap, frame_id: str, moved: LandmarkMap) -> LandmarkMap:
    """The map with the places of a map of one scene in one of its scenes.

    An index of places stays where one encoder has encoded all of them.
    """
    scene, places, retrieval = whole.frame_ids.index(frame_id), dict(whole.places), dict(whole.retrieval)
    for modality, added in moved.places.items():
        count = whole.item_count(modality)
        old = [whole.places[modality]] if modality in whole.places else []
        places[modality] = merge_places([*old, added], [*(0 for _ in old), scene])
        rows = {name: index for name, index in moved.retrieval.items() if index.modality == modality}
        for name in [name for name, index in retrieval.items() if index.modality == modality]:
            mine, theirs = retrieval.pop(name), rows.get(name)
            if theirs is not None and mine.is_compatible(theirs):
                retrieval[name] = mine.append(theirs.descriptors, theirs.items + count)
        if not count:
            retrieval = {**rows, **retrieval}
    return replace(whole, places=places, retrieval=retrieval)


def _more_cautious(scene: Scene, taken_in: Scene) -> Scene:
    first, second = scene.self_similarity, taken_in.self_similarity
    alike = SelfSimilarity(min(first.score_shift, second.score_shift), min(first.negatives, second.negatives))
    return replace(
        scene,
        calibration=_wider(scene.calibration, taken_in.calibration),
        self_similarity=alike,
        frame_uncertainty=scene.frame_uncertainty.taking_in(taken_in.frame_uncertainty),
    )


def _wider(first: CovarianceCalibration, second: CovarianceCalibration) -> CovarianceCalibration:
    """The more cautious calibration; not calibrated where one of them is not."""
    return CovarianceCalibration(
        max(first.scale, second.scale), np.maximum(first.floor, second.floor), min(first.samples, second.samples)
    )
