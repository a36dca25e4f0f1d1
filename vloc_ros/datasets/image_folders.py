"""A folder of images as questions to a localizer, and how they fit true poses and a calibration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.core.geometry.camera import Camera
    from vloc_ros.core.query import Query
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.evaluation.batch_localization import QuerySource
    from vloc_ros.storage.trajectories import Trajectory

_FOCAL_OVER_WIDTH = 0.9
_NANOSECONDS_NAME = re.compile(r"\d{16,18}|[0-8]\d{18}")
_SECONDS_NAME = re.compile(r"\d{1,10}\.\d{1,9}")
_SECOND_NS = 1_000_000_000
_SAME_TIME_NS = 1_000_000


def questions_from(paths: Sequence[Path], stamps_ns: Sequence[int], camera: Camera | None) -> list[QuerySource]:
    """One question per image; an image is read when it is asked. Without a camera see `guessed_camera`."""
    from vloc_ros.evaluation.batch_localization import QuerySource

    pairs = zip(paths, stamps_ns, strict=True)
    return [QuerySource(path.name, _reader(path, int(stamp), camera), int(stamp)) for path, stamp in pairs]


def _reader(path: Path, stamp_ns: int, camera: Camera | None) -> Callable[[], Query]:
    def read() -> Query:
        from vloc_ros.core.errors import InputError
        from vloc_ros.core.query import Query
        from vloc_ros.storage.images import read_image

        image = read_image(path)
        try:
            return Query.single(image, camera or guessed_camera(*image.shape[1::-1]), stamp_ns=stamp_ns)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    return read


def guessed_camera(width: int, height: int) -> Camera:
    """A pinhole with focal length 0.9 x width: for images of somewhere else, of which no calibration is known."""
    from vloc_ros.core.geometry.camera import Camera

    return Camera("SIMPLE_PINHOLE", width, height, (_FOCAL_OVER_WIDTH * width, width / 2, height / 2))


def stamps_in_names(paths: Sequence[Path]) -> tuple[int | None, ...]:
    """Nanoseconds that image names such as 1403636579763555584.png or 1305031102.175304.jpg tell; None elsewhere."""
    from vloc_ros.storage.trajectories import stamp_from_seconds

    def stamp_in(name: str) -> int | None:
        if _NANOSECONDS_NAME.fullmatch(name):
            return int(name)
        return stamp_from_seconds(name) if _SECONDS_NAME.fullmatch(name) else None

    return tuple(stamp_in(path.stem) for path in paths)


def stamps_for(paths: Sequence[Path]) -> list[int]:
    """The times in the names when all tell one, else one second per image in name order."""
    told = stamps_in_names(paths)
    if all(stamp is not None for stamp in told):
        return [stamp for stamp in told if stamp is not None]
    return [index * _SECOND_NS for index in range(len(paths))]


def true_poses(paths: Sequence[Path], poses_file: Path) -> Trajectory:
    """One true pose per image, in name order, at the time that the name tells where it tells one.

    Raises:
        InputError: the file is not a trajectory, or its count or a time does not fit the images.
    """
    from vloc_ros.core.errors import InputError
    from vloc_ros.storage.trajectories import paired_with_images, read_tum

    truth = read_tum(poses_file)
    paired_with_images(truth, paths, poses_path=poses_file)
    for path, told, stamp in zip(paths, stamps_in_names(paths), truth.stamps_ns, strict=True):
        if told is not None and abs(told - int(stamp)) > _SAME_TIME_NS:
            raise InputError(
                f"{poses_file}: its row for {path.name} has time {int(stamp) / _SECOND_NS:.6f} s, expected the "
                f"{told / _SECOND_NS:.6f} s of the name; give one row per image in name order"
            )
    return truth


def mapping_images(folder: Path, camera: Camera, *, poses_file: Path | None) -> list[PosedImage]:
    """The images of a folder to build or extend a map from; read when they are wanted.

    Raises:
        InputError: the folder holds no image, or the poses do not fit them.
    """
    from vloc_ros.core.sources import PosedImage
    from vloc_ros.storage.images import list_images, read_image

    paths = list_images(folder)
    trajectory = true_poses(paths, poses_file) if poses_file else None
    poses = (None,) * len(paths) if trajectory is None else trajectory.poses
    stamps = stamps_for(paths) if trajectory is None else trajectory.stamps_ns
    return [
        PosedImage(path.name, lambda path=path: read_image(path), camera, pose, int(stamp))
        for path, pose, stamp in zip(paths, poses, stamps, strict=True)
    ]
