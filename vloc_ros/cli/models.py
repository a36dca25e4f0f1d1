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

"""A model that a command is given, its folder or the map that carries it, and every engine that may run it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.inference.engine_cache import BuiltEngine
    from vloc_ros.inference.engines import Engine
    from vloc_ros.inference.models import Model


def read_model_of(folder: Path) -> Model:
    """The model in a folder, or the keypoint model of a map.

    Raises:
        ModelError: there is none, or it is damaged.
        MapError: the map is damaged, or carries no model.
    """
    from vloc_ros.core.errors import MapError, VlocError
    from vloc_ros.inference.keypoints import KIND
    from vloc_ros.inference.models import GRAPH, MANIFEST, read_any_model, verify_model
    from vloc_ros.storage.maps import read_map

    if (folder / GRAPH).exists() or not (folder / MANIFEST).exists():
        return read_any_model(folder)
    try:
        carried = read_map(folder).keypoint_model
    except VlocError:
        return read_any_model(folder)  # whose error speaks of models
    if carried is None:
        raise MapError(f"{folder}: the map carries no model, its keypoints are RootSIFT's; name a model folder")
    return verify_model(folder, carried.manifest, carried.graph.tobytes(), kind=KIND)


def start_all_engines(model: Model, *, threads: int = 0) -> dict[str, Callable[[], Engine]]:
    """What starts each engine of a model, by a name for people: execution providers, then engines of the cache.

    Of a matcher that is the embedding, its first graph.
    """
    import onnxruntime

    from vloc_ros.core.config import EXECUTION_PROVIDERS
    from vloc_ros.inference.engine_cache import default_cache, list_engines
    from vloc_ros.inference.engines import OnnxRuntime
    from vloc_ros.inference.tensorrt_engine import TensorRtEngine

    available = onnxruntime.get_available_providers()
    starters: dict[str, Callable[[], Engine]] = {
        f"onnx, {name}": partial(OnnxRuntime, model, provider=name, threads=threads)
        for name in EXECUTION_PROVIDERS
        if name in available
    }
    for built in list_engines(default_cache()):
        if built.key.model_hash == model.entry("hash"):
            starters[describe_engine(built)] = partial(TensorRtEngine, built)
    return starters


def note_parts(model: Model) -> str:
    """What a command that runs the first graph of a model leaves out; empty for a model of one graph."""
    stages = model.manifest.get("stages")
    return f"embedding only: the other {len(stages)} graphs of the matcher are not run" if stages else ""


def describe_engine(built: BuiltEngine) -> str:
    """One engine on one line."""
    key = built.key
    where = f"{', '.join(key.targets)}{f' ({key.device})' if key.device else ''}"
    return f"{key.flavour} {key.version} {key.precision} for {where}, {built.folder.name[:8]}"
