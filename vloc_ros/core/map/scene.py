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

"""The scenes of a map: parts in metric frames of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True)
class SelfSimilarity:
    """How much a scene resembles itself: what its images find in the parts of it that they do not show.

    Attributes:
        score_shift: log odds, 0 or less, that every hypothesis of the scene is the less likely for it.
        negatives: number of images that were compared with such parts.
    """

    score_shift: float = 0.0
    negatives: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A part of the map in a metric frame of its own; two scenes have no metric relation.

    All geometry of a scene is stored relative to its origin, along the axes of its map frame: variables named
    `scene_from_x` are in that frame, `map_from_x` in the map frame. A scene far from zero, such as one in UTM
    coordinates, so keeps its float32 points exact.

    Attributes:
        frame_id: ROS frame of its poses, usually `map`; names the scene.
        points: range of the map's points that are its own.
        keyframes: range of the map's keyframes that are its own.
        calibration: of the covariance.
        origin: (3,) float64 metres, position of the scene's origin in the map frame.
        self_similarity: what of it looks alike.
        frame_uncertainty: of where it lies in its frame; its centre is relative to the origin.
        frame_is_arbitrary: whether images alone chose the frame, so that it is that of no measurement.
        datum: where the origin of the map frame lies on Earth; None where the scene is not georeferenced.
    """

    frame_id: str
    points: range
    keyframes: range
    calibration: CovarianceCalibration = field(default_factory=CovarianceCalibration)
    origin: Array = field(default_factory=lambda: np.zeros(3))
    self_similarity: SelfSimilarity = SelfSimilarity()
    frame_uncertainty: FrameUncertainty = field(default_factory=FrameUncertainty)
    frame_is_arbitrary: bool = False
    datum: Datum | None = None

    def __post_init__(self) -> None:
        frame_id = self.frame_id
        # TF takes /map for map
        if not isinstance(frame_id, str) or not frame_id or frame_id.startswith("/") or frame_id.split() != [frame_id]:
            raise MapError(f"the frame is {frame_id!r}, expected the name of a ROS frame such as map or kitchen")
        if self.origin.shape != (3,) or not np.isfinite(self.origin).all():
            raise MapError(f"the origin of {frame_id} is {self.origin.tolist()}, expected three finite coordinates")

    @property
    def origin_frame_id(self) -> str:
        """ROS frame of the scene's origin, in which float32 coordinates are published."""
        return f"{self.frame_id}_origin"

    def map_from(self, scene_from_body: Pose) -> Pose:
        """map_from_body of a body whose pose is relative to the scene's origin."""
        return Pose(scene_from_body.rotation, scene_from_body.translation + self.origin)

    def scene_from(self, map_from_body: Pose) -> Pose:
        """scene_from_body, relative to the scene's origin, of a body whose pose is in the map frame."""
        return Pose(map_from_body.rotation, map_from_body.translation - self.origin)


def number_consecutively(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Scenes with as many points and keyframes as they have, one after the other."""
    numbered, point, keyframe = list[Scene](), 0, 0
    for scene in scenes:
        points = range(point, point + len(scene.points))
        keyframes = range(keyframe, keyframe + len(scene.keyframes))
        numbered.append(replace(scene, points=points, keyframes=keyframes))
        point, keyframe = points.stop, keyframes.stop
    return tuple(numbered)
