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

"""Manifests and arrays that are whole but cannot be of a map: what only the checks behind the checksums find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_map import KEYFRAMES, POINTS, SUBMAPS, edit, refused, swap


@pytest.mark.parametrize("file", ["../secret-0123456789abcdef.z", "/etc/passwd", "manifest.json", "", None, "a/b"])
def test_file_names_that_lead_out(folder: Path, file: object) -> None:
    edit(folder, lambda manifest: manifest["arrays"]["points"].update(file=file))
    refused(folder, "expected a plain file name")


@pytest.mark.parametrize(
    "shape", [[10**12, 3], [2**62, 2**62], [-1, 3], [500.0, 3], "x", [], [1] * 9, [True, 3], [0, 3], [500, 4]]
)
def test_absurd_shapes_are_refused_before_any_memory_or_disk_is_taken(
    folder: Path, shape: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("reserved"))
    edit(folder, lambda manifest: manifest["arrays"]["points"].update(shape=shape))
    refused(folder, "points")


@pytest.mark.parametrize("dtype", ["object", "O", "complex64", "float16", 3, None, ">f4"])
def test_other_types(folder: Path, dtype: object) -> None:
    edit(folder, lambda manifest: manifest["arrays"]["points"].update(dtype=dtype))
    refused(folder, "points")


@pytest.mark.parametrize(
    "key", ["arrays", "codec", "keyframes", "extractor", "retrieval", "places", "scenes", "descriptor_statistics"]
)
@pytest.mark.parametrize("value", [None, 3, "x", ["x"], {"a": 1}])
def test_manifests_that_do_not_describe_a_map(folder: Path, key: str, value: object) -> None:
    edit(folder, lambda manifest: manifest.update({key: value}))
    refused(folder, ".")


@pytest.mark.parametrize(
    "changes",
    [
        *({"points": n} for n in (0, -1, 10**30, 2**63, 500.5, "500", True, None)),
        *({"keyframes": n} for n in (0, 7, 10**30, "6")),
        *({"frame_id": frame} for frame in ("", "/map", "a b", None, 3, ["map"])),
        *({"origin": o} for o in ([1.0, 2.0], [[0.0] * 3], ["x", 0, 0], [None, 0, 0], "x", None, 5.0)),
        *({"calibration": {"scale": s, "floor": [0.0] * 6, "samples": 3}} for s in (-1.0, 0.0, "x")),
        *({"self_similarity": {"score_shift": s}} for s in (0.5, "-inf", "x", None)),
        {"self_similarity": 3},
        *(
            {"frame_uncertainty": {"covariance": (c * np.eye(7)).tolist(), "centre": centre, "bending": bending}}
            for c, centre, bending in [
                *[(-1.0, [0.0] * 3, [0.0] * 6), (1.0, ["inf", 0.0, 0.0], [0.0] * 6), (1.0, [0.0] * 2, [0.0] * 6)],
                *[(1.0, None, [0.0] * 6), (1.0, [0.0] * 3, [-1.0] * 6), (1.0, [0.0] * 3, [0.0] * 3)],
            ]
        ),
        {
            "frame_uncertainty": {
                "covariance": np.triu(np.ones((7, 7))).tolist(),
                "centre": [0.0] * 3,
                "bending": [0.0] * 6,
            }
        },
    ],
)
def test_scenes_that_cannot_be(folder: Path, changes: dict[str, object]) -> None:
    edit(folder, lambda manifest: manifest["scenes"][0].update(changes))
    refused(folder, ".")


@pytest.mark.parametrize(
    "key",
    [
        "points",
        "codec/basis",
        "keyframes/rotations",
        "retrieval/vlad/encoder/words",
        "retrieval/scan/items",
        "places/lidar/extents",
        "places/lidar/payloads/points/offsets",
    ],
)
def test_arrays_that_are_not_listed(folder: Path, key: str) -> None:
    edit(folder, lambda manifest: manifest["arrays"].pop(key))
    refused(folder, f"lists no array {key}")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("points", np.full((POINTS, 3), np.nan, np.float32), "not finite"),
        ("points", np.zeros((POINTS, 3)), "points holds float64, expected float32"),
        ("points", np.zeros((POINTS, 2), np.float32), "do not fit together"),
        ("points", np.zeros((0, 3), np.float32), "do not fit together"),
        ("landmark_ids", np.full(POINTS, -1, np.int32), "landmark"),
        ("codes", np.zeros((POINTS, 15), np.uint8), "codes"),
        ("codec/basis", np.zeros((24, 15), np.float32), "basis of shape"),
        ("codec/mean", np.full(24, np.inf, np.float32), "not finite"),
        ("keyframes/point_offsets", np.arange(7)[::-1].copy(), "observations"),
        ("keyframes/point_indices", np.full(996, POINTS, np.int32), "points that it does not hold"),
        ("keyframes/rotations", np.ones((KEYFRAMES, 3, 3)), "rotation"),
        ("keyframes/translations", np.full((KEYFRAMES, 3), np.nan), "not finite"),
        ("retrieval/vlad/descriptors", np.zeros((KEYFRAMES - 1, 32), np.int8), "one row each"),
        ("retrieval/vlad/items", np.arange(KEYFRAMES, dtype=np.int32), "int32, expected int64"),
        ("retrieval/vlad/items", np.arange(KEYFRAMES) + 1, "beyond the map's 6"),
        ("retrieval/vlad/items", np.arange(KEYFRAMES) - 1, "negative items"),
        ("retrieval/vlad/items", np.arange(KEYFRAMES - 1), "one row each"),
        ("retrieval/scan/items", np.array([0, 2, SUBMAPS, 0]), "beyond the map's 3"),
        ("places/lidar/scenes", np.array([0, 1, 0], np.int32), "scenes beyond the map's 1"),
        ("places/lidar/scenes", np.array([0, -1, 0], np.int32), "scenes beyond the map's 1"),
        ("places/lidar/scenes", np.zeros(SUBMAPS + 1, np.int32), "3 places but scenes of shape"),
        ("places/lidar/rotations", np.ones((SUBMAPS, 3, 3)), "rotation"),
        ("places/lidar/translations", np.full((SUBMAPS, 3), np.nan), "not finite"),
        ("places/lidar/extents", np.full((SUBMAPS, 3), np.inf), "not finite"),
        ("places/lidar/extents", np.full((SUBMAPS, 3), -1.0), "negative"),
        ("places/lidar/payloads/points/offsets", np.array([0, 3, 1, 6]), "offsets that do not fit"),
        ("places/lidar/payloads/points/offsets", np.array([1, 2, 3, 6]), "offsets that do not fit"),
        ("places/lidar/payloads/points/offsets", np.array([0, 1, 6]), "offsets that do not fit"),
        ("places/lidar/payloads/points/offsets", np.array([0, 1, 3, 7]), "6 points, expected 7"),
    ],
)
def test_arrays_that_do_not_fit(folder: Path, name: str, array: np.ndarray, reason: str) -> None:
    swap(folder, name, array)
    refused(folder, reason)


@pytest.mark.parametrize("key", ["origin", "frame_id", "calibration"])
def test_scenes_that_lack_an_entry(folder: Path, key: str) -> None:
    edit(folder, lambda manifest: manifest["scenes"][0].pop(key))
    refused(folder, key)


@pytest.mark.parametrize(
    "changes",
    [
        {"same_point": 1.5},
        {"same_point": -0.1},
        {"unrelated": 0.0},
        {"unrelated": "x"},
        {"same_point": None},
        {"median": 0.5},
    ],
)
def test_descriptor_statistics_that_cannot_be(folder: Path, changes: dict[str, object]) -> None:
    edit(folder, lambda manifest: manifest["descriptor_statistics"].update(changes))
    refused(folder, ".")


def test_descriptor_statistics_that_lack_an_entry(folder: Path) -> None:
    edit(folder, lambda manifest: manifest["descriptor_statistics"].pop("unrelated"))
    refused(folder, "unrelated")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modality": "radar"}, "describes radar, which the map lacks"),
        ({"modality": ...}, "modality"),
        ({"encoder_arrays": ["centroids"]}, "lists no array retrieval/scan/encoder/centroids"),
        ({"encoder_arrays": 3}, "."),
        ({"scale": "x"}, "."),
        ({"scale": None}, "."),
    ],
)
def test_retrieval_indices_that_cannot_be(folder: Path, changes: dict[str, object], reason: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        entry = {**manifest["retrieval"]["scan"], **changes}
        manifest["retrieval"]["scan"] = {key: value for key, value in entry.items() if value is not ...}

    edit(folder, change)
    refused(folder, reason)


@pytest.mark.parametrize(
    "changes", [{"names": ["a", "b"]}, {"names": None}, {"payloads": ["walls"]}, {"payloads": 3}, {"payloads": None}]
)
def test_places_that_cannot_be(folder: Path, changes: dict[str, object]) -> None:
    edit(folder, lambda manifest: manifest["places"]["lidar"].update(changes))
    refused(folder, ".")
