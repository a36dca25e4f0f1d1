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

"""Views from above among the landmarks of a map: the camera that looks down is located in the map's aerial tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.localization.observation import StageClock
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.query import FlightState, PosePrior, Query, View

# candidate of a pose that aerial tiles alone gave
FROM_ABOVE = "retrieval/aerial"


class AerialSearch(Protocol):
    """Localizes the views of queries that look down."""

    def search(self, query: Query, clock: StageClock) -> LocalizationResult:
        """The pose of the rig, or a refusal."""
        ...


class ViewsFromAbove:
    """Locates the rig by that of its cameras which looks down most."""

    def __init__(self, tiles: TileSearch) -> None:
        """`tiles` searches those of the map."""
        self._tiles = tiles

    def search(self, query: Query, clock: StageClock) -> LocalizationResult:
        """The pose of the rig, or a refusal; of several cameras gravity has to be known."""
        view = _find_view_of_ground(query.views, query.flight.down)
        if view is None:
            reason = "which camera looks down is unknown without gravity; is odom_frame known to TF?"
            return LocalizationResult.refused(Status.NO_CANDIDATES, reason)
        altitude_m = _altitude_of(view, query.flight)
        if altitude_m is not None and not altitude_m > 0:
            reason = f"the altitude of the camera is {altitude_m:.2f} m, expected metres above the ground, more than 0"
            return LocalizationResult.refused(Status.NO_FEATURES, reason)
        with clock.stage("tiles"):
            found = self._tiles.localize(_make_aerial_query(view, query, altitude_m))
        return _carry_to_rig(found, view) if found.ok else found


def _carry_to_rig(found: LocalizationResult, view: View) -> LocalizationResult:
    """A pose of the camera as one of the rig."""
    assert found.map_from_rig is not None
    assert found.covariance is not None
    camera_from_rig = view.rig_from_camera.inverse()
    covariance, of_frame = (
        carry_covariance(one, found.map_from_rig, camera_from_rig) for one in (found.covariance, found.frame_covariance)
    )
    pose = found.map_from_rig @ camera_from_rig
    return replace(found, map_from_rig=pose, covariance=covariance, frame_covariance=of_frame, candidate=FROM_ABOVE)


def _find_view_of_ground(views: Sequence[View], down: Array | None) -> View | None:
    """The view that looks down most; None of several where gravity is unknown."""
    if down is None:
        return views[0] if len(views) == 1 else None
    return max(views, key=lambda view: float(view.rig_from_camera.rotation[:, 2] @ down))


def _altitude_of(view: View, flight: FlightState) -> float | None:
    """That of the camera above the ground, metres; the tilt of a rig of unknown gravity is left out."""
    if flight.altitude_m is None or flight.down is None:
        return flight.altitude_m
    return flight.altitude_m - float(view.rig_from_camera.translation @ flight.down)


def _make_aerial_query(view: View, query: Query, altitude_m: float | None) -> AerialQuery:
    own, flight, prior = replace(view, rig_from_camera=Pose.identity()), query.flight, query.prior
    if prior is not None:
        covariance = carry_covariance(prior.covariance, prior.map_from_rig, view.rig_from_camera)
        prior = PosePrior(prior.map_from_rig @ view.rig_from_camera, covariance, prior.frame_id)
    if flight.down is None:
        return AerialQuery(own, altitude_m=altitude_m, altitude_std=flight.altitude_std, prior=prior)
    down = view.rig_from_camera.rotation.T @ flight.down
    down /= np.linalg.norm(down)
    return AerialQuery(own, down, flight.down_std_rad, altitude_m, flight.altitude_std, prior=prior)
