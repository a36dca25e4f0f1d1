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

"""A small map of every kind of content, in a folder, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.map.scene import Scene, SelfSimilarity
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.storage.arrays import encode_array
from vloc_ros.storage.manifests import manifest_bytes
from vloc_ros.storage.maps import read_manifest, read_map

POINTS, KEYFRAMES, SUBMAPS = 500, 6, 3
ORIGIN = np.array([500000.25, 5400000.5, 0.125])


def make_map(seed: int = 0, points: int = POINTS) -> LandmarkMap:
    """A map of random content, always the same."""
    generator = np.random.default_rng(seed)
    seen = [np.sort(generator.choice(points, points // 3, replace=False)) for _ in range(KEYFRAMES)]
    rotations = np.stack([cv2.Rodrigues(generator.normal(size=3))[0] for _ in range(KEYFRAMES)])
    rows = generator.normal(size=(KEYFRAMES, 32)).astype(np.float32)
    words = generator.normal(size=(4, 16)).astype(np.float32)
    calibration = CovarianceCalibration(1.5, np.arange(6) * 1e-4, 40)
    frame = FrameUncertainty(np.diag(np.arange(7) * 1e-3) + 1e-3, np.array([1.0, 2.0, 0.1]), np.arange(6) * 1e-5)
    return LandmarkMap(
        name="kitchen",
        scenes=(
            Scene("map", range(points), range(KEYFRAMES), calibration, ORIGIN, SelfSimilarity(-0.75, 12), frame, True),
        ),
        points=generator.normal(size=(points, 3)).astype(np.float32),
        landmark_ids=generator.integers(0, 20, points).astype(np.int32),
        landmarks=LandmarkTable(generator.permutation(20) - 7, (np.arange(20) // 6).astype(np.int32)),
        codes=generator.integers(0, 256, (points, 16)).astype(np.uint8),
        codec=DescriptorCodec.fit(generator.normal(size=(100, 24)).astype(np.float32), 16),
        keyframes=Keyframes(
            tuple(f"frame-{k}.jpg" for k in range(KEYFRAMES)),
            rotations,
            generator.normal(size=(KEYFRAMES, 3)),
            np.cumsum([0, *(len(s) for s in seen)]),
            np.concatenate(seen).astype(np.int32),
        ),
        extractor=RootSiftConfig(max_keypoints=800),
        descriptor_statistics=DescriptorStatistics(0.25, 1.5, "made up"),
        retrieval={
            "vlad": RetrievalIndex("vlad", "abc", rows, np.arange(KEYFRAMES), encoder_arrays={"words": words}),
            "scan": RetrievalIndex("scan", "def", rows[:4], np.array([0, 2, 2, 0]), modality="lidar"),
        },
        places={"lidar": make_places(rotations[:SUBMAPS])},
        metric=False,
        provenance={"images": 6, "from": "a test", "steps": [1, 2]},
    )


def make_places(rotations: np.ndarray) -> Places:
    """Submaps of one scene, with as many points as their number plus one."""
    count = len(rotations)
    offsets = np.cumsum([0, *range(1, count + 1)])
    return Places(
        names=tuple(f"submap {n}" for n in range(count)),
        scenes=np.zeros(count, np.int32),
        rotations=rotations,
        translations=np.arange(3.0 * count).reshape(count, 3),
        extents=np.full((count, 3), 40.0),
        payloads={"points": Payload(np.arange(3 * offsets[-1], dtype=np.float32).reshape(-1, 3), offsets)},
    )


def assert_equal_places(first: Places, second: Places) -> None:
    """All of two sets of places is the same, types included."""
    assert first.names == second.names
    assert set(first.payloads) == set(second.payloads)
    pairs = [
        (getattr(first, name), getattr(second, name)) for name in ("scenes", "rotations", "translations", "extents")
    ]
    for name, payload in first.payloads.items():
        pairs += [(payload.values, second.payloads[name].values), (payload.offsets, second.payloads[name].offsets)]
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it the right hash again: what only the checks behind the hash can find."""
    manifest = read_manifest(folder)
    change(manifest)
    content = {key: value for key, value in manifest.items() if key not in ("format", "version", "hash")}
    (folder / "manifest.json").write_bytes(manifest_bytes(content)[0])


def swap(folder: Path, name: str, array: np.ndarray) -> None:
    """Put another, well-formed array in the place of one."""
    entry, data = encode_array(name, array)
    (folder / entry["file"]).write_bytes(data)
    edit(folder, lambda manifest: manifest["arrays"].update({name: entry}))


def array_file(folder: Path, name: str) -> Path:
    """The file of one array."""
    return folder / str(read_manifest(folder)["arrays"][name]["file"])


def refused(folder: Path, reason: str) -> None:
    """Reading fails with one line that names the folder."""
    with pytest.raises(MapError, match=reason) as error:
        read_map(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
