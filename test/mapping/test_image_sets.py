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

"""Images that a rig took together: the rig's motion counts once, and its extrinsics tie them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from posed_points import CAMERA, make_posed_points

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage, RigView, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.image_sets import ImageSets
from vloc_ros.mapping.sfm.measured_placement import place_by_measurements
from vloc_ros.mapping.sfm.measurements import measured_motions
from vloc_ros.mapping.sfm.scale import GivenPoses

_FRONT_FROM_REAR = Pose.from_rotation_vector([0.0, np.pi, 0.0], [0.1, 0.0, -0.4])


def _rig(front: list[PosedImage]) -> list[PosedImage]:
    """Each image of the front camera, and one of the rear camera after it; of the second set it is missing."""
    images = []
    for number, image in enumerate(front):
        rig = RigView(image.name, _FRONT_FROM_REAR)
        assert image.map_from_camera is not None
        rear = replace(
            image, name=f"rear/{image.name}", rig=rig, map_from_camera=image.map_from_camera @ rig.lead_from_camera
        )
        images += [image] if number == 1 else [image, rear]
    return images


def test_the_motion_of_a_rig_is_measured_once() -> None:
    scene = make_posed_points(images=4)
    images = _rig(scene.images())
    sets = ImageSets.of(images)
    assert sets.leads.tolist() == [0, 0, 2, 3, 3, 5, 5]
    assert sets.set_numbers.tolist() == [0, 0, 1, 2, 2, 3, 3]
    poses = [image.map_from_camera for image in images if image.map_from_camera is not None]
    motions = sets.motions(poses)
    assert [motion.pair for motion in motions] == [(0, 2), (2, 3), (3, 5), (0, 1), (3, 4), (5, 6)]
    # as uncertain as of one camera, though the rear one is turned by 180 degrees
    alone = measured_motions(scene.poses)
    assert all((one.std == other.std).all() for one, other in zip(motions, alone, strict=False))
    for motion in motions[3:]:
        assert max(motion.first_from_second.distance_to(_FRONT_FROM_REAR)) < 1e-9
        assert motion.std.max() < alone[0].std.min()


def test_an_image_whose_lead_is_missing_counts_as_taken_alone() -> None:
    images = _rig(make_posed_points(images=4).images())
    assert ImageSets.of(images[1:]).leads.tolist() == [0, 1, 2, 2, 4, 4]


def test_a_camera_that_sees_nothing_is_carried_by_the_other() -> None:
    """Where odometry turns by a degree a step, the front camera takes that out for both."""
    scene = make_posed_points(images=12)
    odometry = [scene.poses[0]]
    for before, after in pairwise(scene.poses):
        odometry.append(odometry[-1] @ Pose.from_rotation_vector([0, 0.017, 0], np.zeros(3)) @ before.inverse() @ after)
    front = [replace(image, map_from_camera=pose) for image, pose in zip(scene.images(), odometry, strict=True)]
    found = {image.name: features for image, features in zip(front, scene.features, strict=True)}
    views = []
    for image in _rig(front):
        features = found.get(image.name, Features.empty(128))
        views.append(ExtractedImage(image, features, CAMERA.unproject(features.xy)))
    config = MappingConfig(vocabulary_words=8, pairs_per_image=6)
    placement = place_by_measurements(views, GivenPoses(drifting=True), config, silent)
    truth = {image.name: pose for image, pose in zip(front, scene.poses, strict=True)}
    placed = dict(zip([view.image.name for view in views], placement.poses, strict=True))
    first = placed[front[0].name]
    for view in views:
        name, pose = view.image.name, placed[view.image.name]
        true = truth[view.image.rig.lead] @ _FRONT_FROM_REAR if view.image.rig else truth[name]
        assert first is not None
        assert pose is not None
        off_m, off_rad = (first.inverse() @ pose).distance_to(scene.poses[0].inverse() @ true)
        assert off_m < 0.06
        assert off_rad < 0.03
