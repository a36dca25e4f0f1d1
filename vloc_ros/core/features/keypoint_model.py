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

"""The model of a learned extractor, as a map carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class KeypointModel:
    """A keypoint network, opaque here: `vloc_ros.inference.keypoints` checks and runs it.

    Attributes:
        manifest: of the model folder, readable; JSON only.
        graph: (B,) uint8 bytes of the ONNX file, weights inside.
    """

    manifest: Mapping[str, Any]
    graph: Array

    def __post_init__(self) -> None:
        if self.graph.dtype != np.uint8 or self.graph.ndim != 1:
            raise MapError(
                f"the graph of a keypoint model has shape {self.graph.shape} of {self.graph.dtype}, expected its bytes "
                "in one row; build the map again"
            )

    @property
    def hash(self) -> str:
        """Of the manifest and the graph, as the manifest has it; not verified here."""
        return str(self.manifest.get("hash", ""))

    def describe(self) -> str:
        """Name and short hash, for messages."""
        return f"{self.manifest.get('name', 'without a name')} {self.hash[:12]}".strip()
