"""How well landmarks are recognised, keypoint by keypoint and image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np

from training.recognition.batches import Example
from vloc_ros.core.geometry.pose import Array

_SHOWN_KEYPOINTS = 5
# rays and descriptors of one image -> background, landmarks, probabilities, coarse; see LandmarkRecognizer.forward
Recognize = Callable[[Array, Array], tuple[Array, Array, Array, Array]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares, 0 to 1; of keypoints they count those that show a landmark.

    Attributes:
        top1, top3: the fine landmark is the likeliest, or among the likeliest three.
        coarse: so is the coarse landmark, the likeliest.
        image_recall: of the n landmarks that at least five keypoints of an image show, those among the n with most
            evidence.
        foreground: keypoints that show a landmark and are not taken for background.
        background: keypoints that show none and are.
    """

    top1: float
    top3: float
    coarse: float
    image_recall: float
    foreground: float
    background: float

    def as_dict(self) -> dict[str, float]:
        """Rounded, for people and manifests."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def scores(recognize: Recognize, examples: Iterable[Example], parents: Array, *, keypoints: int) -> Scores:
    """The strongest keypoints of each example, all images together; NaN where nothing is to be counted.

    Args:
        recognize: a recogniser.
        examples: what images really show.
        parents: (L,) coarse landmark of every fine one.
        keypoints: per image.
    """
    counts = np.zeros((len(fields(Scores)), 2))
    for example in examples:
        strongest = example.some(slice(keypoints))
        if len(strongest):
            answer = recognize(strongest.rays, strongest.descriptors.astype(np.float32))
            counts += _counted(*answer, strongest.landmarks, np.asarray(parents))
    with np.errstate(invalid="ignore"):
        return Scores(*map(float, counts[:, 0] / counts[:, 1]))


def _counted(
    background: Array, landmarks: Array, probabilities: Array, coarse: Array, truth: Array, parents: Array
) -> Array:
    """(6, 2) right and all of one image, in the order of Scores."""
    names, shown = landmarks.ravel(), truth >= 0
    of_landmark = np.where(names >= 0, probabilities.reshape(len(truth), -1), -1.0)
    best = names[np.argsort(-of_landmark[shown], axis=1)[:, :3]]
    hits = best == truth[shown, None]
    of_coarse = probabilities[shown].sum(axis=2)
    named = parents[landmarks[:, 0]]  # every coarse landmark has a child
    coarse_hits = named[of_coarse.argmax(axis=1)] == parents[truth[shown]]
    taken_for_background = background > 0.5
    n, rest = int(shown.sum()), int((~shown).sum())
    return np.array(
        [
            [hits[:, :1].sum(), n],
            [hits.any(axis=1).sum(), n],
            [coarse_hits.sum(), n],
            _image_recall(names, of_landmark.sum(axis=0), truth[shown]),
            [(~taken_for_background[shown]).sum(), n],
            [taken_for_background[~shown].sum(), rest],
        ],
        dtype=np.float64,
    )


def _image_recall(names: Array, evidence: Array, truth: Array) -> tuple[int, int]:
    """Landmarks that many keypoints show, how many are among the first by evidence, and how many there are."""
    present, times = np.unique(truth, return_counts=True)
    visible = present[times >= _SHOWN_KEYPOINTS]
    first = names[np.argsort(-evidence)[: len(visible)]]
    return len(np.intersect1d(first, visible)), len(visible)
