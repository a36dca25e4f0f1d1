"""A folder of images to localize or to build a map from, its times, true poses and calibration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage, QuerySource
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.trajectories import Trajectory, pair_with_images, read_tum, stamp_from_seconds

_FOCAL_OVER_WIDTH = 0.9
_NANOSECONDS_NAME = re.compile(r"\d{16,18}|[0-8]\d{18}")
_SECONDS_NAME = re.compile(r"\d{1,10}\.\d{1,9}")
_SECOND_NS = 1_000_000_000
_SAME_TIME_NS = 1_000_000


def make_query_sources(paths: Sequence[Path], stamps_ns: Sequence[int], camera: Camera | None) -> list[QuerySource]:
    """One query per image, read when it is needed. Without a camera see `guess_camera`."""
    pairs = zip(paths, stamps_ns, strict=True)
    return [QuerySource(path.name, partial(_read_query, path, int(stamp), camera), int(stamp)) for path, stamp in pairs]


def _read_query(path: Path, stamp_ns: int, camera: Camera | None) -> Query:
    image = read_image(path)
    try:
        return Query.single(image, camera or guess_camera(*image.shape[1::-1]), stamp_ns=stamp_ns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def guess_camera(width: int, height: int) -> Camera:
    """A pinhole with focal length 0.9 x width: for negatives, of which no calibration is known."""
    return Camera("SIMPLE_PINHOLE", width, height, (_FOCAL_OVER_WIDTH * width, width / 2, height / 2))


def parse_stamps(paths: Sequence[Path]) -> tuple[int | None, ...]:
    """Nanoseconds from names such as 1403636579763555584.png or 1305031102.175304.jpg; None where a name has none."""

    def parse(name: str) -> int | None:
        if _NANOSECONDS_NAME.fullmatch(name):
            return int(name)
        return stamp_from_seconds(name) if _SECONDS_NAME.fullmatch(name) else None

    return tuple(parse(path.stem) for path in paths)


def assign_stamps(paths: Sequence[Path]) -> list[int]:
    """The times in the names when all have one, else one second per image in name order."""
    parsed = parse_stamps(paths)
    if all(stamp is not None for stamp in parsed):
        return [stamp for stamp in parsed if stamp is not None]
    return [index * _SECOND_NS for index in range(len(paths))]


def read_true_poses(paths: Sequence[Path], poses_file: Path) -> Trajectory:
    """One true pose per image, in name order, at the time in the name where it has one.

    Raises:
        InputError: the file is not a trajectory, or its count or a time does not fit the images.
    """
    truth = read_tum(poses_file)
    pair_with_images(truth, paths, poses_path=poses_file)
    for path, parsed, stamp in zip(paths, parse_stamps(paths), truth.stamps_ns, strict=True):
        if parsed is not None and abs(parsed - int(stamp)) > _SAME_TIME_NS:
            raise InputError(
                f"{poses_file}: its row for {path.name} has time {int(stamp) / _SECOND_NS:.6f} s, expected the "
                f"{parsed / _SECOND_NS:.6f} s of the name; give one row per image in name order"
            )
    return truth


def list_posed_images(folder: Path, camera: Camera, *, poses_file: Path | None) -> list[PosedImage]:
    """The images of a folder to build or extend a map from, read when they are needed.

    Raises:
        InputError: the folder holds no image, or the poses do not fit them.
    """
    paths = list_images(folder)
    trajectory = read_true_poses(paths, poses_file) if poses_file else None
    poses = (None,) * len(paths) if trajectory is None else trajectory.poses
    stamps = assign_stamps(paths) if trajectory is None else trajectory.stamps_ns
    return [
        PosedImage(path.name, partial(read_image, path), camera, pose, int(stamp))
        for path, pose, stamp in zip(paths, poses, stamps, strict=True)
    ]
