"""A map in the terms of other tools: a COLMAP model, coloured points.

A map keeps which keyframe observes which point, not at which pixel: the 2D points of a model are where the points
project to. Neither descriptors nor keypoints without a point are in a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import Progress, silent
from vloc_ros.storage.colmap_models import ColmapImage, ColmapPoints


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """What a keyframe observes.

    Attributes:
        points: (V,) indices of map points.
        pixels: (V, 2) where they project to, inside the image.
    """

    points: Array
    pixels: Array


def project_observations(landmark_map: LandmarkMap) -> list[Observations]:
    """The observations of every keyframe; without those that project out of their image.

    Raises:
        MapError: the map does not know the calibrations of its keyframes.
    """
    keyframes = landmark_map.keyframes
    if not keyframes.cameras:
        raise MapError("the map has no calibrations of its keyframes; build it again by this version")
    found = []
    for k, camera in enumerate(keyframes.cameras):
        seen = keyframes.visible(k)
        pixels = camera.project(keyframes.pose(k).inverse().apply(landmark_map.points[seen]))
        inside = camera.contains(pixels)
        found.append(Observations(seen[inside], pixels[inside]))
    return found


def colour_points(
    landmark_map: LandmarkMap,
    observations: Sequence[Observations],
    images: Sequence[Callable[[], Array]],
    *,
    progress: Progress = silent,
) -> Array:
    """(P, 3) uint8 red, green, blue: the mean of each point's pixels, grey where no image shows it.

    Args:
        landmark_map: the map.
        observations: of every keyframe, see `project_observations`.
        images: reads that of every keyframe, (H, W) or (H, W, 3) BGR.
        progress: shows the images read.
    """
    sums, counts = np.zeros((len(landmark_map.points), 3)), np.zeros(len(landmark_map.points))
    for seen, read in zip(observations, progress(images, description="reading colours"), strict=True):
        image = read()
        columns, rows = np.minimum(seen.pixels.astype(int), np.array(image.shape[1::-1]) - 1).T
        shown = image[rows, columns]
        sums[seen.points] += shown[:, ::-1] if image.ndim == 3 else shown[:, None]
        counts[seen.points] += 1
    means = np.full_like(sums, 128.0)
    means[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return np.asarray(np.rint(means).astype(np.uint8))


def make_colmap_model(
    landmark_map: LandmarkMap, observations: Sequence[Observations], colours: Array
) -> tuple[list[ColmapImage], ColmapPoints]:
    """Images and points of a map of one scene, in its map frame.

    Raises:
        InputError: the map has several scenes.
    """
    scene, keyframes = landmark_map.scene(), landmark_map.keyframes
    images = [
        ColmapImage(name, camera, scene.map_from(keyframes.pose(k)))
        for k, (name, camera) in enumerate(zip(keyframes.names, keyframes.cameras, strict=True))
    ]
    points = landmark_map.points.astype(np.float64) + scene.origin
    observed = [seen.points for seen in observations]
    return images, ColmapPoints(points, colours, observed, [seen.pixels for seen in observations])
