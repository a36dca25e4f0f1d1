"""Training data of a global descriptor model: images with poses, and the 3D points that each of them sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from training.sources import hash_file
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import expand_ranges
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.maps import read_manifest, read_map

if TYPE_CHECKING:
    import pycolmap

_COLMAP_FILES = ("cameras.bin", "cameras.txt")
_COLMAP_PARTS = ("cameras", "frames", "images", "points3D", "rigs")


@dataclass(frozen=True, slots=True, eq=False)
class CovisibleImages:
    """Images with poses and visible points, of one scene or of several, which share no points.

    Attributes:
        paths: N image files, along the trajectory.
        rotations: (N, 3, 3) float64 rotation of scene_from_camera.
        translations: (N, 3) float64 translation of scene_from_camera, metres from the origin of its scene.
        scenes: (N,) int64 number of each view's scene.
        points: (P, 3) float64, metres from the origin of their scene.
        offsets: (N + 1,) int64; the observations of view i are the rows `offsets[i]:offsets[i + 1]` of `indices`, `uv`.
        indices: (V,) int64 point of each observation.
        uv: (V, 2) float32 position of each observation, as shares of the image's width and height.
    """

    paths: tuple[Path, ...]
    rotations: Array
    translations: Array
    scenes: Array
    points: Array
    offsets: Array
    indices: Array
    uv: Array

    def __post_init__(self) -> None:
        n = len(self.paths)
        assert self.rotations.shape == (n, 3, 3)
        assert self.translations.shape == (n, 3)
        assert self.scenes.shape == (n,)
        assert self.offsets.shape == (n + 1,)
        assert self.uv.shape == (len(self.indices), 2)
        assert self.offsets[-1] == len(self.indices)

    def __len__(self) -> int:
        return len(self.paths)

    def observations(self, i: int) -> slice:
        """The rows of `indices` and `uv` of view i."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def visibility(self) -> csr_matrix:
        """(N, P) int32, 1 where a view sees a point."""
        ones = np.ones(len(self.indices), np.int32)
        return csr_matrix((ones, self.indices, self.offsets), shape=(len(self), len(self.points)))

    def mask_points(self, which: Sequence[int], masks: Sequence[Array]) -> CovisibleImages:
        """Some views, each reduced to the points of a (V,) bool mask; a view may be repeated."""
        some, mask = self.select(np.array(which)), np.concatenate(masks)
        counts = [int(part.sum()) for part in masks]
        return replace(
            some, offsets=np.concatenate([[0], np.cumsum(counts)]), indices=some.indices[mask], uv=some.uv[mask]
        )

    def select(self, kept: Array) -> CovisibleImages:
        """Some views; all points are kept."""
        counts = np.diff(self.offsets)[kept]
        rows = expand_ranges(self.offsets[kept], counts)
        return CovisibleImages(
            tuple(self.paths[i] for i in kept),
            self.rotations[kept],
            self.translations[kept],
            self.scenes[kept],
            self.points,
            np.concatenate([[0], np.cumsum(counts)]),
            self.indices[rows],
            self.uv[rows],
        )

    def extent(self) -> float:
        """Length of the largest scene's diagonal, from the 1st to the 99th percentile of its points' coordinates."""
        lengths = []
        for scene in np.unique(self.scenes):
            rows = expand_ranges(self.offsets[:-1][self.scenes == scene], np.diff(self.offsets)[self.scenes == scene])
            of_scene = self.points[np.unique(self.indices[rows])]
            if len(of_scene):
                lengths.append(float(np.linalg.norm(np.diff(np.percentile(of_scene, [1, 99], axis=0), axis=0))))
        return max(lengths, default=0.0)


def join_views(parts: Sequence[CovisibleImages]) -> CovisibleImages:
    """Views of several maps as one; their scenes and points are renumbered."""
    points, scenes, seen = (np.cumsum([0, *sizes]) for sizes in zip(*map(_count_sizes, parts), strict=True))
    return CovisibleImages(
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.rotations for part in parts]),
        np.concatenate([part.translations for part in parts]),
        np.concatenate([part.scenes + first for part, first in zip(parts, scenes, strict=False)]),
        np.concatenate([part.points for part in parts]),
        np.concatenate([[0], *(part.offsets[1:] + first for part, first in zip(parts, seen, strict=False))]),
        np.concatenate([part.indices + first for part, first in zip(parts, points, strict=False)]),
        np.concatenate([part.uv for part in parts]),
    )


def _count_sizes(part: CovisibleImages) -> tuple[int, int, int]:
    return len(part.points), int(part.scenes.max(initial=-1)) + 1, len(part.indices)


def read_views(source: Path, images: Path, camera: Camera | None = None) -> CovisibleImages:
    """The views of a vloc map or of a COLMAP model.

    Args:
        source: folder of either.
        images: folder of the images that it was built from.
        camera: of all images, for a map without cameras.

    Raises:
        InputError: images are missing, no camera is known, or the folder holds neither.
        MapError: the map is damaged.
    """
    if _is_colmap_model(source):
        return collect_model_views(_read_colmap_model(source), images)
    return collect_map_views(read_map(source), images, camera)


def identify_source(source: Path) -> dict[str, str]:
    """The name and content hash of a vloc map or a COLMAP model.

    Raises:
        InputError: the model cannot be read.
        MapError: the map cannot be read.
    """
    own_name = source.resolve().name
    if _is_colmap_model(source):  # a manifest beside it is not of the model
        parts = sorted(p for p in source.iterdir() if p.stem in _COLMAP_PARTS and p.suffix in (".bin", ".txt"))
        content = "".join(f"{path.name}\0{hash_file(path)}\0" for path in parts)
        return {"name": own_name, "hash": hashlib.sha256(content.encode()).hexdigest()}
    manifest = read_manifest(source)
    return {"name": str(manifest.get("name") or own_name), "hash": str(manifest["hash"])}


def _is_colmap_model(source: Path) -> bool:
    return any((source / name).is_file() for name in _COLMAP_FILES)


def collect_map_views(landmark_map: LandmarkMap, images: Path, camera: Camera | None = None) -> CovisibleImages:
    """Every keyframe of a map.

    Raises:
        InputError: images are missing, or no camera is known.
    """
    keyframes = landmark_map.keyframes
    cameras: Sequence[Camera] = keyframes.cameras or (() if camera is None else (camera,) * len(keyframes))
    if not cameras:
        raise InputError("the map has no cameras, expected one per keyframe; give --camera YAML, or rebuild")
    scenes = np.zeros(len(keyframes), np.int64)
    for number, scene in enumerate(landmark_map.scenes):
        scenes[scene.keyframes.start : scene.keyframes.stop] = number
    poses = [keyframes.pose(k) for k in range(len(keyframes))]
    seen = [keyframes.visible(k).astype(np.int64) for k in range(len(keyframes))]
    points = np.asarray(landmark_map.points, np.float64)
    return build_views(_find_images(images, keyframes.names), cameras, poses, seen, points=points, scenes=scenes)


def collect_model_views(model: pycolmap.Reconstruction, images: Path) -> CovisibleImages:
    """Every registered image of a COLMAP model, in name order."""
    row_of = {identifier: row for row, identifier in enumerate(sorted(model.points3D))}
    points = np.array([model.points3D[identifier].xyz for identifier in row_of]).reshape(-1, 3)
    registered = sorted((model.images[i] for i in model.reg_image_ids()), key=lambda image: image.name)
    if not registered:
        raise InputError("the COLMAP model has no registered image; reconstruct it again")
    poses, seen = [], []
    for image in registered:
        camera_from_map = image.cam_from_world()
        poses.append(Pose(camera_from_map.rotation.matrix(), camera_from_map.translation).inverse())
        seen.append(np.unique([row_of[p.point3D_id] for p in image.points2D if p.has_point3D()]).astype(np.int64))
    cameras = [_convert_camera(model.cameras[image.camera_id]) for image in registered]
    paths = _find_images(images, [image.name for image in registered])
    return build_views(paths, cameras, poses, seen, points=points, scenes=np.zeros(len(paths), np.int64))


def build_views(
    paths: Sequence[Path],
    cameras: Sequence[Camera],
    poses: Sequence[Pose],
    seen: Sequence[Array],
    *,
    points: Array,
    scenes: Array,
) -> CovisibleImages:
    """Views from poses, cameras and visible points, which are projected; points outside the image are dropped."""
    indices, uvs = [], []
    for camera, pose, of_view in zip(cameras, poses, seen, strict=True):
        xy = camera.project(pose.inverse().apply(points[of_view]))
        inside = np.flatnonzero(camera.contains(xy))
        indices.append(of_view[inside])
        uvs.append((xy[inside] / [camera.width, camera.height]).astype(np.float32))
    return CovisibleImages(
        tuple(paths),
        np.stack([pose.rotation for pose in poses]),
        np.stack([pose.translation for pose in poses]),
        np.asarray(scenes, np.int64),
        points,
        np.cumsum([0, *map(len, indices)]),
        np.concatenate(indices).astype(np.int64),
        np.concatenate(uvs),
    )


def _find_images(folder: Path, names: Sequence[str]) -> list[Path]:
    paths = [folder / name for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise InputError(
            f"{folder}: holds {len(paths) - len(missing)} of the map's {len(paths)} images, {missing[0]} is missing; "
            "give the folder that the map was built from"
        )
    return paths


def _read_colmap_model(folder: Path) -> Any:
    import pycolmap

    try:
        return pycolmap.Reconstruction(folder)
    except Exception as error:  # pycolmap's exceptions have no other common base
        raise InputError(f"{folder}: is no COLMAP model that can be read ({str(error).splitlines()[0]})") from error


def _convert_camera(camera: Any) -> Camera:
    return Camera(camera.model_name, camera.width, camera.height, tuple(camera.params))
