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

"""Draw the picture of README.md from what `vloc demo` wrote: an image with its inliers, and the room from above.

vloc demo && python tools/picture.py --demo out/demo --out docs/picture.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import VlocError
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.datasets.image_folders import make_query_sources
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.results import ResultRecord, read_results

_SIZE_INCHES, _DPI, _COLOURS = (10.6, 3.6), 110, 256
# walls reach higher; without what is above, the furniture is seen from above
_CEILING_PERCENTILE = 97.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and write; 0 when it worked, 1 for an expected failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="picture to write")
    args = parser.parse_args(arguments)
    try:
        write_bytes_atomically(args.out, draw_picture(args.demo))
    except VlocError as error:
        print(f"picture: {error}", file=sys.stderr)
        return 1
    print(f"{args.out} ({args.out.stat().st_size / 1e3:.0f} kB)")
    return 0


def draw_picture(demo: Path) -> bytes:
    """The PNG file.

    Raises:
        VlocError: the folder holds no demo.
    """
    landmark_map, records = read_map(demo / "map"), read_results(demo / "results")
    query, result = _localize_best(demo, landmark_map, records)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI)
    image, above = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    _draw_image(image, query, result)
    _draw_from_above(above, landmark_map, records, result)
    figure.tight_layout()
    return _save(figure)


def _localize_best(
    demo: Path, landmark_map: LandmarkMap, records: Sequence[ResultRecord]
) -> tuple[Query, LocalizationResult]:
    """The query with the most inliers, localized again: files hold no inliers."""
    best = max(range(len(records)), key=lambda index: records[index].result.inliers)
    paths = list_images(demo / "images" / "query" / "images")
    query = make_query_sources(paths, None, read_camera(demo / "images" / "camera.yaml"))[best].read()
    return query, build_localizer(LocalizerConfig(), landmark_map).localize(query)


def _draw_image(axes: Any, query: Query, result: LocalizationResult) -> None:
    image = cv2.cvtColor(query.views[0].image, cv2.COLOR_BGR2RGB)
    axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
    axes.scatter(*result.inlier_xy.T, s=9, facecolors="none", edgecolors="lime", linewidths=0.6)
    axes.set_title(f"one image: {result.inliers} inliers", fontsize=9)
    axes.axis("off")


def _draw_from_above(
    axes: Any, landmark_map: LandmarkMap, records: Sequence[ResultRecord], result: LocalizationResult
) -> None:
    points, keyframes = landmark_map.points, landmark_map.keyframes.translations
    points = points[np.argsort(points[:, 2])]
    points = points[points[:, 2] <= np.percentile(points[:, 2], _CEILING_PERCENTILE)]
    axes.scatter(points[:, 0], points[:, 1], c=points[:, 2], s=1.5, cmap="viridis", linewidths=0)
    axes.plot(keyframes[:, 0], keyframes[:, 1], color="0.35", linewidth=1, label=f"map: {len(keyframes)} images")
    poses = [record.result.map_from_rig for record in records if record.result.map_from_rig is not None]
    found = np.array([landmark_map.scene().scene_from(pose).translation for pose in poses])
    label = f"localized: {len(poses)} of {len(records)} other images"
    axes.scatter(found[:, 0], found[:, 1], s=14, color="tab:red", label=label, zorder=3)
    if result.map_from_rig is not None:
        pose = landmark_map.scene().scene_from(result.map_from_rig)
        ahead = pose.translation + pose.rotation[:, 2]
        arrow = {"arrowstyle": "->", "color": "black", "linewidth": 2}
        axes.annotate("", xy=ahead[:2], xytext=pose.translation[:2], arrowprops=arrow, zorder=4)
    axes.set_aspect("equal")
    axes.set_title(f"a map of {len(landmark_map.points)} points from above, metres", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="upper right")


def _save(figure: Figure) -> bytes:
    """A PNG of few colours, which is a third of the size."""
    from PIL import Image

    drawn, packed = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    drawn.seek(0)
    few = Image.open(drawn).convert("RGB").quantize(_COLOURS, method=Image.Quantize.FASTOCTREE)
    few.save(packed, format="png", optimize=True)
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main())
