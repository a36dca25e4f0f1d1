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

"""Collection of evidence in the worlds of a split: own queries, perceptual aliasing, and other places."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.acceptance.evidence_table import (
    ALIASED,
    FOREIGN,
    FURNISHED_ALIKE,
    MISPLACED,
    OWN,
    EvidenceTable,
    RecordedQuery,
)
from training.acceptance.recording import RecordingLocalizer, evidence_array
from training.acceptance.worlds import CONDITIONS, SPLITS, degrade, load_frame, make_foreign_lap, make_mapped_world
from vloc_ros.assembly import build_extractor
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.candidates import PRIOR
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.sources import PosedImage
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.maps.merge import merge_maps
from vloc_ros.simulation.scenario import Lap
from vloc_ros.storage.maps import read_map, write_map

_FRAMES_AT_ONCE = 4
# of a prior, and how far it is from where the image was taken
_PRIOR_STD_M, _PRIOR_STD_RAD = 0.3, 0.1
# of a wrong one, how far it is off, and the standard deviations that it claims
_MISPLACED_M, _MISPLACED_RAD = (0.5, 3.0), (0.0, 0.6)
_CLAIMED = ((0.05, 0.03), (_PRIOR_STD_M, _PRIOR_STD_RAD))
# every so many queries has a prior
_PRIOR_EVERY = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """What every process of a collection needs.

    Attributes:
        split: name of the split.
        extractor: `rootsift`, or the folder of a keypoint model.
        folder: rendered frames are kept there, and the maps.
    """

    split: str
    extractor: str
    folder: Path

    @property
    def images(self) -> Path:
        """Where rendered frames are."""
        return self.folder / "images"

    def map_folder(self, number: int) -> Path:
        """Where a map is."""
        return self.folder / "maps" / Path(self.extractor).name / f"{self.split}-{number:02}"


def collect(setting: Setting, *, workers: int) -> EvidenceTable:
    """Build the maps of a split, query them, and record every hypothesis."""
    split = SPLITS[setting.split]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=limit_blas_threads) as pool:
        jobs = [pool.submit(_query_mapped_world, setting, number) for number in range(split.maps)]
        recorded = _gather(jobs, "maps")
        total = split.foreign_worlds * split.foreign_frames
        starts = range(0, total, _FRAMES_AT_ONCE)
        jobs = [pool.submit(_query_foreign, setting, start, min(start + _FRAMES_AT_ONCE, total)) for start in starts]
        recorded += _gather(jobs, "other places")
    return EvidenceTable.of_queries(recorded)


def _gather(jobs: Sequence[Future[list[RecordedQuery]]], description: str) -> list[RecordedQuery]:
    done = tqdm(as_completed(jobs), desc=description, total=len(jobs))
    return [one for job in done for one in job.result()]


def _query_mapped_world(setting: Setting, number: int) -> list[RecordedQuery]:
    """Build a map and query it by its own world, and by one that looks like it."""
    mapped, recorded = make_mapped_world(SPLITS[setting.split], number), []
    _build(setting, mapped.scenes, setting.map_folder(number))
    other = FURNISHED_ALIKE if mapped.furnished_alike else ALIASED
    for kind, lap in ((OWN, mapped.own), (MISPLACED, mapped.own), (other, mapped.aliased)):
        for k in range(len(lap) if lap is not None else 0):
            assert lap is not None
            for condition in _conditions(lap.seed + k, all_of_them=kind == OWN):
                recorded.append(_query(setting, lap, k, condition, number, kind))
    return recorded


def _query_foreign(setting: Setting, start: int, stop: int) -> list[RecordedQuery]:
    """Query maps by some of the frames of other places."""
    split, recorded = SPLITS[setting.split], []
    for number in range(start, stop):
        lap, k = make_foreign_lap(split, number // split.foreign_frames), number % split.foreign_frames
        for condition in split.foreign_conditions(number):
            chosen = np.random.default_rng([split.seed, number, condition]).permutation(split.maps)
            recorded += [
                _query(setting, lap, k, condition, int(map_number), FOREIGN)
                for map_number in chosen[: split.maps_per_frame]
            ]
    return recorded


def _query(setting: Setting, lap: Lap, k: int, condition: int, map_number: int, kind: int) -> RecordedQuery:
    """Query a map by a frame, every third time with a prior, always with one that is to be misplaced."""
    localizer = _localizer(setting, map_number)
    landmark_map, rng = localizer.localizer.map, np.random.default_rng([lap.seed, k, condition, map_number])
    features, query = _extract(setting, lap, k, condition)
    has_prior, frame_id = rng.integers(_PRIOR_EVERY) == 0 or kind == MISPLACED, landmark_map.frame_ids[0]
    if kind == MISPLACED:
        query = replace(query, prior=_misplace(lap.map_from_camera[k], frame_id, rng))
    elif has_prior:
        keyframe = landmark_map.keyframes.pose(int(rng.integers(len(landmark_map.scenes[0].keyframes))))
        near = lap.map_from_camera[k] if kind == OWN else landmark_map.scenes[0].map_from(keyframe)
        query = replace(query, prior=_disturb(near, frame_id, rng))
    recorded = localizer.record(features, query)
    if kind == MISPLACED:  # what other candidates find would hide what the prior leads to
        recorded = [one for one in recorded if one.result.candidate == PRIOR]
    truth = lap.map_from_camera[k] if kind in (OWN, MISPLACED) else None
    labels = [one.label(frame_id, truth) for one in recorded]
    return RecordedQuery(evidence_array(recorded), labels, kind, condition, lap.seed // 10, map_number, int(has_prior))


@lru_cache(maxsize=2)
def _extract(setting: Setting, lap: Lap, k: int, condition: int) -> tuple[Features, Query]:
    image = degrade(load_frame(lap, k, setting.images), CONDITIONS[condition], lap.seed + k)
    return _extractor(setting.extractor).extract(image), Query.single(image, lap.camera)


def _disturb(map_from_camera: Pose, frame_id: str, rng: np.random.Generator) -> PosePrior:
    offset = Pose.from_rotation_vector(rng.normal(0, _PRIOR_STD_RAD, 3), rng.normal(0, _PRIOR_STD_M, 3))
    return _prior(map_from_camera, offset, (_PRIOR_STD_M, _PRIOR_STD_RAD), frame_id)


def _misplace(map_from_camera: Pose, frame_id: str, rng: np.random.Generator) -> PosePrior:
    directions = rng.normal(size=(2, 3))
    turn, shift = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    offset = Pose.from_rotation_vector(rng.uniform(*_MISPLACED_RAD) * turn, rng.uniform(*_MISPLACED_M) * shift)
    return _prior(map_from_camera, offset, _CLAIMED[int(rng.integers(len(_CLAIMED)))], frame_id)


def _prior(map_from_camera: Pose, offset: Pose, stds: tuple[float, float], frame_id: str) -> PosePrior:
    turned = Pose(offset.rotation @ map_from_camera.rotation, map_from_camera.translation + offset.translation)
    return PosePrior(turned, np.diag(np.repeat(np.square(stds), 3)), frame_id)


def _conditions(seed: int, *, all_of_them: bool) -> Sequence[int]:
    """Conditions of a frame: all, or day and one other."""
    return range(len(CONDITIONS)) if all_of_them else (0, 1 + seed % (len(CONDITIONS) - 1))


def _build(setting: Setting, laps: Sequence[Lap], folder: Path) -> None:
    if folder.exists():
        return
    config, parts = _mapping_config(setting.extractor), []
    for number, lap in enumerate(laps):
        images = [
            PosedImage(
                lap.name(k), partial(load_frame, lap, k, setting.images), lap.camera, pose, int(lap.stamps_ns[k])
            )
            for k, pose in enumerate(lap.map_from_camera)
        ]
        parts.append(
            build_map(
                images,
                name=lap.world.name,
                config=config,
                keypoint_model=_keypoint_model(setting.extractor),
                frame_id=f"map_{number}",
            )
        )
    write_map(parts[0] if len(parts) == 1 else merge_maps(parts, name=folder.name, config=config), folder)


@lru_cache(maxsize=1)
def _keypoint_model(extractor: str) -> KeypointModel | None:
    return None if extractor == RootSiftConfig().name else read_keypoint_model(Path(extractor))


def _mapping_config(extractor: str) -> MappingConfig:
    model = _keypoint_model(extractor)
    config = RootSiftConfig() if model is None else keypoint_model_config(model)
    return MappingConfig(extractor=config, calibration_gap_m=0.0)  # no evidence depends on the calibration


@lru_cache(maxsize=1)
def _extractor(extractor: str) -> Extractor:
    return build_extractor(_mapping_config(extractor).extractor, _keypoint_model(extractor))


@lru_cache(maxsize=16)
def _localizer(setting: Setting, number: int) -> RecordingLocalizer:
    return RecordingLocalizer(read_map(setting.map_folder(number)), _extractor(setting.extractor))
