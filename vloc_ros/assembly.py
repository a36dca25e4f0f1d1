"""The one place that puts the stages of a localizer together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vloc_ros.core.config import CandidateConfig, ExtractorConfig, LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Extractor, RootSift
from vloc_ros.core.localization.candidates import CandidateGenerator, PriorCandidates, WholeMapCandidates
from vloc_ros.core.localization.landmark_candidates import (
    LandmarkRecognition,
    LandmarkRecognizer,
    LandmarkRegions,
    LandmarkVoting,
)
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.retrieval_candidates import (
    MODEL,
    VLAD,
    GlobalDescriptorEncoder,
    ModelRetrieval,
    VladRetrieval,
    find_index_of_encoder,
)
from vloc_ros.core.localization.verification import Verifier
from vloc_ros.core.map.covisibility import LandmarkCovisibility
from vloc_ros.core.map.landmark_map import LandmarkMap

EXTRACTORS: dict[str, Callable[[ExtractorConfig], Extractor]] = {"rootsift": RootSift}


def build_extractor(config: ExtractorConfig) -> Extractor:
    """The extractor that a map names.

    Raises:
        MapError: this version does not have it.
    """
    if config.name not in EXTRACTORS:
        raise MapError(f"the map needs the extractor {config.name!r}, this version has {', '.join(EXTRACTORS)}")
    return EXTRACTORS[config.name](config)


def build_localizer(
    config: LocalizerConfig,
    landmark_map: LandmarkMap,
    *,
    recognizer: LandmarkRecognizer | None = None,
    encoder: GlobalDescriptorEncoder | None = None,
    like: Localizer | None = None,
) -> Localizer:
    """A localizer for a map: proposals in the order of cost and evidence, ending with the whole map where it is small.

    Args:
        config: parameters of the stages.
        landmark_map: the map.
        recognizer: trained on the map's landmarks.
        encoder: of the map's place index.
        like: a localizer of the same map, whose search index, places and recogniser are taken over; not the encoder.

    Raises:
        MapError: the map needs something that it or this version does not have.
        ModelError: the recogniser was trained on landmarks that the map does not hold, or another encoder than the one
            that is given made its place index.
    """
    matcher = NearestNeighbourMatcher(config.matcher, landmark_map, like=like.matcher if like else None)
    places = like.places if like else LandmarkCovisibility(landmark_map)
    recognizer = recognizer or (like.recognizer if like else None)
    return Localizer(
        landmark_map,
        extractor=build_extractor(landmark_map.extractor),
        prior_view=PriorCandidates(config.proposals, landmark_map),
        proposers=list(_proposers(config.proposals, landmark_map, matcher, places, recognizer, encoder)),
        matcher=matcher,
        places=places,
        recognizer=recognizer,
        pose=config.pose,
        verifier=Verifier(config.verification, landmark_map, pose=config.pose),
        tracking=config.tracking,
    )


def explain_unused_encoder(
    config: LocalizerConfig, landmark_map: LandmarkMap, encoder: GlobalDescriptorEncoder | None
) -> str:
    """Why a localizer that could be built does not ask an encoder; empty where it does, or is told not to."""
    if encoder is None or MODEL in landmark_map.places or config.proposals.places != "auto":
        return ""
    return f"the encoder is not asked: the map {landmark_map.name} is not encoded by it; run `vloc map encode`"


def _proposers(
    config: CandidateConfig,
    landmark_map: LandmarkMap,
    matcher: NearestNeighbourMatcher,
    places: LandmarkCovisibility,
    recognizer: LandmarkRecognizer | None,
    encoder: GlobalDescriptorEncoder | None,
) -> Iterator[CandidateGenerator]:
    """Who says where to look, in the order in which they are asked."""
    searched_whole = len(landmark_map.points) <= config.whole_map_max_points
    by_landmarks = list(_by_landmarks(config, landmark_map, matcher, places, recognizer, searched_whole))
    large = len(landmark_map.points) > config.landmarks_min_points
    encoder = _usable_encoder(config, landmark_map, encoder)
    if large:
        yield from by_landmarks
    if searched_whole:
        yield WholeMapCandidates()
    if encoder and (MODEL in landmark_map.places or not searched_whole or config.places == MODEL):
        yield ModelRetrieval(config, landmark_map, encoder)
    elif not searched_whole and config.places != "none" and (VLAD in landmark_map.places or not by_landmarks):
        yield VladRetrieval(config, landmark_map)
    elif not searched_whole and not by_landmarks:
        raise MapError(
            f"the map has {len(landmark_map.points)} points, more than proposals.whole_map_max_points "
            f"{config.whole_map_max_points}, and proposals.places is none; nothing would be searched"
        )
    if not large:
        yield from by_landmarks


def _by_landmarks(
    config: CandidateConfig,
    landmark_map: LandmarkMap,
    matcher: NearestNeighbourMatcher,
    places: LandmarkCovisibility,
    recognizer: LandmarkRecognizer | None,
    searched_whole: bool,
) -> Iterator[CandidateGenerator]:
    """Landmarks that a model recognises, and those that keypoints vote for."""
    landmark_places = LandmarkRegions(config, places)
    if recognizer is not None and config.landmarks in ("auto", "recognized"):
        yield LandmarkRecognition(landmark_map, recognizer, landmark_places)
    elif config.landmarks == "recognized":
        raise MapError("proposals.landmarks is recognized, but there is no model; give one, or set it to auto")
    if searched_whole and config.landmarks in ("auto", "voted"):
        yield LandmarkVoting(landmark_map, matcher, landmark_places)


def _usable_encoder(
    config: CandidateConfig, landmark_map: LandmarkMap, encoder: GlobalDescriptorEncoder | None
) -> GlobalDescriptorEncoder | None:
    """The encoder where it may be asked for places; one that does not fit the map is refused then."""
    if config.places == "student" and encoder is None:
        raise MapError("proposals.places is student, but there is no encoder; give one, or set it to auto")
    if encoder is None or config.places not in ("auto", "student"):
        return None
    find_index_of_encoder(landmark_map, encoder)
    return encoder
