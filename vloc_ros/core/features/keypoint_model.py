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
