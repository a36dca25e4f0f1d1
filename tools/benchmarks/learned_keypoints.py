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

"""RootSIFT and a learned extractor side by side, by maps of many images and of few."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.acceptance import EXTRACTORS, keypoint_model
from benchmarks.command import vloc
from benchmarks.real import build_once, queries, scene

from vloc_ros.storage.images import list_images

# of the map's images one in so many is kept for a sparse map
SPARSE = 10


def learned_keypoints(out: Path) -> dict[str, Any]:
    """redkitchen's queries in a map of all its images and in one of every tenth, by extractor, in one run."""
    figures: dict[str, Any] = {"all images": {}, "every tenth image": {}}
    for extractor in EXTRACTORS:
        model = keypoint_model(out, extractor)
        options = ("--extractor", str(model)) if model else ()
        folder = build_once(out, "redkitchen", *options, title=f"redkitchen-{extractor}")
        figures["all images"][extractor] = queries(out, "redkitchen", folder)
        folder = _build_sparse(out, f"redkitchen-{extractor}-sparse", options)
        figures["every tenth image"][extractor] = queries(out, "redkitchen", folder)
    features = {name: found["latency_ms"]["features"]["p50"] for name, found in figures["all images"].items()}
    return {**figures, "features_ms_of_rootsift": features["xfeat"] / features["rootsift"]}


def _build_sparse(out: Path, title: str, options: tuple[str, ...]) -> Path:
    """The folder of redkitchen's map of every tenth image."""
    data, images, poses = scene("redkitchen"), out / "sparse/images", out / "sparse/poses.txt"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    for path in list_images(data / "map/images")[::SPARSE]:
        (images / path.name).symlink_to(path)
    rows = (data / "map/poses_tum.txt").read_text().splitlines()
    poses.write_text("\n".join([row for row in rows if row and row[0] != "#"][::SPARSE]) + "\n")
    folder = out / "maps" / title
    shutil.rmtree(folder, ignore_errors=True)
    given = ("--images", images, "--poses", poses, "--camera", data / "camera_info.yaml")
    vloc("map", "build", *given, *options, "--out", folder)
    return folder
