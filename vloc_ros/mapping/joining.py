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
from vloc_ros.core.landmark_map import CovarianceCalibration, LandmarkMap
from vloc_ros.mapping.alignment import moved
from vloc_ros.mapping.appending import Addition, appended
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.encoding import encoded_as_joined, not_encoded
from vloc_ros.mapping.images import Progress, silent
from vloc_ros.mapping.merging import check_together, joined_extractor, joined_table, names_by_scene, title
from vloc_ros.mapping.overlap import Side
from vloc_ros.mapping.places import indexed_again, searchable
from vloc_ros.mapping.recoding import recoded, restored
from vloc_ros.mapping.same_place import Judgement, judged
from vloc_ros.mapping.twins import DescribedPoints, twins


class Align(Enum):
    """Which maps become one scene."""

    NEVER = "never"
    AUTO = "auto"
    SAME = "same"


def joined(
    maps: Sequence[LandmarkMap], align: Align, progress: Progress = silent
) -> tuple[list[LandmarkMap], list[str]]:
    """Fewer maps, those that overlap put together, and a line for each of the others on what became of it.

    A map keeps its points, landmarks and frame; what is added comes behind. Maps of several scenes take in others and
    are not taken in. With `Align.SAME` every map of one scene must find its place.

    Raises:
        InputError: the maps do not go together, or are not of the same place though it was said.
    """
    check_together(maps)
    kept, lines = [maps[0]], list[str]()
    for one in progress(maps[1:], description="looking for overlap"):
        if align is Align.NEVER or len(one.scenes) > 1:
            kept.append(one)
            continue
        k, frame_id, judgement = _best_place(kept, one, align)
        if judgement.found is not None and not judgement.objection:
            whole = _taken_in(not_encoded(kept[k]), frame_id, one, judgement)
            kept[k] = encoded_as_joined(whole, kept[k], frame_id, one)
            lines.append(f"{one.scene().frame_id} is aligned with {frame_id}: {_agreement(judgement)}")
        elif align is Align.SAME:
            raise InputError(f"{title(one)} cannot be aligned: {judgement.objection}; leave it out, or --align auto")
        else:
            kept.append(one)
            lines.append(f"{one.scene().frame_id} stays a scene of its own: {judgement.objection}")
    return kept, lines


def _best_place(kept: Sequence[LandmarkMap], one: LandmarkMap, align: Align) -> tuple[int, str, Judgement]:
    """The scene that a map overlaps with most, in which of the maps it is, and whether they are one."""
    answers = [
        (k, frame_id, judged(other.part(frame_id), one, vouched=align is Align.SAME))
        for k, other in enumerate(kept)
        for frame_id in other.frame_ids
    ]
    return max(answers, key=lambda j: (not j[2].objection, 0 if j[2].found is None else len(j[2].found.agreeing)))


def _agreement(judgement: Judgement) -> str:
    assert judgement.found is not None
    again = f", {judgement.found_again:.0%} of what both should hold is in both" if judgement.found_again else ""
    return f"{len(judgement.found.agreeing)} points agree to {100 * judgement.found.error_m:.1f} cm{again}"


def _taken_in(whole: LandmarkMap, frame_id: str, one: LandmarkMap, judgement: Judgement) -> LandmarkMap:
    """A map with another added to one of its scenes.

    A point that both have is kept once, as the first has it: twice it would be expected twice in every image, and
    matched once.
    """
    assert judgement.found is not None
    there = moved(one, judgement.found.first_from_second)
    grown = appended(whole, frame_id, _addition(whole, frame_id, there))
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
    provenance = {**whole.provenance, "joined": {**whole.provenance.get("joined", {}), title(one): step}}
    grown = replace(grown, scenes=tuple(scenes), extractor=joined_extractor([whole, one]), provenance=provenance)
    return indexed_again(grown) if "vlad" in grown.places else searchable(grown, MappingConfig())


def _addition(whole: LandmarkMap, frame_id: str, there: LandmarkMap) -> Addition:
    scene = whole.part(frame_id)
    twin = twins(
        DescribedPoints(there.points, lambda points: whole.codec.project(restored(there, points))),
        DescribedPoints(scene.points, scene.descriptors_of),
        Side.of(there).reach,
    )
    new = twin < 0
    number = np.where(new, len(scene.points) + np.cumsum(new) - 1, twin)
    visible = [np.unique(number[there.keyframes.visible(k)]) for k in range(len(there.keyframes))]
    keyframes = replace(
        there.keyframes,
        names=tuple(names_by_scene(there)),
        point_offsets=np.cumsum([0, *map(len, visible)]).astype(np.int64),
        point_indices=np.concatenate(visible).astype(np.int32),
    )
    return Addition(
        points=there.points[new],
        codes=recoded(there, np.flatnonzero(new), whole.codec),
        landmark_ids=there.landmark_ids[new] + np.int32(len(whole.landmarks)),
        landmarks=joined_table([whole.landmarks, there.landmarks]),
        keyframes=keyframes,
        places={name: np.zeros((len(visible), p.descriptors.shape[1]), np.float32) for name, p in whole.places.items()},
    )


def _wider(some: CovarianceCalibration, other: CovarianceCalibration) -> CovarianceCalibration:
    """What claims less; not calibrated where one of them is not."""
    return CovarianceCalibration(
        max(some.scale, other.scale), np.maximum(some.floor, other.floor), min(some.samples, other.samples)
    )
