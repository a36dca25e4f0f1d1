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

"""Images of a training, kept in memory or read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress
from vloc_ros.storage.images import read_image


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Image files, in memory or read on access.

    Attributes:
        paths: N files.
        kept: N decoded images, or empty.
    """

    paths: tuple[Path, ...]
    kept: tuple[Array, ...] = ()

    @staticmethod
    def load(paths: Sequence[Path], *, in_memory: bool, progress: Progress) -> ImageFiles:
        """All of them."""
        if not in_memory:
            return ImageFiles(tuple(paths))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(read_image, paths)
            return ImageFiles(tuple(paths), tuple(progress(read, description="images", total=len(paths))))

    def select(self, which: Array) -> ImageFiles:
        """A subset."""
        return ImageFiles(tuple(self.paths[i] for i in which), tuple(self.kept[i] for i in which) if self.kept else ())

    def __getitem__(self, i: int) -> Array:
        return self.kept[i] if self.kept else read_image(self.paths[i])
