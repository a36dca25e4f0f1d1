"""Labels: the overlap of two images, as the Jaccard index of the 3D points that they see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from training.place_recognition.views import CovisibleImages
from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """The overlap of all pairs of views, those of a view with itself included.

    Attributes:
        shared: (N, N) number of points that both see.
        share: (N, N) 0 to 1, points (or volume) that both see over those that either sees.
    """

    shared: csr_matrix
    share: csr_matrix

    def __len__(self) -> int:
        return int(self.shared.shape[0])

    def select(self, views: Array) -> Overlap:
        """The pairs of some views."""
        return Overlap(*(csr_matrix(matrix[views][:, views]) for matrix in (self.shared, self.share)))

    def row(self, view: int) -> tuple[Array, Array]:
        """(N,) `shared` and `share` of one view with all, dense."""
        return tuple(matrix[view].toarray()[0] for matrix in (self.shared, self.share))  # type: ignore[return-value]


def compute_overlap(views: CovisibleImages, *, kind: str = "points") -> Overlap:
    """The overlap of views.

    Args:
        views: of any number of scenes; different scenes share no points.
        kind: `points` for the Jaccard index of points, `boxes` for that of their axis-aligned bounding boxes.
    """
    visibility = views.visibility()
    shared = csr_matrix(visibility @ visibility.T)
    share = _jaccard_of_points(shared) if kind == "points" else _jaccard_of_boxes(views)
    # a view without points overlaps itself too
    share.setdiag(1.0)
    return Overlap(shared, csr_matrix(share, dtype=np.float32))


def _jaccard_of_points(shared: csr_matrix) -> csr_matrix:
    pairs = shared.tocoo()
    counts = shared.diagonal()
    either = counts[pairs.row] + counts[pairs.col] - pairs.data
    return csr_matrix((pairs.data / either, (pairs.row, pairs.col)), shape=shared.shape)


def _jaccard_of_boxes(views: CovisibleImages) -> csr_matrix:
    """Intersection over union of volumes, row by row."""
    low, high = np.full((len(views), 3), np.inf), np.full((len(views), 3), -np.inf)
    for i in range(len(views)):
        of_view = views.points[views.indices[views.observations(i)]]
        low[i], high[i] = of_view.min(axis=0, initial=np.inf), of_view.max(axis=0, initial=-np.inf)
    volume = np.prod(np.maximum(high - low, 0), axis=1)
    rows = []
    for i in range(len(views)):
        both = np.prod(np.maximum(np.minimum(high, high[i]) - np.maximum(low, low[i]), 0), axis=1)
        either = volume + volume[i] - both
        ratio = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        rows.append(np.where(views.scenes == views.scenes[i], ratio, 0.0))
    return csr_matrix(np.array(rows))
