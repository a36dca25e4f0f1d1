"""The images that a map's keyframes were taken from, in a folder of the user's."""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.pose import Array
from vloc_ros.storage.images import read_image

_NAMED = 3


def keyframe_paths(landmark_map: LandmarkMap, folder: Path) -> list[Path]:
    """The image of every keyframe by its name, in which an update or a merged map has subfolders.

    Raises:
        InputError: some are missing.
    """
    names = landmark_map.keyframes.names
    paths = [folder / name for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        listed = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"{folder}: holds {len(paths) - len(missing)} of the map's {len(paths)} images, missing are {listed}; give "
            "the folder that the map was built from, with a subfolder for each visit or scene that the names have"
        )
    return paths


def read_keyframe_image(landmark_map: LandmarkMap, k: int, path: Path) -> Array:
    """(H, W) uint8 grey or (H, W, 3) uint8 BGR image of keyframe k.

    Raises:
        InputError: it cannot be read, or has not the size that the map knows for it.
    """
    image, cameras = read_image(path), landmark_map.keyframes.cameras
    if cameras and image.shape[:2] != (cameras[k].height, cameras[k].width):
        raise InputError(
            f"{path} is {image.shape[1]}x{image.shape[0]}, the map's image of this name {cameras[k].width}x"
            f"{cameras[k].height}; give the images that the map was built from"
        )
    return image
