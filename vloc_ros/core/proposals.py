"""Where to look in the map: a prior, recognised places, the whole map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vloc_ros.core.config import ProposalConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features import Features
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.pose import Array
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.vocabulary import Vocabulary

_PRIOR_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A part of the map to match against.

    Attributes:
        name: what proposed it; the result names the one that won.
        point_indices: (C,) int64 sorted map points, or None for the whole map.
    """

    name: str
    point_indices: Array | None = None


class Proposer(Protocol):
    """Turns an image's features into parts of the map, best first."""

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        """Proposals in the order of evidence; none when there is nothing to go by."""
        ...


class WholeMap:
    """The whole map at once: the default while the map is small."""

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        """One proposal, always."""
        yield Proposal("whole_map")


class VladPlaces:
    """The points seen by the keyframes that look most alike (VLAD over the map's own vocabulary)."""

    def __init__(self, config: ProposalConfig, landmark_map: LandmarkMap) -> None:
        place = landmark_map.places.get("vlad")
        if place is None:
            raise MapError("the map has no VLAD place index; build it again, or set proposals.places to none")
        self._vocabulary = Vocabulary.from_arrays(place.encoder_arrays)
        if place.encoder != self._vocabulary.hash:
            raise MapError(
                f"the map's VLAD index was made by encoder {place.encoder}, its vocabulary is "
                f"{self._vocabulary.hash}; build the map again"
            )
        self._map = landmark_map
        self._descriptors = np.asarray(place.descriptors, dtype=np.float32)
        self._top_k = config.places_top_k

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        """One proposal: the union over the best keyframes of all views."""
        descriptors = np.concatenate([f.descriptors for f in features])
        if not len(descriptors):
            return
        similarity = self._descriptors @ self._vocabulary.encode(self._map.codec.project(descriptors))
        best = np.argsort(-similarity, kind="stable")[: self._top_k]
        seen = np.concatenate([self._map.keyframes.visible(int(k)) for k in best])
        yield Proposal("places/vlad", np.unique(seen).astype(np.int64))


class PriorView:
    """The points that project into the image when the rig is where it is believed to be."""

    def __init__(self, config: ProposalConfig, landmark_map: LandmarkMap) -> None:
        self._max_std_m = config.prior_max_position_std_m
        self._map = landmark_map

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        """One proposal, when the query brings a prior that is certain enough."""
        prior = query.prior
        if prior is None or np.sqrt(np.diag(prior.covariance)[:3].max()) > self._max_std_m:
            return
        visible = np.zeros(len(self._map.points), bool)
        for view in query.views:
            in_camera = (prior.map_from_rig @ view.rig_from_camera).inverse().apply(self._map.points)
            visible |= _may_be_seen(
                in_camera, view.camera.unproject(_corners(view.camera.width, view.camera.height)), prior
            )
        if visible.any():
            yield Proposal("prior", np.flatnonzero(visible))


def _corners(width: int, height: int) -> Array:
    """(8, 2) corners and edge middles of an image, pixels."""
    x, y = np.meshgrid([0.0, width / 2, width], [0.0, height / 2, height])
    return np.delete(np.column_stack([x.ravel(), y.ravel()]), 4, axis=0)


def _may_be_seen(in_camera: Array, border_rays: Array, prior: PosePrior) -> Array:
    """(P,) whether points lie in the cone of the image's border, widened by what the prior does not know."""
    position_std, rotation_std = (float(np.sqrt(np.diag(prior.covariance)[s].max())) for s in (slice(3), slice(3, 6)))
    rays = border_rays[np.isfinite(border_rays).all(axis=1)]
    half_angle = np.arccos((1.0 / np.linalg.norm(rays, axis=1)).min()) if len(rays) else np.pi
    distance = np.maximum(np.linalg.norm(in_camera, axis=1), 1e-9)
    angle = np.arccos(np.clip(in_camera[:, 2] / distance, -1.0, 1.0))
    slack = _PRIOR_SIGMAS * (rotation_std + np.arctan2(position_std, distance))
    return np.asarray(angle <= half_angle + slack)
