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

"""What a map is aligned to: gravity, point pairs, or a trajectory of its keyframes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.alignment import gravity_alignment, transform_map
from vloc_ros.storage.pose_files import pair_poses
from vloc_ros.storage.text import number_of, read_text

_PAIR_COLUMNS = 6


class AlignmentTarget(Protocol):
    """What gives the new frame.

    Attributes:
        name: for the map's provenance.
        has_scale: whether it can give a scale.
    """

    name: ClassVar[str]
    has_scale: ClassVar[bool]

    def fit(self, landmark_map: LandmarkMap, *, with_scale: bool) -> tuple[Similarity, Array | None]:
        """target_from_map, and the residual of each pair in the target's unit; None where there are no pairs.

        Raises:
            InputError: the file of the target cannot be used, or does not determine the similarity.
        """
        ...


@dataclass(frozen=True, slots=True)
class GravityTarget:
    """The z axis points up, the heading stays."""

    name: ClassVar[str] = "gravity"
    has_scale: ClassVar[bool] = False

    def fit(self, landmark_map: LandmarkMap, *, with_scale: bool) -> tuple[Similarity, Array | None]:
        """See AlignmentTarget."""
        return gravity_alignment(landmark_map), None


@dataclass(frozen=True, slots=True)
class PairsTarget:
    """Points in the map and the same points in the target frame, see `read_pairs`."""

    path: Path
    name: ClassVar[str] = "pairs"
    has_scale: ClassVar[bool] = True

    def fit(self, landmark_map: LandmarkMap, *, with_scale: bool) -> tuple[Similarity, Array | None]:
        """See AlignmentTarget."""
        source, target = read_pairs(self.path)
        with _naming(self.path):
            target_from_map = Similarity.fit(source, target, with_scale=with_scale)
        return target_from_map, target_from_map.residuals(source, target)


@dataclass(frozen=True, slots=True)
class TrajectoryTarget:
    """The keyframes' poses in the target frame, see `read_keyframe_poses`."""

    path: Path
    name: ClassVar[str] = "trajectory"
    has_scale: ClassVar[bool] = True

    def fit(self, landmark_map: LandmarkMap, *, with_scale: bool) -> tuple[Similarity, Array | None]:
        """See AlignmentTarget."""
        scene_from_cameras, target_from_cameras = read_keyframe_poses(self.path, landmark_map)
        with _naming(self.path):  # near zero, since far from it rounding hides how far the poses lie apart
            fitted = Similarity.fit_poses(scene_from_cameras, target_from_cameras, with_scale=with_scale)
        source, target = (
            np.stack([pose.translation for pose in poses]) for poses in (scene_from_cameras, target_from_cameras)
        )
        shift = fitted.translation - fitted.scale * fitted.rotation @ landmark_map.scene().origin
        return Similarity(fitted.scale, fitted.rotation, shift), fitted.residuals(source, target)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedMap:
    """A map in its new frame.

    Attributes:
        landmark_map: the map; its provenance has a note of the alignment.
        target_from_map: how it was moved.
        residuals: (N,) distance of each pair after the fit, in the target's unit; None where there are no pairs.
        datum_dropped: why the map has lost its datum; empty where it has not.
    """

    landmark_map: LandmarkMap
    target_from_map: Similarity
    residuals: Array | None
    datum_dropped: str = ""


def align_map(
    landmark_map: LandmarkMap,
    target: AlignmentTarget,
    *,
    source_hash: str,
    change_scale: bool = False,
    frame_id: str | None = None,
) -> AlignedMap:
    """Move a map of one scene into the frame of a target.

    A datum that cannot move along, such as into a frame that leans or a UTM grid, is dropped.

    Args:
        landmark_map: the map.
        target: what gives the new frame, and the scale of a map whose scale is unknown.
        source_hash: of the map, for the provenance.
        change_scale: whether the target also gives the scale of a map in metres.
        frame_id: name of the new frame; None keeps the map's.

    Raises:
        InputError: the target cannot be used, or does not determine the similarity.
    """
    with_scale = target.has_scale and (change_scale or not landmark_map.metric)
    target_from_map, residuals = target.fit(landmark_map, with_scale=with_scale)
    given, datum_dropped = _with_datum_that_moves(landmark_map, target_from_map)
    moved = transform_map(given, target_from_map, frame_id=frame_id, metric=True if with_scale else None)
    step = {"to": target.name, "from_map": source_hash, "scale": target_from_map.scale}
    steps = [*moved.provenance.get("alignments", []), step]
    # maps of earlier versions note their datum there, which in another frame is not the origin
    kept = {name: value for name, value in moved.provenance.items() if name != "datum"}
    scene = moved.scene()
    if target.has_scale:  # the map now lies where the target says
        uncertainty = scene.frame_uncertainty.only_scale()
        if with_scale:
            uncertainty = FrameUncertainty(centre=uncertainty.centre, bending=uncertainty.bending)
        scene = replace(scene, frame_uncertainty=uncertainty, frame_is_arbitrary=False)
    noted = replace(moved, scenes=(scene,), provenance={**kept, "alignments": steps})
    return AlignedMap(noted, target_from_map, residuals, datum_dropped)


def _with_datum_that_moves(landmark_map: LandmarkMap, target_from_map: Similarity) -> tuple[LandmarkMap, str]:
    """The map, without its datum where that cannot move along, and why."""
    scene = landmark_map.scene()
    if scene.datum is None:
        return landmark_map, ""
    try:
        scene.datum.transform(target_from_map)
    except InputError as error:
        return replace(landmark_map, scenes=(replace(scene, datum=None),)), str(error)
    return landmark_map, ""


def read_pairs(path: Path) -> tuple[Array, Array]:
    """(N, 3) points in the map and (N, 3) the same in the target frame.

    Raises:
        InputError: the file cannot be read, or a row is not six finite numbers; the message names the line.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = np.array([number_of(word) for word in words])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}, expected numbers mx my mz tx ty tz") from None
        if row.shape != (_PAIR_COLUMNS,) or not np.isfinite(row).all():
            found = f"{len(row)} columns" if len(row) != _PAIR_COLUMNS else "a value that is not finite"
            raise InputError(f"{path}, line {number}: {found}, expected six numbers mx my mz tx ty tz")
        rows.append(row)
    pairs = np.array(rows).reshape(-1, _PAIR_COLUMNS)
    return pairs[:, :3], pairs[:, 3:]


def read_keyframe_poses(path: Path, landmark_map: LandmarkMap) -> tuple[list[Pose], list[Pose]]:
    """scene_from_camera and target_from_camera of the keyframes of a map of one scene, in name order.

    Raises:
        InputError: the file is no trajectory, or does not have one row per keyframe.
    """
    keyframes = landmark_map.keyframes
    order = sorted(range(len(keyframes)), key=lambda k: keyframes.names[k])
    paired = pair_poses([keyframes.names[k] for k in order], path, what="keyframes (`vloc map info MAP --json`)")
    return [keyframes.pose(order[one.index]) for one in paired], [one.pose for one in paired]


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors within name the file that they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
