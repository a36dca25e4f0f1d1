"""The one place that puts the stages of a localizer together."""

from __future__ import annotations

from collections.abc import Callable

from vloc_ros.core.config import ExtractorConfig, LocalizerConfig, ProposalConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features import Extractor, RootSift
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.localizer import Localizer
from vloc_ros.core.matching import NearestNeighbourMatcher
from vloc_ros.core.proposals import PriorView, Proposer, VladPlaces, WholeMap
from vloc_ros.core.verification import Verifier

EXTRACTORS: dict[str, Callable[[ExtractorConfig], Extractor]] = {"rootsift": RootSift}
PLACES: dict[str, Callable[[ProposalConfig, LandmarkMap], Proposer]] = {"vlad": VladPlaces}


def build_extractor(config: ExtractorConfig) -> Extractor:
    """The extractor that a map names.

    Raises:
        MapError: this version does not have it.
    """
    if config.name not in EXTRACTORS:
        raise MapError(f"the map needs the extractor {config.name!r}, this version has {', '.join(EXTRACTORS)}")
    return EXTRACTORS[config.name](config)


def build_localizer(config: LocalizerConfig, landmark_map: LandmarkMap, *, like: Localizer | None = None) -> Localizer:
    """A localizer for a map: proposals in the order of cost and evidence, ending with the whole map where it is small.

    Args:
        config: parameters of the stages.
        landmark_map: the map.
        like: a localizer of the same map, whose search index is taken over: building one takes seconds.

    Raises:
        MapError: the map needs something that it or this version does not have.
    """
    proposers: list[Proposer] = []
    whole_map = len(landmark_map.points) <= config.proposals.whole_map_max_points
    if whole_map:
        proposers.append(WholeMap())
    elif config.proposals.places != "none":
        proposers.append(PLACES[config.proposals.places](config.proposals, landmark_map))
    else:
        raise MapError(
            f"the map has {len(landmark_map.points)} points, more than proposals.whole_map_max_points "
            f"{config.proposals.whole_map_max_points}, and proposals.places is none; nothing would be searched"
        )
    return Localizer(
        landmark_map,
        extractor=build_extractor(landmark_map.extractor),
        prior_view=PriorView(config.proposals, landmark_map),
        proposers=proposers,
        matcher=NearestNeighbourMatcher(config.matcher, landmark_map, like=like.matcher if like else None),
        pose=config.pose,
        verifier=Verifier(config.verification, landmark_map, pose=config.pose),
        tracking=config.tracking,
    )
