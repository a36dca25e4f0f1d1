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

"""Quality of each landmark of a map: extent, points, observations, and how often it is recognised or confused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.covisibility import select_reference_keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.landmarks.observations import LandmarkObservations

# half of the least that landmarks are divided into; as many views as a point needs; keypoints of a visible landmark
FEW_POINTS, FEW_VIEWS, VISIBLE_KEYPOINTS = 15, 3, 5
# fraction of a landmark's keypoints that are classified as one other landmark, and that are classified correctly
HIGH_CONFUSION, LOW_ACCURACY = 0.2, 0.5
_EXTENT_PERCENTILE = 90.0


class Mark(str, Enum):
    """A defect of a landmark."""

    FEW_POINTS = "few points"
    FEW_VIEWS = "few views"
    NO_REFERENCE = "no reference keyframe"
    CONFUSED = "confused"
    LOW_ACCURACY = "rarely recognised"


@dataclass(frozen=True, slots=True)
class LandmarkRecall:
    """How a landmark is recognised in the images in which it is visible: by five keypoints or more.

    Attributes:
        images: number of images in which it is visible.
        recognised_in: number of these in which more of its keypoints are classified correctly than as any other one.
        keypoints: number of keypoints that show it there.
        accuracy: fraction of them that is classified correctly.
        confused_with: the other landmark that most of the rest is classified as, None where there is none.
        confused: fraction of its keypoints that is classified as that one.
        apart_m: metres between the two, None where they are in different scenes.
    """

    images: int
    recognised_in: int
    keypoints: int
    accuracy: float
    confused_with: int | None
    confused: float
    apart_m: float | None


@dataclass(frozen=True, slots=True)
class LandmarkHealth:
    """One landmark.

    Attributes:
        number: of the landmark in the map.
        key: its identity.
        coarse: the coarse landmark that it is a part of.
        frame_id: of its scene; empty where it has no points.
        points: that it has.
        keyframes: that see any of them.
        references: of these, those that stand for the map, see `reference_keyframes`.
        extent_m: metres across, of 90 % of its points.
        extent_rad: the angle that this fills from where it was seen.
        recognised: in images; None where none were given, or it is visible in none.
    """

    number: int
    key: int
    coarse: int
    frame_id: str
    points: int
    keyframes: int
    references: int
    extent_m: float
    extent_rad: float
    recognised: LandmarkRecall | None = None

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Its defects."""
        return tuple(mark for mark, wrong in (
            (Mark.FEW_POINTS, self.points < FEW_POINTS),
            (Mark.FEW_VIEWS, self.keyframes < FEW_VIEWS),
            (Mark.NO_REFERENCE, not self.references),
            (Mark.CONFUSED, self.recognised is not None and self.recognised.confused >= HIGH_CONFUSION),
            (Mark.LOW_ACCURACY, self.recognised is not None and self.recognised.accuracy < LOW_ACCURACY),
        ) if wrong)  # fmt: skip


def landmark_health(landmark_map: LandmarkMap, seen: LandmarkObservations | None = None) -> list[LandmarkHealth]:
    """Every landmark of a map, worst first: by number of marks, then by accuracy, then by points.

    Args:
        landmark_map: the map.
        seen: observations of its landmarks in images with known poses.
    """
    count = len(landmark_map.landmarks)
    keyframes, references = _count_observers(landmark_map)
    members = _members(landmark_map.landmark_ids, count)
    distances = viewing_distances(landmark_map.points, landmark_map.keyframes)
    extents = [_extent(landmark_map.points[own], distances[own]) for own in members]
    recognised = [None] * count if seen is None else _recognised(landmark_map, members, seen)
    rows = [
        LandmarkHealth(
            number=number,
            key=int(landmark_map.landmarks.keys[number]),
            coarse=int(landmark_map.landmarks.parents[number]),
            frame_id=landmark_map.scene_of(own).frame_id if len(own) else "",
            points=len(own),
            keyframes=int(keyframes[number]),
            references=int(references[number]),
            extent_m=extents[number][0],
            extent_rad=extents[number][1],
            recognised=recognised[number],
        )
        for number, own in enumerate(members)
    ]
    return sorted(rows, key=_badness)


def _badness(row: LandmarkHealth) -> tuple[int, float, int, int]:
    accuracy = 1.0 if row.recognised is None else row.recognised.accuracy
    return -len(row.marks), accuracy, row.points, row.number


def _members(ids: Array, count: int) -> Sequence[Array]:
    """The points of every landmark."""
    order = np.argsort(ids, kind="stable")
    return np.split(order, np.searchsorted(ids[order], np.arange(1, count)))


def _count_observers(landmark_map: LandmarkMap) -> tuple[Array, Array]:
    """(L,) numbers of keyframes that observe each landmark, and of reference keyframes."""
    keyframes, count = landmark_map.keyframes, len(landmark_map.landmarks)
    keyframe = keyframes.keyframe_of_observation
    pairs = np.unique(np.column_stack([keyframe, landmark_map.landmark_ids[keyframes.point_indices]]), axis=0)
    of_reference = np.isin(pairs[:, 0], select_reference_keyframes(landmark_map))
    return np.bincount(pairs[:, 1], minlength=count), np.bincount(pairs[of_reference, 1], minlength=count)


def _extent(points: Array, distances: Array) -> tuple[float, float]:
    """Metres across, and the angle in a view, of all but the outliers."""
    if not len(points):
        return 0.0, 0.0
    centred = points.astype(np.float64) - np.median(points, axis=0)
    across = 2 * float(np.percentile(np.linalg.norm(centred, axis=1), _EXTENT_PERCENTILE))
    return across, across / float(np.median(distances))


def _recognised(
    landmark_map: LandmarkMap, members: Sequence[Array], seen: LandmarkObservations
) -> list[LandmarkRecall | None]:
    order = np.argsort(seen.shown, kind="stable")
    ends = np.searchsorted(seen.shown[order], np.arange(len(members) + 1))
    rows: list[LandmarkRecall | None] = []
    for number, (start, stop) in enumerate(pairwise(ends)):
        mine = order[start:stop]
        images, classified = seen.images[mine], seen.classified[mine]
        # fewer may be chance: a point behind a wall that looks like what is before it
        visible = [own for image in np.unique(images) if len(own := classified[images == image]) >= VISIBLE_KEYPOINTS]
        rows.append(_of_one(landmark_map, members, number, visible) if visible else None)
    return rows


def _of_one(
    landmark_map: LandmarkMap, members: Sequence[Array], number: int, visible: Sequence[Array]
) -> LandmarkRecall:
    classified = np.concatenate(visible)
    others, times = np.unique(classified[(classified >= 0) & (classified != number)], return_counts=True)
    other = int(others[times.argmax()]) if len(others) else None
    return LandmarkRecall(
        images=len(visible),
        recognised_in=sum(_mostly(own, number) for own in visible),
        keypoints=len(classified),
        accuracy=float(np.mean(classified == number)),
        confused_with=other,
        confused=float(times.max() / len(classified)) if len(others) else 0.0,
        apart_m=None if other is None else _apart_m(landmark_map, members[number], members[other]),
    )


def _mostly(classified: Array, number: int) -> bool:
    """Whether more of an image's keypoints are classified as this landmark than as any other."""
    names, times = np.unique(classified[classified >= 0], return_counts=True)
    right = int((classified == number).sum())
    return right > int(times[names != number].max(initial=0))


def _apart_m(landmark_map: LandmarkMap, one: Array, other: Array) -> float | None:
    if not len(other) or landmark_map.scene_of(one) is not landmark_map.scene_of(other):
        return None
    centres = [np.median(landmark_map.points[own], axis=0) for own in (one, other)]
    return float(np.linalg.norm(centres[0] - centres[1]))
