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

"""Where the next images are expected: the initial pose or the last fix, carried on by odometry."""

from __future__ import annotations

import threading

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import PosePrior
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.initial_pose import InitialPose
from vloc_ros.nodes.localizer.loaded_map import LoadedMap
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms

# (0.2 m)² in height, (0.1 rad)² in roll and pitch: ramps, and floors that are not the map's plane
_OUT_OF_PLANE = np.diag([0.0, 0.0, 0.04, 0.01, 0.01, 0.0])


class PriorTracking:
    """The prior of each image set; a new map, a new initial pose or a request makes the fix filter begin again."""

    def __init__(self, fix_filter: FixFilter, initial_pose: InitialPose, transforms: RigTransforms) -> None:
        self._filter, self._initial_pose, self._transforms = fix_filter, initial_pose, transforms
        self._map_hash = ""
        self._initial: PosePrior | None = None
        self._reset_requested = threading.Event()
        self._generation = 0

    def request_reset(self) -> None:
        """Discard the tracked pose before the next prior. Thread-safe."""
        self._generation += 1
        self._reset_requested.set()

    @property
    def generation(self) -> int:
        """Number of times that the tracked pose was discarded."""
        return self._generation

    @property
    def is_reset_requested(self) -> bool:
        """Whether the last prior was made before the tracked pose was discarded."""
        return self._reset_requested.is_set()

    def begin(self, initial: PosePrior | None, loaded: LoadedMap) -> None:
        """Let the fix filter begin again where the map or the initial pose is new, or on request."""
        is_new = initial is not None and initial is not self._initial
        is_requested = self._reset_requested.is_set()
        if is_requested or is_new or loaded.hash != self._map_hash:
            self._reset_requested.clear()
            self._generation += not is_requested
            self._map_hash, self._initial = loaded.hash, initial
            self._filter.reset()

    def make_prior(
        self,
        config: LocalizerNodeConfig,
        initial: PosePrior | None,
        loaded: LoadedMap,
        reference: Reference,
        odom_from_base: Pose | None,
    ) -> PosePrior | None:
        """Return the prior of the rig: the initial pose, or the last fix carried by odometry."""
        self.begin(initial, loaded)
        # the map may be swapped between the arrival of an initial pose and its removal
        prior = initial if initial and initial.frame_id in loaded.localizer.map.frame_ids else None
        if prior is not None:
            prior = self._initial_pose.carry(
                prior,
                self._filter.config,
                odom_from_base=odom_from_base,
                stamp_ns=reference.stamp_ns,
                odometry_at=lambda stamp_ns: self._transforms.odometry_at(reference, stamp_ns),
            )
        expected = self._filter.carry(odom_from_base, reference.stamp_ns)
        if prior is None and expected is not None and config.carry_last_fix:
            # a pose in the plane has no variance out of it, the camera has
            unknown = _OUT_OF_PLANE if config.two_d_mode else np.zeros((6, 6))
            prior = PosePrior(expected.map_from_base, expected.covariance + unknown, expected.frame_id)
        if prior is None:
            return None
        base_from_rig = self._transforms.base_from_rig(reference)
        covariance = carry_covariance(prior.covariance, prior.map_from_rig, base_from_rig)
        return PosePrior(prior.map_from_rig @ base_from_rig, covariance, prior.frame_id)
