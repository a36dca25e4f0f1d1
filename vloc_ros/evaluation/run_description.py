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

"""What a run was made with: version, map, settings. Two runs are comparable where these say so."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vloc_ros.core.config import LocalizerConfig, parameters_of
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.maps import map_bytes, map_hash

_PACKAGE = Path(__file__).resolve().parent.parent


def describe_run(
    landmark_map: LandmarkMap,
    folder: Path,
    *,
    images: Path,
    config: LocalizerConfig,
    models: Mapping[str, Path | None],
    mode: str,
) -> dict[str, Any]:
    """Values for JSON.

    Args:
        landmark_map: of the localizer.
        folder: of the map.
        images: a folder or a bag.
        config: the localizer's parameters.
        models: folder of each learned model, None where there is none.
        mode: `single`, every image by itself; `sequence`; or `live`, `live sequence`, through the nodes.
    """
    return {
        "version": version(),
        "revision": revision(),
        "mode": mode,
        "images": str(images),
        "map": {
            "name": landmark_map.name,
            "folder": str(folder),
            "hash": map_hash(folder),
            "bytes": map_bytes(folder),
            "metric": landmark_map.metric,
        },
        "models": {name: model and str(model) for name, model in models.items()},
        "settings": {parameter.name: parameter.value for parameter in parameters_of(config)},
    }


def version() -> str | None:
    """The version of the package; None where it runs without having been installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("vloc_ros")
    return None


def revision() -> str | None:
    """The commit of the code, with `-dirty` where that was changed; None outside a checkout of this package."""
    git = ("git", "-C", str(_PACKAGE))
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run([*git, "ls-files", "--error-unmatch", "assembly.py"], capture_output=True, check=True, timeout=5)
        found = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
        return found.stdout.strip()
    return None
