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

"""Image files with the poses and calibrations that other tools and data sets give them.

Each reader takes the folder of the images and gives those that have a pose. Images without a pose, as those that COLMAP
did not register, and poses without an image are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.keyframe_motion import has_moved
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage, QuerySource
from vloc_ros.datasets.named_images import absolute, find_image, none_found
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.colmap_models import read_colmap_images
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.pose_files import stamps_in_names
from vloc_ros.storage.text import naming_file
from vloc_ros.storage.trajectories import LARGEST_GAP_NS
from vloc_ros.storage.trajectory_formats import (
    read_body_from_sensor,
    read_euroc_images,
    read_euroc_poses,
    read_kitti_calibration,
    read_kitti_poses,
    read_kitti_times,
)
from vloc_ros.storage.transforms_files import read_transforms

_KITTI_FOLDERS = ("image_0", "image_1", "image_2", "image_3")
_EUROC_TRUTH = Path("state_groundtruth_estimate0", "data.csv")


@dataclass(frozen=True, slots=True, eq=False)
class PosedFile:
    """An image file, its calibration and its pose.

    Attributes:
        name: of the image, below the folder of the images.
        path: of the file.
        camera: its calibration.
        map_from_camera: its pose, of the optical frame.
        stamp_ns: its time; None where nothing says it.
    """

    name: str
    path: Path
    camera: Camera
    map_from_camera: Pose
    stamp_ns: int | None = None

    def to_map(self) -> PosedImage:
        """The image to build a map from, read when it is needed."""
        return PosedImage(
            self.name, partial(read_image, self.path), self.camera, self.map_from_camera, self.stamp_ns or 0
        )

    def to_query(self) -> QuerySource:
        """The image to localize, read when it is needed."""
        stamp_ns = self.stamp_ns or 0
        return QuerySource(self.name, partial(read_query, self.path, self.camera, stamp_ns), stamp_ns)


@dataclass(frozen=True, slots=True, eq=False)
class PosedFiles:
    """The images of a source.

    Attributes:
        files: those that have a pose, by time or else by name.
        without_pose: number of images in the folder that have none.
        without_image: number of poses whose image the folder lacks.
    """

    files: Sequence[PosedFile]
    without_pose: int = 0
    without_image: int = 0


def read_query(path: Path, camera: Camera, stamp_ns: int) -> Query:
    """An image file as a query.

    Raises:
        InputError: it cannot be read, or is of another size than its calibration.
    """
    with naming_file(path):
        return Query.single(read_image(path), camera, stamp_ns=stamp_ns)


def read_colmap_files(model: Path, images: Path, *, camera: Camera | None = None) -> PosedFiles:
    """The images of a COLMAP model below a folder; a camera takes the place of the model's.

    Raises:
        InputError: the model cannot be read, or none of its images is in the folder.
    """
    found = read_colmap_images(model, camera=camera)
    return _find_files(
        model, images, [(image.name, partial(_same, image.camera), image.world_from_camera) for image in found]
    )


def read_transforms_files(path: Path, images: Path, *, camera: Camera | None = None) -> PosedFiles:
    """The images of a `transforms.json` below a folder; a camera takes the place of the file's.

    Raises:
        InputError: the file cannot be read, has no calibration, or none of its images is in the folder.
    """
    frames = read_transforms(path)
    calibrate = None if camera is None else partial(_same, camera)
    entries = [(frame.name, calibrate or frame.camera, frame.world_from_camera) for frame in frames]
    return _find_files(path, images, entries)


def _same(camera: Camera) -> Camera:
    return camera


def read_kitti_files(poses: Path, images: Path, *, camera: Camera | None = None) -> PosedFiles:
    """The images of a KITTI odometry sequence, whose names are the numbers of the rows of poses.

    Args:
        poses: `poses/04.txt`, or a folder with a `poses.txt`.
        images: such as `sequences/04/image_2`, which says which camera it is of; `calib.txt` and `times.txt` are
            beside it or beside the poses.
        camera: takes the place of the calibration in `calib.txt`, which says where the camera is. Of a folder of
            another name, the poses are then the camera's own.

    Raises:
        InputError: a file is missing or cannot be read, or an image has a number without a pose.
    """
    poses = poses / "poses.txt" if poses.is_dir() else poses
    paths, map_from_camera0 = list_images(images), read_kitti_poses(poses)
    calibration, camera0_from_camera = _kitti_camera(poses, images, paths[0], camera)
    stamps_ns = read_kitti_times(_beside(poses, images, "times.txt"))
    files = []
    for path in paths:
        row = int(path.stem) if path.stem.isdigit() else -1
        if not 0 <= row < min(len(map_from_camera0), len(stamps_ns)):
            raise InputError(
                f"{path}: expected the number of a row of {poses}, which has {len(map_from_camera0)} and times.txt "
                f"{len(stamps_ns)}, counted from 0; move it away"
            )
        pose = map_from_camera0[row] @ camera0_from_camera
        files.append(PosedFile(path.name, path, calibration, pose, stamps_ns[row]))
    # by number: names need not be padded
    files.sort(key=lambda file: file.stamp_ns or 0)
    return PosedFiles(files, without_image=len(map_from_camera0) - len(files))


def _kitti_camera(poses: Path, images: Path, image: Path, camera: Camera | None) -> tuple[Camera, Pose]:
    """The calibration of a folder of images, and camera0_from_camera."""
    if (name := absolute(images).name) not in _KITTI_FOLDERS:
        if camera is not None:
            return camera, Pose.identity()
        raise InputError(
            f"{images}: its name says not which camera it is of, expected one of {', '.join(_KITTI_FOLDERS)}; "
            "rename it, or give the calibration with --camera where the poses are those of this camera"
        )
    calib = _beside(poses, images, "calib.txt")
    kitti = read_kitti_calibration(calib, int(name[-1]))
    if camera is None:
        height, width = read_image(image).shape[:2]
        with naming_file(calib):
            camera = kitti.camera(width, height)
    return camera, kitti.camera0_from_camera


def _beside(poses: Path, images: Path, name: str) -> Path:
    """A file of a KITTI sequence: beside the folder of the images, or beside the poses."""
    places = [absolute(images).parent / name, absolute(poses).parent / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(f"{images}: there is no {name}, expected it as {places[0]} or {places[1]}; copy it there")
    return found


def read_euroc_files(
    truth: Path, images: Path, *, camera: Camera | None = None, largest_gap_ns: int = LARGEST_GAP_NS
) -> PosedFiles:
    """The images of a EuRoC camera at whose time there is ground truth: interpolated, but not over its gaps.

    Args:
        truth: the folder `mav0`, or the csv of ground truth.
        images: such as `mav0/cam0/data`; `sensor.yaml` above it has the calibration and T_BS, the extrinsics.
        camera: takes the place of the calibration in `sensor.yaml`.
        largest_gap_ns: between the poses before and after an image.

    Raises:
        InputError: a file is missing or cannot be read, or no image has ground truth.
    """
    truth = truth / _EUROC_TRUTH if truth.is_dir() else truth
    trajectory, sensor = read_euroc_poses(truth), absolute(images).parent / "sensor.yaml"
    body_from_camera, calibration = read_body_from_sensor(sensor), camera or read_camera(sensor)
    truth_sensor = absolute(truth).parent / "sensor.yaml"
    body_from_truth = read_body_from_sensor(truth_sensor) if truth_sensor.is_file() else Pose.identity()
    truth_from_camera = body_from_truth.inverse() @ body_from_camera
    files, without = [], 0
    for path, stamp_ns in _euroc_stamps(images):
        pose = trajectory.interpolate(stamp_ns, largest_gap_ns=largest_gap_ns)
        if pose is None:
            without += 1
        else:
            files.append(PosedFile(path.name, path, calibration, pose @ truth_from_camera, stamp_ns))
    if not files:
        raise InputError(
            f"{truth}: has no pose at the time of any of {without} images of {images}, and of those before and "
            f"after none are within {largest_gap_ns / 1e9:g} s; are they of one run?"
        )
    return PosedFiles(sorted(files, key=lambda file: file.stamp_ns or 0), without_pose=without)


def _euroc_stamps(images: Path) -> list[tuple[Path, int]]:
    """The time of each image: its name, or that in the `data.csv` above."""
    paths = list_images(images)
    if (stamps_ns := stamps_in_names([path.name for path in paths])) is not None:
        return list(zip(paths, stamps_ns, strict=True))
    table = absolute(images).parent / "data.csv"
    times = read_euroc_images(table)
    unlisted = next((path for path in paths if path.name not in times), None)
    if unlisted is not None:
        raise InputError(f"{table}: does not list {unlisted.name}, expected the time of every image")
    return [(path, times[path.name]) for path in paths]


def select_keyframes(files: Sequence[PosedFile]) -> list[PosedFile]:
    """Those of a sequence between which the camera moved or turned enough, as of a bag."""
    chosen = list[PosedFile]()
    for file in files:
        if not chosen or has_moved(chosen[-1].map_from_camera, file.map_from_camera):
            chosen.append(file)
    return chosen


# name, calibration as it is needed, and pose
_Entry = tuple[str, Callable[[], Camera], Pose]


def _find_files(source: Path, images: Path, entries: Iterable[_Entry]) -> PosedFiles:
    """The entries whose image is in the folder."""
    files, missing, taken = list[PosedFile](), list[str](), dict[Path, str]()
    for name, calibrate, pose in entries:
        path = find_image(images, name)
        if path is None:
            missing.append(name)
            continue
        if (other := taken.setdefault(path, name)) != name:
            raise InputError(f"{path}: is the image of {other} and of {name} of {source}; give the folder above it")
        files.append(PosedFile(path.relative_to(images).as_posix(), path, calibrate(), pose))
    if not files:
        raise none_found(source, images, missing)
    there = {path for folder in {file.path.parent for file in files} for path in list_images(folder)}
    return PosedFiles(_with_times(files), without_pose=len(there - taken.keys()), without_image=len(missing))


def _with_times(files: list[PosedFile]) -> list[PosedFile]:
    """In the order of the times in their names, where all have one."""
    stamps_ns = stamps_in_names([file.path.name for file in files])
    if stamps_ns is None:
        return files
    timed = [replace(file, stamp_ns=stamp_ns) for file, stamp_ns in zip(files, stamps_ns, strict=True)]
    return sorted(timed, key=lambda file: file.stamp_ns or 0)
