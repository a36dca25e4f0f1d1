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

"""The learned models of a localizer, and their change from ONNX Runtime to engines that were built meanwhile."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import EngineMissingError, VlocError
from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.features.matching_network import MatchingNetwork
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.localization.landmark_candidates import LandmarkRecognizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.encoders import QueryEncoder
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.inference.engines import check_engine
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.inference.landmark_recognizer import read_landmark_recognizer
from vloc_ros.inference.matching_network import read_matching_network
from vloc_ros.inference.models import read_graph_hashes
from vloc_ros.inference.tensorrt_engine import check_runtime
from vloc_ros.node_config import LocalizerNodeConfig

_PERIOD_S, _PERIOD_AFTER_FAILURE_S = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class LocalizerModels:
    """What a localizer has beside its map.

    Attributes:
        extractor: of the map.
        recognizer: of landmarks, None without one.
        encoder: global descriptor model, None without one.
        network: learned matcher, None without one.
        missing: why they run on ONNX Runtime for now; empty where they run as configured.
    """

    extractor: Extractor
    recognizer: LandmarkRecognizer | None = None
    encoder: QueryEncoder | None = None
    network: MatchingNetwork | None = None
    missing: str = ""


def read_models(config: LocalizerNodeConfig, landmark_map: LandmarkMap, inference: InferenceConfig) -> LocalizerModels:
    """Read the models that a node is configured with, and start what runs them.

    Raises:
        ModelError: one cannot be used.
        EngineMissingError: the engine of one has not been built.
    """
    recognizer, encoder, matcher = config.recognizer, config.encoder, config.matching_network
    return LocalizerModels(
        build_map_extractor(landmark_map, inference=inference),
        read_landmark_recognizer(Path(recognizer).expanduser(), inference) if recognizer else None,
        read_global_descriptor(Path(encoder).expanduser(), inference) if encoder else None,
        read_matching_network(Path(matcher).expanduser(), inference) if matcher else None,
    )


def read_models_at_once(
    config: LocalizerNodeConfig, landmark_map: LandmarkMap, inference: InferenceConfig
) -> LocalizerModels:
    """Like `read_models`, without a wait: no engine is loaded before all of them are there.

    Raises:
        ModelError: one cannot be used.
        EngineMissingError: the engine of one has not been built.
    """
    if inference.engine != "onnx":
        for model_hash, keypoints in _list_graphs(config, landmark_map):
            check_engine(model_hash, inference, keypoints=keypoints)
    return read_models(config, landmark_map, replace(inference, engine_wait_s=0.0))


def _list_graphs(config: LocalizerNodeConfig, landmark_map: LandmarkMap) -> list[tuple[str, int]]:
    """Hash of each graph that runs, and how many keypoints it has to give."""
    extractor = landmark_map.extractor
    of_map = [(extractor.model_hash, extractor.max_keypoints)] if isinstance(extractor, KeypointModelConfig) else []
    folders = [Path(name).expanduser() for name in (config.recognizer, config.encoder, config.matching_network) if name]
    return of_map + [(model_hash, 0) for folder in folders for model_hash in read_graph_hashes(folder)]


def read_models_or_bridge(
    config: LocalizerNodeConfig, landmark_map: LandmarkMap, inference: InferenceConfig
) -> LocalizerModels:
    """Like `read_models`; engines that were not built are bridged by ONNX Runtime where the configuration says so.

    Raises:
        ModelError: a model cannot be used, or this machine cannot run such engines at all.
    """
    if inference.while_building == "wait":
        return read_models(config, landmark_map, inference)
    try:
        return read_models_at_once(config, landmark_map, inference)
    except EngineMissingError as error:
        check_runtime(inference.engine)
        on_onnx = replace(inference, engine="onnx", precision="fp32")
        return replace(read_models(config, landmark_map, on_onnx), missing=str(error))


def make_noise_query(width: int, height: int) -> Query:
    """An image of noise, on which a localizer has to do all its work in vain."""
    image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    focal = 0.8 * max(width, height)
    return Query.single(image, Camera("PINHOLE", width, height, (focal, focal, width / 2, height / 2)))


class EngineSwitch:
    """Tries again and again, in a thread of its own, to replace the models of a localizer by engines."""

    def __init__(self, switch: Callable[[], None], *, on_note: Callable[[str], None]) -> None:
        """Begin.

        Args:
            switch: replaces them; raises EngineMissingError while they are not built.
            on_note: takes what keeps them from being replaced, and an empty text once they are.
        """
        self._switch, self._on_note, self._closed = switch, on_note, threading.Event()
        self._thread = threading.Thread(target=self._follow, name="engines", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; a switch in progress is finished."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _follow(self) -> None:
        limit_blas_threads()
        period_s = _PERIOD_S
        while not self._closed.wait(period_s):
            try:
                self._switch()
            except EngineMissingError:
                period_s = _PERIOD_S
            except VlocError as error:
                self._on_note(f"the models stay on ONNX Runtime: {error}")
                period_s = _PERIOD_AFTER_FAILURE_S
            except Exception as error:  # a bug: the localizer goes on
                self._on_note(f"the models stay on ONNX Runtime: internal error: {error!r}\n{traceback.format_exc()}")
                return
            else:
                self._on_note("")
                return
