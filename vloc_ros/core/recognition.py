"""What a recogniser says of an image: which landmark each keypoint shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """Probabilities over the landmarks that an image is likely to show.

    Attributes:
        background: (N,) float32 probability that a keypoint shows no landmark.
        landmarks: (S,) int64 numbers of landmarks in the recogniser's own order, each once.
        probabilities: (N, S) float32 that a keypoint shows each of them.
    """

    background: Array
    landmarks: Array
    probabilities: Array


class Recognizer(Protocol):
    """Says of keypoints which landmark they show. Made by training on one map; serves every map that extends it."""

    @property
    def landmark_keys(self) -> Array:
        """(L,) int64 key of each landmark in the recogniser's own order, see `LandmarkTable`."""
        ...

    @property
    def extractor(self) -> ExtractorConfig:
        """What found the keypoints that it was trained on."""
        ...

    @property
    def max_keypoints(self) -> int:
        """It is given so many, the strongest, at most."""
        ...

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """What (N, 2) float32 rays (x/z, y/z in the camera's frame) with (N, D) float32 descriptors show, N >= 1."""
        ...
