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

"""Where the views of a training come from, and the cache that keeps their keypoints."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from training.iterative_matching.views import View, load_view, save_view
from vloc_ros.assembly import build_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model

# of the files of a cache
_VERSION = 2
ExtractorBuilder = Callable[[], Extractor]


def choose_extractor(name: str) -> tuple[ExtractorBuilder, dict[str, Any]]:
    """An extractor by name or model folder, and its configuration as JSON types.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    model = None if name == "rootsift" else read_keypoint_model(Path(name))
    config = RootSiftConfig() if model is None else keypoint_model_config(model)
    return partial(build_extractor, config, model, inference=InferenceConfig(threads=1)), asdict(config)


class ViewSource(Protocol):
    """Images of several scenes, of which views are made.

    Attributes:
        description: what the views follow from, as JSON types; a cache of another one is not used.
        scenes: (V,) int64 scene of each view; views of one scene have a common geometry.
        places: (V,) int64 place of each view; views of different places certainly show nothing in common.
        pairs: (P, 2) int64 views that overlap, the lower number first; None where it follows from their keypoints.
    """

    @property
    def description(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def scenes(self) -> Array: ...  # noqa: D102
    @property
    def places(self) -> Array: ...  # noqa: D102
    @property
    def pairs(self) -> Array | None: ...  # noqa: D102

    def make(self, index: int, extractor: Extractor, *, version: int) -> View:
        """A view. Views of another version are of another light or perspective where the source draws these."""
        ...


class ViewStore:
    """The views of a source: made once and kept in files, or made anew for every epoch."""

    def __init__(self, source: ViewSource, build_extractor: ExtractorBuilder, cache: Path | None) -> None:
        """Views of a source.

        Args:
            source: of the images.
            build_extractor: called once a thread; extractors are not thread-safe.
            cache: folder for the views; None to make each anew for every epoch (online).
        """
        self.source, self._build, self._cache = source, build_extractor, cache
        text = json.dumps([_VERSION, source.description], sort_keys=True)
        self._prefix = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._of_thread = threading.local()

    def __len__(self) -> int:
        return len(self.source.scenes)

    def __getstate__(self) -> dict[str, Any]:
        """For processes that load batches: each builds an extractor of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._of_thread = threading.local()

    def view(self, index: int, *, epoch: int = 0) -> View:
        """A view, from the cache where there is one."""
        if self._cache is None:
            return self._make(index, version=epoch)
        path = self._path(index)
        if not path.is_file():
            save_view(path, self._make(index, version=0))
        return load_view(path)

    def fill(self, *, progress: Progress) -> None:
        """Make all views that are not cached; nothing without a cache."""
        if self._cache is None:
            return
        missing = [index for index in range(len(self)) if not self._path(index).is_file()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in progress(pool.map(self.view, missing), description="keypoints", total=len(missing)):
                pass

    def _path(self, index: int) -> Path:
        assert self._cache is not None
        return self._cache / self._prefix / f"{index:07d}.npz"

    def _make(self, index: int, *, version: int) -> View:
        if not hasattr(self._of_thread, "extractor"):
            self._of_thread.extractor = self._build()
        return self.source.make(index, self._of_thread.extractor, version=version)


class JoinedViews:
    """The views of several stores, numbered one after the other; no scene and no place is of two of them."""

    def __init__(self, stores: Sequence[ViewStore]) -> None:
        self._stores = stores
        self._first = np.cumsum([0, *map(len, stores)])
        self.scenes = _number_jointly([store.source.scenes for store in stores])
        self.places = _number_jointly([store.source.places for store in stores])

    def __len__(self) -> int:
        return int(self._first[-1])

    def known_pairs(self) -> Iterator[tuple[range, Array]]:
        """Views whose source knows which pairs of them overlap, and these pairs."""
        for store, first in zip(self._stores, self._first.tolist(), strict=False):
            if store.source.pairs is not None:
                yield range(first, first + len(store)), store.source.pairs + first

    def view(self, index: int, *, epoch: int = 0) -> View:
        """A view."""
        store = int(np.searchsorted(self._first, index, side="right")) - 1
        return self._stores[store].view(index - int(self._first[store]), epoch=epoch)


def _number_jointly(numbers: Sequence[Array]) -> Array:
    """The numbers of each source, moved so that none is of two of them."""
    offsets = np.cumsum([0, *(int(of_source.max(initial=-1)) + 1 for of_source in numbers)])
    return np.concatenate([of_source + offset for of_source, offset in zip(numbers, offsets, strict=False)])
