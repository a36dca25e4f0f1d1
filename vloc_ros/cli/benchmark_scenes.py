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

"""One scene of `vloc benchmark`: its map, its results, and what of them is there already."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.localize_batch import localize_with_progress
from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.config import LocalizerConfig
    from vloc_ros.core.features.keypoint_model import KeypointModel
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.datasets.benchmarks.scene import BenchmarkScene
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.storage.results import ResultRecord

_RESULT, _MAP_SETTINGS = "result.json", "map_settings.json"


@dataclass(frozen=True, slots=True, eq=False)
class SceneSettings:
    """What the result of a scene depends on, beside its images.

    Attributes:
        mapping: parameters of the map.
        localizer: parameters of the localizer.
        keypoint_model: of an extractor that is a network.
        source: what the images and poses are, for comparison, and the version of the package.
        digests: of the images with their poses, see `BenchmarkScene.digests`; None where they have not been read.
    """

    mapping: MappingConfig
    localizer: LocalizerConfig
    keypoint_model: KeypointModel | None
    source: Mapping[str, Any]
    digests: Mapping[str, str] | None = None

    def of_map(self) -> dict[str, Any]:
        """What the map depends on, as values for JSON."""
        digests = {"map": (self.digests or {}).get("map")}
        return _plain({"source": dict(self.source), "mapping": asdict(self.mapping), "digests": digests})

    def of_result(self) -> dict[str, Any]:
        """What the result depends on."""
        return {**self.of_map(), **_plain({"localizer": asdict(self.localizer), "digests": self.digests})}


def _plain(values: Any) -> Any:
    return json.loads(json.dumps(values, default=str))


def read_result(folder: Path, settings: SceneSettings) -> dict[str, Any] | None:
    """The result of a scene by the same settings, None without any; of any images where these have not been read."""
    result = _read_json(folder / _RESULT)
    found = {} if result is None else result.get("settings")
    if isinstance(found, dict) and settings.digests is None:
        found = {**found, "digests": None}
    return result if found == settings.of_result() else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def run_scene(scene: BenchmarkScene, folder: Path, settings: SceneSettings, poses: str) -> dict[str, Any]:
    """Build the map, localize all queries, score and write; a map by the same settings is kept.

    Raises:
        VlocError: the scene makes no map, or none of the queries can be used.
    """
    from vloc_ros.evaluation.benchmark_results import format_submission, score_scene
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.maps import map_bytes
    from vloc_ros.storage.results import write_results

    started = time.monotonic()
    landmark_map = _read_or_build(scene, folder, settings)
    mapped = time.monotonic()
    records = _localize(scene, landmark_map, settings)
    truth, groups = [q.map_from_camera for q in scene.queries], [q.group for q in scene.queries]
    result = {
        "status": "done",
        "scene": scene.name,
        "poses": poses,
        "map_images": len(landmark_map.keyframes),
        "queries": len(records),
        "left_out": scene.left_out,
        **score_scene(records, truth, groups, map_bytes=map_bytes(folder / "map")),
        "map_seconds": round(mapped - started, 1),
        "localize_seconds": round(time.monotonic() - mapped, 1),
        "settings": settings.of_result(),
    }
    write_results(folder / "results", records)
    rows = format_submission(records, with_folders=result["scores"] is not None)
    write_bytes_atomically(folder / "submission.txt", rows.encode())
    _write_json(folder / _RESULT, result)
    return result


def _read_or_build(scene: BenchmarkScene, folder: Path, settings: SceneSettings) -> LandmarkMap:
    from vloc_ros.cli.termination import end_on_sigterm
    from vloc_ros.mapping.maps.checked_build import build_checked_map
    from vloc_ros.storage.maps import read_map, write_map

    end_on_sigterm()  # again: pycolmap is imported now
    if _read_json(folder / _MAP_SETTINGS) == settings.of_map():
        return read_map(folder / "map")
    landmark_map = build_checked_map(
        [file.to_map() for file in scene.map_files],
        name=scene.name,
        config=settings.mapping,
        keypoint_model=settings.keypoint_model,
        progress=bar,
    )
    # without it, a map that is half replaced would be taken for one by these settings
    (folder / _MAP_SETTINGS).unlink(missing_ok=True)
    write_map(landmark_map, folder / "map")
    _write_json(folder / _MAP_SETTINGS, settings.of_map())
    return landmark_map


def _localize(scene: BenchmarkScene, landmark_map: LandmarkMap, settings: SceneSettings) -> list[ResultRecord]:
    from vloc_ros.assembly import build_localizer
    from vloc_ros.footprint import limit_blas_threads

    limit_blas_threads()
    localizer = build_localizer(settings.localizer, landmark_map)
    return localize_with_progress(localizer, [query.to_source() for query in scene.queries])


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    from vloc_ros.storage.atomic import write_bytes_atomically

    write_bytes_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())
