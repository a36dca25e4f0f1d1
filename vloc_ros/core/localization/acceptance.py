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

"""The one decision: evidence becomes a score, and the score a confidence and a threshold.

A hypothesis is right if the image shows what the map predicts from its pose, and if it does so from here rather than
from a competing pose: the two questions of `AcceptanceModel`. The first is answered by an additive model: each piece of
evidence contributes by a table of a few numbers that never decreases, so that more evidence never counts against a
hypothesis and every refusal has a reason; the second by the margin over the best competing pose alone, since evidence
that two places share decides nothing between them. `python -m training.acceptance` fits both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import ConfigError, MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.camera_cloud_evidence import CAMERA_EVIDENCE, CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import CAMERA_DRIVE_EVIDENCE, CameraDriveEvidence
from vloc_ros.core.localization.cloud_evidence import CLOUD_EVIDENCE, CloudEvidence
from vloc_ros.core.localization.evidence import EVIDENCE, KeypointEvidence
from vloc_ros.core.localization.tile_evidence import TILE_EVIDENCE, TileEvidence

Evidence = KeypointEvidence | CloudEvidence | TileEvidence | CameraEvidence | CameraDriveEvidence

# what kinds of hypotheses there are, and the evidence of each
KEYPOINT_KIND, CLOUD_KIND, TILE_KIND = "keypoints", "cloud", "tile"
CAMERA_KIND, DRIVE_KIND = "camera_cloud", "camera_drive"
EVIDENCE_OF: Mapping[str, tuple[str, ...]] = {
    KEYPOINT_KIND: EVIDENCE,
    CLOUD_KIND: CLOUD_EVIDENCE,
    TILE_KIND: TILE_EVIDENCE,
    CAMERA_KIND: CAMERA_EVIDENCE,
    DRIVE_KIND: CAMERA_DRIVE_EVIDENCE,
}
_PARAMETER = {
    KEYPOINT_KIND: "verification.false_accept_rate",
    CLOUD_KIND: "clouds.false_accept_rate",
    TILE_KIND: "tiles.false_accept_rate",
    CAMERA_KIND: "clouds.false_accept_rate",
    DRIVE_KIND: "clouds.false_accept_rate",
}
# what the additive model weighs
ADDITIVE = tuple(name for name in EVIDENCE if name != "margin")
# log odds of the surest; its confidence is still below 1
_MOST = 30.0
_ROUNDING = 1e-3
# what the evidence is called in a reason
_WORDS = {
    KEYPOINT_KIND: {
        "inliers": "few inliers",
        "inlier_ratio": "few of the matches are inliers",
        "support": "few of the expected points are inliers",
        "similarity": "the image hardly resembles what the map predicts",
        "evenness": "a part of the image confirms the map and the rest does not",
        "coverage": "few of the image regions with expected points confirm them",
        "explained": "much of the image is not in the map",
        "spread": "the inliers span little of the image",
        "fit": "the inliers fit the pose poorly",
        "certainty": "the inliers hardly determine the position",
    },
    CLOUD_KIND: {
        "inliers": "few points of the scan lie on surfaces of the map",
        "confirmed": "much that the scan and the map's place could both see is in one of them alone",
        "free_space": "the scan and the map's place look through each other's surfaces",
        "constraint": "the surfaces hardly determine the position",
    },
    TILE_KIND: {
        "inliers": "few inliers",
        "inlier_ratio": "few of the matches are inliers",
        "support": "few of the map's keypoints in view are inliers",
        "coverage": "much of the view does not confirm the map",
        "fit": "the inliers fit the pose poorly",
        "significance": "so few inliers may agree by chance",
    },
    CAMERA_KIND: {
        "inliers": "few points of the camera's cloud lie on surfaces of the map",
        "support": "much of the camera's cloud is not in the map",
        "closeness": "the camera's cloud lies on the map's surfaces poorly",
        "evenness": "a part of the view confirms the map and the rest does not",
        "free_space": "the camera looks through surfaces of the map",
        "free_space_of_place": "the camera sees surfaces where the map has free space",
        "fit": "the certain points of the camera's cloud do not fit closely",
        "constraint": "the surfaces hardly determine the position",
        "certainty": "the camera's cloud hardly determines the position",
        "agreement": "two halves of the camera's cloud lead to different positions",
    },
    DRIVE_KIND: {
        "inliers": "few points of the drive's clouds lie on surfaces of the map",
        "worst": "a cloud of the drive contradicts the map",
        "preference": "the clouds of the drive, each alone, fit other poses about as well",
        "consistency": "the poses of the drive's clouds do not fit its odometry",
        "certainty": "the drive's clouds hardly determine the position",
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceTerm:
    """What one piece of evidence contributes: linear between knots, constant beyond them.

    Attributes:
        knots: (K,) ascending values of the evidence.
        contributions: (K,) log odds, never decreasing; of an additive term the last is 0, so that each is what lacking
            evidence costs.
    """

    knots: Array
    contributions: Array

    def __post_init__(self) -> None:
        if self.knots.ndim != 1 or self.knots.shape != self.contributions.shape or not len(self.knots):
            raise MapError("a term of an acceptance table needs as many contributions as knots; install vloc_ros again")
        ascends = (np.diff(self.knots) > 0).all() and (np.diff(self.contributions) >= 0).all()
        if not ascends or not np.isfinite([*self.knots, *self.contributions]).all():
            raise MapError("a term of an acceptance table does not ascend; install vloc_ros again")

    def contribution(self, value: float) -> float:
        """Log odds of a value."""
        return float(np.interp(value, self.knots, self.contributions))

    def to_mapping(self) -> dict[str, Any]:
        """As JSON types."""
        return {"knots": self.knots.tolist(), "contributions": self.contributions.tolist()}

    @staticmethod
    def from_mapping(values: Mapping[str, Any]) -> EvidenceTerm:
        """The inverse of `to_mapping`."""
        return EvidenceTerm(np.asarray(values["knots"], float), np.asarray(values["contributions"], float))


def log_odds_of_both(first: float | Array, second: float | Array) -> Array:
    """Log odds that two independent conditions hold, from the log odds of each."""
    return np.asarray(-np.logaddexp(np.logaddexp(-np.asarray(first), -np.asarray(second)), -np.add(first, second)))


@dataclass(frozen=True, slots=True, eq=False)
class AcceptanceModel:
    """Scores hypotheses by their evidence.

    Attributes:
        name: of the extractor that it was fitted for.
        bias: log odds, among as many wrong hypotheses as right ones, of one with all evidence.
        terms: by name of the evidence, without the margin.
        margin: log odds of the best pose over the best competing one, by the margin; 0 where they score alike.
        least_inliers: fewer agree with some pose by chance; such a hypothesis is wrong whatever else speaks for it.
        rates: (R,) ascending rates of false accepts that the negatives support.
        thresholds: (R,) score that each needs, never ascending.
        negatives: number of queries of other places that the thresholds were chosen on.
        kind: of the hypotheses, a name of `EVIDENCE_OF`.
    """

    name: str
    bias: float
    terms: Mapping[str, EvidenceTerm]
    margin: EvidenceTerm
    least_inliers: int
    rates: Array
    thresholds: Array
    negatives: int
    kind: str = KEYPOINT_KIND

    def __post_init__(self) -> None:
        expected = [name for name in EVIDENCE_OF.get(self.kind, ()) if name != "margin"]
        if set(self.terms) != set(expected) or not expected:
            raise MapError(
                f"the acceptance table of {self.name} weighs {', '.join(self.terms)} of {self.kind}, expected "
                f"{', '.join(expected) or 'another kind'}; install vloc_ros again"
            )
        ascend = len(self.rates) and (np.diff(self.rates) > 0).all() and (np.diff(self.thresholds) <= 0).all()
        if not ascend or self.rates.shape != self.thresholds.shape or not np.isfinite([*self.rates, self.bias]).all():
            raise MapError(
                f"the acceptance table of {self.name} has no thresholds by ascending rates; install vloc_ros again"
            )

    @property
    def least_inliers_evidence(self) -> float:
        """The evidence of the fewest inliers that count."""
        return float(np.log1p(self.least_inliers)) - _ROUNDING

    def score(self, evidence: Evidence) -> float:
        """Log odds that the hypothesis is right, among as many wrong ones; those of too few inliers at least."""
        if evidence.inliers < self.least_inliers_evidence:
            return -_MOST
        alone = self.bias + sum(term.contribution(getattr(evidence, name)) for name, term in self.terms.items())
        return max(float(log_odds_of_both(alone, self.margin.contribution(evidence.margin))), -_MOST)

    def threshold(self, false_accept_rate: float) -> float:
        """Score that keeps a rate of false accepts among queries of other places; 0 is the smallest that is supported.

        Raises:
            ConfigError: the negatives do not support so small a rate.
        """
        supported = self.rates <= (false_accept_rate or self.rates[0])
        if not supported.any():
            raise ConfigError(
                f"parameter {_PARAMETER[self.kind]} is {false_accept_rate:g}, the {self.negatives} negatives of "
                f"{self.name} support {self.rates[0]:g} at least; use that, or 0 for the smallest"
            )
        return float(self.thresholds[supported][-1])

    def confidence(self, score: float, negative_share: float) -> float:
        """Probability that a hypothesis is right, where such a share of all hypotheses is wrong."""
        odds = score + np.log((1.0 - negative_share) / negative_share)
        return float(1.0 / (1.0 + np.exp(-np.clip(odds, -_MOST, _MOST))))

    @staticmethod
    def score_of(confidence: float, negative_share: float) -> float:
        """The inverse of `confidence`."""
        return float(np.log(confidence / (1.0 - confidence)) - np.log((1.0 - negative_share) / negative_share))

    def explain(self, evidence: Evidence) -> str:
        """The evidence that weighs most against a hypothesis, in words."""
        if evidence.inliers < self.least_inliers_evidence:
            return f"{np.expm1(evidence.inliers):.0f} inliers, at least {self.least_inliers} are needed"
        costs = {name: term.contribution(getattr(evidence, name)) for name, term in self.terms.items()}
        return _WORDS[self.kind][min(costs, key=lambda name: costs[name])]

    def to_mapping(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "name": self.name,
            "kind": self.kind,
            "bias": self.bias,
            "terms": {name: term.to_mapping() for name, term in self.terms.items()},
            "margin": self.margin.to_mapping(),
            "least_inliers": self.least_inliers,
            "rates": self.rates.tolist(),
            "thresholds": self.thresholds.tolist(),
            "negatives": self.negatives,
        }

    @staticmethod
    def from_mapping(values: Mapping[str, Any]) -> AcceptanceModel:
        """The inverse of `to_mapping`."""
        terms = {name: EvidenceTerm.from_mapping(term) for name, term in values["terms"].items()}
        return AcceptanceModel(
            name=values["name"],
            bias=float(values["bias"]),
            terms=terms,
            margin=EvidenceTerm.from_mapping(values["margin"]),
            least_inliers=int(values["least_inliers"]),
            rates=np.asarray(values["rates"], float),
            thresholds=np.asarray(values["thresholds"], float),
            negatives=int(values["negatives"]),
            kind=values.get("kind", KEYPOINT_KIND),  # tables of before there were others
        )
