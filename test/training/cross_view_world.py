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

"""A data set of University-1652's layout, of noise that both views of a place share."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from training.cross_view.layout import HEADING, POSITION_COLUMNS, POSITIONS


def write_dataset(
    root: Path, *, places: int = 6, drones: int = 3, positions: bool = False, headings: bool = False
) -> Path:
    """Write both splits; place K lies 30 m east of the one before, in region K // 2, and is seen at heading 10 K."""
    rng = np.random.default_rng(0)
    for split, query, gallery in (("train", "drone", "satellite"), ("test", "query_drone", "gallery_satellite")):
        rows = []
        for number in range(places):
            texture = cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (80, 80), interpolation=cv2.INTER_NEAREST)
            for folder, count in ((query, drones), (gallery, 1)):
                for k in range(count):
                    name = f"{folder}/{number:04}/day-{k}.jpg"
                    (root / split / name).parent.mkdir(parents=True, exist_ok=True)
                    noise = rng.normal(0, 5, texture.shape)
                    cv2.imwrite(str(root / split / name), np.clip(texture + noise, 0, 255).astype(np.uint8))
                    rows.append([name, 30.0 * number + k, 0.0, 40.0, f"r{number // 2}", f"s{number}"])
                    rows[-1] += [10.0 * number] if headings else []
        if positions:
            with (root / split / POSITIONS).open("w", newline="") as file:
                csv.writer(file).writerows([(*POSITION_COLUMNS, HEADING) if headings else POSITION_COLUMNS, *rows])
    return root
