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
