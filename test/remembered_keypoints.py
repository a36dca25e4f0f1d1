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

"""Keypoints of images that many commands of the tests are given: most of their work, and always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array

Extract = Callable[[RootSift, Array], Features]
_MOST_BYTES = 150_000_000


@contextmanager
def remembered_keypoints() -> Iterator[None]:
    """RootSIFT finds the keypoints of each image and configuration once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RootSift, "extract", _remember(RootSift.extract))
        yield


_KNOWN: dict[object, Features] = {}


def _remember(extract: Extract) -> Extract:
    def remembered(extractor: RootSift, image: Array) -> Features:
        _, config = extractor.__reduce__()
        key = config, image.shape, hashlib.sha256(np.ascontiguousarray(image)).digest()
        found = _KNOWN.get(key)
        if found is None:
            found = extract(extractor, image)
            for array in (found.xy, found.descriptors, found.scores):
                array.flags.writeable = False  # shared
            if sum(one.descriptors.nbytes for one in _KNOWN.values()) > _MOST_BYTES:
                _KNOWN.clear()
            _KNOWN[key] = found
        return found

    return remembered
