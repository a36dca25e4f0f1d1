"""What a folder of images holds beside those that are read: it is said, not passed over."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def report_images_passed_over(folder: Path) -> None:
    """Name images below the folder, and of other formats; a folder that cannot be read is for its reader to refuse."""
    from vloc_ros.storage.images import count_images_passed_over

    with contextlib.suppress(OSError):
        for where, count in count_images_passed_over(folder).items():
            what = f"{count} {where} files" if where.startswith("*") else f"{count} images in {where}"
            print(f"vloc: note: {what} are not read, only .jpg and .png files in {folder} itself", file=sys.stderr)
