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

"""LiDAR places of a map, ready to be compared with a scan, and which of them a scan may be of."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.clouds.alignment import CloudRegistration
from vloc_ros.core.clouds.bird_view import BirdView, find_shift
from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points
from vloc_ros.core.clouds.scan_context import CONTEXT, ScanContext
from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR, ScanContextEncoder

# a prepared place takes up to 4 MB, a Scan Context and a bird's-eye view 10 kB
_PREPARED, _VIEWS = 32, 10_000
# radians; the sectors of a Scan Context are 6 degrees wide
_YAW_STEPS = np.radians([-3.0, 0.0, 3.0])


@dataclass(frozen=True, slots=True, eq=False)
class PlaceGuess:
    """A place that a scan may be of.

    Attributes:
        place: number of the place.
        place_from_scan: roughly.
        similarity: of what both show from above, 0 to 1.
    """

    place: int
    place_from_scan: Pose
    similarity: float


class LidarPlaces:
    """The LiDAR places of one map. What is derived from a place is kept for those used last."""

    def __init__(self, landmark_map: LandmarkMap, registration: CloudRegistration) -> None:
        """The places of a map that has some, see `find_scan_index`."""
        self.map, self.registration = landmark_map, registration
        index = find_scan_index(landmark_map)
        assert index is not None
        self._index, self.places = index, landmark_map.places[LIDAR]
        self.encoder = ScanContextEncoder(ScanContext.from_arrays(index.encoder_arrays))
        if index.encoder != self.encoder.hash:
            raise MapError(
                f"the LiDAR places of the map {landmark_map.name} were encoded by {index.encoder[:12]}, this version "
                f"has {self.encoder.hash[:12]}; make them again with `vloc map lidar`"
            )
        self._prepared: OrderedDict[int, Any] = OrderedDict()
        self._views: OrderedDict[int, tuple[Array, BirdView]] = OrderedDict()

    @property
    def voxel_m(self) -> float:
        """Size of the voxels that clouds are down-sampled to."""
        return self.encoder.context.voxel_m

    def prepared(self, place: int) -> Any:
        """The cloud of a place, prepared for registration."""
        if place not in self._prepared:
            self._prepared[place] = self.registration.prepare(self._points(place))
            if len(self._prepared) > _PREPARED:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(place)
        return self._prepared[place]

    def retrieve(self, points: Array, rows: Array, *, count: int) -> list[PlaceGuess]:
        """The places that a scan resembles most seen from above, best first.

        Scan Contexts say how the scan may be turned, and a correlation of bird's-eye views where it lies then.

        Args:
            points: (N, 3) of the scan, levelled.
            rows: (V, D) descriptors of the query.
            count: how many places are retrieved by their descriptors, which are then compared.
        """
        of = self.encoder.context
        contexts = [of.describe(points - offset) for offset in self.encoder.lanes()]
        view, turned = BirdView.of_points(points, range_m=of.range_m), dict[float, Array]()
        guesses = []
        for place in self._index.nearest_items(rows, count):
            context, view_of_place = self._view(int(place))
            transform, found = view_of_place.transform(blur=True), []
            for yaw in np.unique([of.align(one, context)[1] for one in contexts])[:, None] + _YAW_STEPS:
                for angle in yaw.round(6).tolist():
                    if angle not in turned:
                        turned[angle] = view.transform(angle)
                    found.append((*find_shift(turned[angle], transform, cell_m=view.cell_m), angle))
            similarity, shift, angle = max(found, key=lambda one: one[0])
            guesses.append(PlaceGuess(int(place), _level_pose(angle, shift), similarity))
        return sorted(guesses, key=lambda one: -one.similarity)

    def scene_from_scan(self, guess: PlaceGuess) -> Pose:
        """Roughly where a scan is, by a guess."""
        return self.places.pose(guess.place) @ guess.place_from_scan

    def near(self, prior: PosePrior, rig_from_scan: Pose, *, best: int) -> list[PlaceGuess]:
        """The places nearest to where the scan is expected, within the range of one."""
        number = self.map.frame_ids.index(self.map.scene(prior.frame_id).frame_id)
        scene_from_scan = self.map.scenes[number].scene_from(prior.map_from_rig) @ rig_from_scan
        distance = np.linalg.norm(self.places.translations - scene_from_scan.translation, axis=1)
        reach_m = self.encoder.context.range_m / 2
        near = np.flatnonzero((self.places.scenes == number) & (distance < reach_m))
        nearest = near[np.argsort(distance[near], kind="stable")[:best]]
        return [PlaceGuess(int(k), self.places.pose(int(k)).inverse() @ scene_from_scan, 1.0) for k in nearest]

    def _view(self, place: int) -> tuple[Array, BirdView]:
        """The Scan Context and the bird's-eye view of a place."""
        if place not in self._views:
            points, of = self._points(place), self.encoder.context
            self._views[place] = of.describe(points), BirdView.of_points(points, range_m=of.range_m)
            if len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(place)
        return self._views[place]

    def _points(self, place: int) -> Array:
        return decode_points(self.places.payloads[POINTS_CM].of(place))


def find_scan_index(landmark_map: LandmarkMap) -> RetrievalIndex | None:
    """The retrieval index of a map's LiDAR places that scans can be aligned with; None where it has none.

    Maps whose scans are of different range lose their indices when they are put into one.
    """
    places = landmark_map.places.get(LIDAR)
    if places is None or POINTS_CM not in places.payloads:
        return None
    indices = (index for index in landmark_map.retrieval.values() if index.modality == LIDAR)
    # beside it may be those of range models, whose space images share
    return next((index for index in indices if CONTEXT in index.encoder_arrays), None)


def is_certain(prior: PosePrior, *, max_std_m: float) -> bool:
    """Whether a prior says where to look."""
    return bool(np.sqrt(np.diag(prior.covariance)[:3].max()) <= max_std_m)


def _level_pose(yaw: float, shift: Array) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], np.array([*shift, 0.0]))
