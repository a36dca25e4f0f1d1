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

"""The one place that puts the stages of a localizer together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vloc_ros.core.clouds.motion_stereo import MotionStereo
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.config import CandidateConfig, InferenceConfig, LocalizerConfig, TileConfig
from vloc_ros.core.errors import ConfigError, InputError, MapError
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.features.matching_network import MatchingNetwork, check_extractor
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.localization.acceptance import CAMERA_KIND, CLOUD_KIND, DRIVE_KIND, TILE_KIND, AcceptanceModel
from vloc_ros.core.localization.camera_cloud_decision import CameraDecision, to_metres
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
from vloc_ros.core.localization.camera_drive_search import CameraDriveSearch
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.candidates import ITERATIVE, KEYPOINTS, CandidateGenerator, PriorCandidates
from vloc_ros.core.localization.competing_hypotheses import CompetingHypotheses
from vloc_ros.core.localization.hypotheses import NearestNeighbourPoseSolver, PoseSolver
from vloc_ros.core.localization.iterative_solver import IterativePoseSolver
from vloc_ros.core.localization.keyframe_candidates import KeyframeCandidates
from vloc_ros.core.localization.landmark_candidates import (
    LandmarkRecognition,
    LandmarkRecognizer,
    LandmarkRegions,
    LandmarkVoting,
)
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.reranking import CandidateReranker
from vloc_ros.core.localization.retrieval_candidates import (
    ModelRetrieval,
    VladRetrieval,
    find_index_of_encoder,
)
from vloc_ros.core.localization.scan_places import LidarPlaces, find_scan_index
from vloc_ros.core.localization.scan_search import NoScans, PlaceSearch, ScanSearch
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.localization.selection import HypothesisSelector
from vloc_ros.core.localization.tile_places import AerialPlaces, find_tile_index, require_tile_index
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.core.localization.verification import HypothesisVerifier
from vloc_ros.core.localization.views_from_above import ViewsFromAbove
from vloc_ros.core.localization.whole_map_candidates import WholeMapCandidates
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.retrieval.encoders import QueryEncoder
from vloc_ros.core.retrieval.tile_placement import restore_extractor, restore_placement
from vloc_ros.core.retrieval.vlad import VLAD
from vloc_ros.core.tracking.moving_camera import MovingCamera
from vloc_ros.inference.cloud_registration import KissGicpRegistration
from vloc_ros.inference.engines import ON_CPU
from vloc_ros.inference.keypoints import load_keypoints
from vloc_ros.storage.acceptance_tables import read_acceptance_model, read_calibration

# the candidates' own limit is that of a prior which a robot among the landmarks has
_MOST_FROM_ABOVE_M = 100.0


def _rootsift(config: Any, keypoint_model: KeypointModel | None, inference: InferenceConfig) -> Extractor:
    return RootSift(config)


EXTRACTORS: Mapping[str, Callable[[Any, KeypointModel | None, InferenceConfig], Extractor]] = {
    "rootsift": _rootsift,
    "xfeat": load_keypoints,
    "aliked": load_keypoints,
}


def build_extractor(
    config: ExtractorConfig, keypoint_model: KeypointModel | None = None, *, inference: InferenceConfig = ON_CPU
) -> Extractor:
    """The extractor of a configuration; `build_map_extractor` gives that of a map.

    Args:
        config: name and parameters.
        keypoint_model: of an extractor that is a network.
        inference: what that runs on.

    Raises:
        MapError: this version does not have the extractor, or its model is missing or another one.
        ModelError: the model cannot be used.
    """
    if config.name not in EXTRACTORS:
        raise MapError(f"the map needs the extractor {config.name!r}, this version has {', '.join(EXTRACTORS)}")
    return EXTRACTORS[config.name](config, keypoint_model, inference)


def build_map_extractor(landmark_map: LandmarkMap, *, inference: InferenceConfig = ON_CPU) -> Extractor:
    """The extractor of a map, by the model that the map carries. Not thread-safe: every thread needs its own.

    Raises:
        MapError: this version does not have the extractor.
        ModelError: the map's model cannot be used.
    """
    return build_extractor(landmark_map.extractor, landmark_map.keypoint_model, inference=inference)


def build_localizer(
    config: LocalizerConfig,
    landmark_map: LandmarkMap | MapIndex,
    *,
    extractor: Extractor | None = None,
    recognizer: LandmarkRecognizer | None = None,
    encoder: QueryEncoder | None = None,
    network: MatchingNetwork | None = None,
    acceptance: AcceptanceModel | None = None,
    by_scans: bool = False,
    make_selector: type[HypothesisSelector] = HypothesisSelector,
) -> Localizer:
    """A localizer for a map, with candidates in the order of cost and evidence.

    After a prior, a large map is searched by landmarks first, then as a whole where its size allows, then by retrieval.
    A small map is searched as a whole first, and by landmarks last.

    Args:
        config: parameters of the stages.
        landmark_map: the map, or its index where several localizers share it.
        extractor: the map's own where it is there already; None builds it.
        recognizer: trained on the map's landmarks.
        encoder: of one of the map's retrieval indices.
        network: a learned matcher for the map's keypoints, for a last pass, see `matcher.last_pass`.
        acceptance: decides on hypotheses; None takes the table that is shipped for the map's extractor.
        by_scans: scans will come, see `build_scan_search`.
        make_selector: another selector than the usual one, as for recording what it decides on.

    Raises:
        ConfigError: the rate of false accepts is smaller than the table's negatives support.
        MapError: the map needs something that it or this version does not have.
        ModelError: the recogniser was trained on landmarks that the map does not hold, another encoder made the
            retrieval index, the map's keypoint model cannot be used, or the matcher is for other keypoints.
    """
    index = landmark_map if isinstance(landmark_map, MapIndex) else MapIndex(landmark_map)
    scans = build_scan_search(config, index.map, by_scans=by_scans)
    tiles = build_aerial_search(config, index.map)
    if isinstance(scans, NoScans) and tiles is None:
        index.map.require_landmarks()
    scorer, matcher = PoseScorer(index), NearestNeighbourMatcher(config.matcher, index)
    model = acceptance or read_acceptance_model(index.map.extractor.acceptance_table)
    verifier = HypothesisVerifier(config.verification, index, pose=config.pose, scorer=scorer, model=model)
    reranker = CandidateReranker(matcher, config.pose, scorer)
    regions = LandmarkRegions(config.candidates, index, reranker)
    solver = NearestNeighbourPoseSolver(index.map, matcher=matcher, pose=config.pose)
    solvers: dict[str, PoseSolver] = {KEYPOINTS: solver}
    last_pass = None
    if network is not None and len(index.map.points):
        check_extractor(network, index.map.extractor)
    if network is not None and not explain_unused_matcher(config, index.map, network):
        _ = index.point_search  # built now, not in the time of the first last pass
        solvers[ITERATIVE] = IterativePoseSolver(
            index, matcher=IterativeMatcher(network), nearest=matcher, pose=config.pose
        )
        last_pass = KeyframeCandidates(config.matcher, index, matcher)
    return Localizer(
        index,
        extractor=extractor or build_map_extractor(index.map, inference=config.inference),
        prior=PriorCandidates(config.candidates, index.map),
        generators=list(_generators(config.candidates, index.map, matcher, regions, recognizer, encoder)),
        solvers=solvers,
        selector=make_selector(
            index.map,
            verifier=verifier,
            competing=CompetingHypotheses(index, matcher=matcher, pose=config.pose, scorer=scorer),
            model=model,
            config=config.verification,
        ),
        tracking=config.tracking,
        scans=scans,
        tiles=tiles,
        prior_from_above=_prior_from_above(config.candidates, index.map, tiles),
        last_pass=last_pass,
        always_last_pass=config.matcher.last_pass == "always",
    )


def build_scan_search(
    config: LocalizerConfig,
    landmark_map: LandmarkMap,
    *,
    by_scans: bool = False,
    acceptance: AcceptanceModel | None = None,
    calibration: CovarianceCalibration | None = None,
) -> ScanSearch:
    """What localizes scans in a map; it refuses them where the map has no LiDAR places.

    Args:
        config: parameters of the stages.
        landmark_map: the map.
        by_scans: scans will come, also where the map has landmarks; else what aligns them may be missing there.
        acceptance: decides on hypotheses; None takes the table that is shipped.
        calibration: of the covariance; None takes that of the table.

    Raises:
        ConfigError: the rate of false accepts is smaller than the table's negatives support.
        MapError: the LiDAR places are of another version.
        MissingDependencyError: scans will come, or the map has LiDAR places alone, and what aligns them is not
            installed.
    """
    index = find_scan_index(landmark_map)
    if index is None:
        return NoScans()
    voxel_m = ScanContext.from_arrays(index.encoder_arrays).voxel_m
    registration = KissGicpRegistration(voxel_m=voxel_m, threads=config.clouds.threads)
    if by_scans or not len(landmark_map.points):
        registration.check_installed()
    return PlaceSearch(
        LidarPlaces(landmark_map, registration),
        config=config.clouds,
        verification=config.verification,
        max_prior_std_m=config.candidates.prior_max_position_std_m,
        model=acceptance or read_acceptance_model(CLOUD_KIND),
        calibration=calibration or read_calibration(CLOUD_KIND),
    )


def build_camera_cloud_search(
    config: LocalizerConfig,
    landmark_map: LandmarkMap,
    *,
    errors: CameraErrors | None = None,
    acceptance: AcceptanceModel | None = None,
    calibration: CovarianceCalibration | None = None,
) -> tuple[CameraCloudSearch, MotionStereo]:
    """What finds a moving camera in a map of LiDAR places, and how the clouds of its images are made for that map.

    Args:
        config: parameters of the decision.
        landmark_map: the map.
        errors: of odometry and calibration.
        acceptance: decides on hypotheses; None takes the table that is shipped.
        calibration: of the covariance, the floor of the position in voxels²; None takes that of the table.

    Raises:
        ConfigError: the rate of false accepts is smaller than the table's negatives support.
        MapError: the map has no LiDAR places.
        MissingDependencyError: what aligns clouds is not installed.
    """
    index = find_scan_index(landmark_map)
    if index is None:
        raise MapError(f"the map {landmark_map.name} has no LiDAR places; make them with `vloc map lidar`")
    voxel_m = ScanContext.from_arrays(index.encoder_arrays).voxel_m
    registration = KissGicpRegistration(voxel_m=voxel_m, threads=config.clouds.threads)
    registration.check_installed()
    of_voxels = calibration or read_calibration(CAMERA_KIND)
    decision = _camera_decision(
        config, acceptance or read_acceptance_model(CAMERA_KIND), to_metres(of_voxels, voxel_m=voxel_m)
    )
    search = CameraCloudSearch(
        landmark_map, registration, voxel_m=voxel_m, decision=decision, errors=errors or CameraErrors()
    )
    return search, MotionStereo.of_voxels(voxel_m)


def build_camera_drive_search(
    config: LocalizerConfig, landmark_map: LandmarkMap, *, errors: CameraErrors | None = None
) -> tuple[CameraDriveSearch, MotionStereo]:
    """What finds a moving camera by the clouds of its last way, and how these are made for the map.

    Args:
        config: parameters of the decision.
        landmark_map: the map.
        errors: of odometry and calibration.

    Raises:
        ConfigError: the rate of false accepts is smaller than the tables' negatives support.
        MapError: the map has no LiDAR places.
        MissingDependencyError: what aligns clouds is not installed.
    """
    errors = errors or CameraErrors()
    search, stereo = build_camera_cloud_search(config, landmark_map, errors=errors)
    decision = _camera_decision(
        config, read_acceptance_model(DRIVE_KIND), to_metres(read_calibration(DRIVE_KIND), voxel_m=search.voxel_m)
    )
    return CameraDriveSearch(search, landmark_map, decision=decision, errors=errors), stereo


def build_moving_camera(config: LocalizerConfig, landmark_map: LandmarkMap) -> MovingCamera | None:
    """What localizes a robot by the clouds of its camera's last images; None where the map has another use for images.

    That is in maps with landmarks, with aerial tiles, and without LiDAR places.

    Raises:
        ConfigError: the map is too large for the reach, or the rate of false accepts smaller than the tables' negatives
            support.
        MissingDependencyError: what aligns clouds is not installed.
    """
    has_tiles = find_tile_index(landmark_map) is not None and config.tiles.enabled
    if len(landmark_map.points) or has_tiles or find_scan_index(landmark_map) is None:
        return None
    moving = config.moving_camera
    errors = CameraErrors(
        scale_std=moving.scale_std,
        yaw_std_rad=moving.yaw_std_rad,
        focal_std=moving.focal_std,
        extrinsics_std_rad=moving.extrinsics_std_rad,
    )
    search, stereo = build_camera_drive_search(config, landmark_map, errors=errors)
    try:
        search.of_clouds.check_reach(reach_m=moving.reach_m, reach_up_m=moving.reach_up_m)
    except InputError as error:
        reach = "moving_camera.reach_m and reach_up_m"
        raise ConfigError(f"{reach} are {moving.reach_m:g} and {moving.reach_up_m:g} m: {error}") from error
    return MovingCamera(search, stereo, moving)


def _camera_decision(
    config: LocalizerConfig, model: AcceptanceModel, calibration: CovarianceCalibration
) -> CameraDecision:
    """A decision whose rate of false accepts the table supports.

    Raises:
        ConfigError: it does not.
    """
    rate = config.clouds.false_accept_rate
    model.threshold(rate)
    return CameraDecision(
        model, calibration, rate, config.verification.negative_share, config.verification.max_position_std_m
    )


def build_aerial_search(config: LocalizerConfig, landmark_map: LandmarkMap) -> ViewsFromAbove | None:
    """What localizes views from above among the landmarks of a map; None without aerial tiles to search.

    Raises:
        ConfigError: the rate of false accepts is smaller than the table's negatives support.
        MapError: the tiles are damaged.
    """
    if find_tile_index(landmark_map) is None or not config.tiles.enabled:
        return None
    return ViewsFromAbove(build_tile_search(config, landmark_map))


def _prior_from_above(
    config: CandidateConfig, landmark_map: LandmarkMap, tiles: ViewsFromAbove | None
) -> CandidateGenerator | None:
    """Landmarks around a pose by aerial tiles, however uncertain it is: it is metres, and they are far below."""
    if tiles is None or not len(landmark_map.points):
        return None
    return PriorCandidates(replace(config, prior_max_position_std_m=_MOST_FROM_ABOVE_M), landmark_map)


def build_tile_search(
    config: LocalizerConfig,
    landmark_map: LandmarkMap,
    *,
    tiles: TileConfig | None = None,
    acceptance: AcceptanceModel | None = None,
    calibration: CovarianceCalibration | None = None,
) -> TileSearch:
    """What localizes views from above in a map with aerial tiles.

    Args:
        config: parameters of the stages.
        landmark_map: the map.
        tiles: how tiles are searched; None for what the parameters say.
        acceptance: decides on hypotheses; None takes the table that is shipped.
        calibration: of the covariance; None takes that of the table.

    Raises:
        ConfigError: the rate of false accepts is smaller than the table's negatives support.
        MapError: the map has no aerial tiles, or they are damaged.
    """
    index = require_tile_index(landmark_map)
    return TileSearch(
        AerialPlaces(landmark_map),
        extractor=build_tile_extractor(config.inference, landmark_map),
        config=tiles or config.tiles,
        verification=config.verification,
        model=acceptance or read_acceptance_model(TILE_KIND),
        calibration=calibration or read_calibration(TILE_KIND),
        placement=restore_placement(index.encoder_arrays),
    )


def build_tile_extractor(config: InferenceConfig, landmark_map: LandmarkMap) -> Extractor:
    """The extractor of the keypoints of a map's aerial tiles.

    Raises:
        MapError: the map has no aerial tiles, or they name an unknown extractor.
    """
    arrays = require_tile_index(landmark_map).encoder_arrays
    extractor = restore_extractor(arrays, landmark_map.extractor)
    return build_extractor(extractor, landmark_map.keypoint_model if extractor.model_hash else None, inference=config)


def explain_unused_encoder(config: LocalizerConfig, landmark_map: LandmarkMap, encoder: QueryEncoder | None) -> str:
    """Why a localizer that could be built does not use an encoder; empty where it does, or is configured not to."""
    if encoder is None or config.candidates.retrieval != "auto" or find_index_of_encoder(landmark_map, encoder):
        return ""
    return f"the encoder is not used: the map {landmark_map.name} is not encoded by it; run `vloc map encode`"


def explain_unused_matcher(config: LocalizerConfig, landmark_map: LandmarkMap, network: MatchingNetwork | None) -> str:
    """Why a localizer that could be built does not use a learned matcher; empty where it does, or there is none."""
    if network is None:
        return ""
    if not len(landmark_map.points):
        return f"the matcher is not used: the map {landmark_map.name} has no landmarks, and so no keypoints"
    if config.matcher.last_pass == "never":
        return "the matcher is not used: matcher.last_pass is never; set it to on_request or always"
    return ""


def _generators(
    config: CandidateConfig,
    landmark_map: LandmarkMap,
    matcher: NearestNeighbourMatcher,
    regions: LandmarkRegions,
    recognizer: LandmarkRecognizer | None,
    encoder: QueryEncoder | None,
) -> Iterator[CandidateGenerator]:
    """What generates candidates, in order; nothing where the map has no points."""
    if not len(landmark_map.points):
        return
    searched_whole = len(landmark_map.points) <= config.whole_map_max_points
    by_landmarks = list(_by_landmarks(config, landmark_map, matcher, regions, recognizer, searched_whole))
    large = len(landmark_map.points) > config.landmarks_min_points
    encoder = _usable_encoder(config, landmark_map, encoder)
    has_index = encoder is not None and find_index_of_encoder(landmark_map, encoder) is not None
    if large:
        yield from by_landmarks
    if searched_whole:
        yield WholeMapCandidates()
    if encoder and (has_index or not searched_whole or config.retrieval == "model"):
        yield ModelRetrieval(config, landmark_map, encoder)
    elif not searched_whole and config.retrieval != "none" and (VLAD in landmark_map.retrieval or not by_landmarks):
        yield VladRetrieval(config, landmark_map)
    elif not searched_whole and not by_landmarks:
        raise MapError(
            f"the map has {len(landmark_map.points)} points, more than candidates.whole_map_max_points "
            f"{config.whole_map_max_points}, and candidates.retrieval is none; nothing would be searched"
        )
    if not large:
        yield from by_landmarks


def _by_landmarks(
    config: CandidateConfig,
    landmark_map: LandmarkMap,
    matcher: NearestNeighbourMatcher,
    regions: LandmarkRegions,
    recognizer: LandmarkRecognizer | None,
    searched_whole: bool,
) -> Iterator[CandidateGenerator]:
    """Landmarks that a model recognises, and those that keypoints vote for."""
    if recognizer is not None and config.landmarks in ("auto", "recognized"):
        yield LandmarkRecognition(landmark_map, recognizer, regions)
    elif config.landmarks == "recognized":
        raise MapError(
            "candidates.landmarks is recognized, but there is no recogniser; give one (--recognizer, or the node's "
            "parameter recognizer), or set it to auto"
        )
    if searched_whole and config.landmarks in ("auto", "voted"):
        yield LandmarkVoting(landmark_map, matcher, regions)


def _usable_encoder(
    config: CandidateConfig, landmark_map: LandmarkMap, encoder: QueryEncoder | None
) -> QueryEncoder | None:
    """The encoder where the configuration allows it; one that does not fit the map is refused."""
    if config.retrieval == "model" and encoder is None:
        raise MapError(
            "candidates.retrieval is model, but there is no encoder; give one (--encoder, or the node's parameter "
            "encoder), or set it to auto"
        )
    if encoder is None or config.retrieval not in ("auto", "model"):
        return None
    find_index_of_encoder(landmark_map, encoder)
    return encoder
