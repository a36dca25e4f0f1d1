"""The images that a map's keyframes were taken from, in a folder of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.core.map.landmark_map import LandmarkMap

_NAMED = 3


def keyframe_paths(landmark_map: LandmarkMap, folder: Path) -> list[Path]:
    """The image of every keyframe by its name, in which an update or a merged map has subfolders.

    Raises:
        InputError: some are missing.
    """
    names = landmark_map.keyframes.names
    paths = [folder / name for name in names]
    check_all_there(folder, len(names), [name for name, path in zip(names, paths, strict=True) if not path.is_file()])
    return paths


def check_all_there(source: Path, count: int, missing: Sequence[str]) -> None:
    """Raise InputError with the names of a map's images that a folder or bag lacks, if there are any."""
    if missing:
        listed = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"{source}: holds {count - len(missing)} of the map's {count} images, missing are {listed}; give what the "
            "map was built from, in a folder with a subfolder for each visit or scene that the names have"
        )
