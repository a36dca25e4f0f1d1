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

"""Whether an exported keypoint model gives the keypoints of the PyTorch module that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.references import References
from vloc_ros.model_export.onnx_files import ExportError, open_session

INPUTS = ("image", "max_keypoints", "min_score")
OUTPUTS = ("keypoints", "scores", "descriptors")
# height and width: 4:3, wide and high with odd multiples of the stride
SIZES = ((480, 640), (96, 352), (224, 160))
# of the references that a model folder keeps: small, and within the shapes of every engine
REFERENCE_SIZE, REFERENCE_KEYPOINTS = (192, 256), 200
_MAX_KEYPOINTS = 1500
_MAX_OFFSET_PX, _MAX_SCORE_DIFFERENCE, _MAX_DESCRIPTOR_DIFFERENCE = 0.02, 1e-4, 2e-3
# of keypoints that only one of the two finds: scores may be equal to the last digit
_MAX_UNPAIRED = 0.01


@dataclass(frozen=True, slots=True)
class KeypointDifferences:
    """The largest differences at one image size.

    Attributes:
        size: height and width of the image.
        keypoints: found by the module.
        unpaired: share of keypoints that only one of the two finds.
        offset_px: between the positions.
        score: difference.
        descriptor: difference of one value.
    """

    size: tuple[int, int]
    keypoints: int
    unpaired: float
    offset_px: float
    score: float
    descriptor: float

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"{width}x{height}: {self.keypoints} keypoints, {100 * self.unpaired:.2g} % unpaired, differences "
            f"{self.offset_px:.1e} px, score {self.score:.1e}, descriptor {self.descriptor:.1e}"
        )


def check_parity(
    module: nn.Module, onnx_bytes: bytes, *, color: str, report: Callable[[KeypointDifferences], None] = lambda _: None
) -> None:
    """Compare the two on textured images of several sizes, and report each size.

    Raises:
        ExportError: they differ too much.
    """
    session = open_session(onnx_bytes)
    for size in SIZES:
        image = textured_image(size, color=color)
        arguments = image, np.array([_MAX_KEYPOINTS]), np.zeros(1, np.float32)
        with torch.inference_mode():
            expected = [output.numpy() for output in module(*map(torch.from_numpy, arguments))]
        parity = compare(expected, session.run(OUTPUTS, dict(zip(INPUTS, arguments, strict=True))), size=size)
        report(parity)
        raise_if_different(parity)


def make_references(module: nn.Module, *, color: str) -> References:
    """What the module finds in a small textured image."""
    arguments = textured_image(REFERENCE_SIZE, color=color), np.array([REFERENCE_KEYPOINTS]), np.zeros(1, np.float32)
    with torch.inference_mode():
        outputs = [output.numpy() for output in module(*map(torch.from_numpy, arguments))]
    return References(dict(zip(INPUTS, arguments, strict=True)), dict(zip(OUTPUTS, outputs, strict=True)))


def textured_image(size: tuple[int, int], *, color: str) -> Array:
    """Overlapping triangles of random shades, (H, W) or (H, W, 3) uint8: clear corners, with distinct scores."""
    rng = np.random.default_rng(0)
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(height * width // 400):
        corners = rng.uniform((0, 0), (width, height)) + rng.uniform(-40, 40, (3, 2))
        cv2.fillConvexPoly(image, np.round(16 * corners).astype(np.int32), rng.uniform(0, 255, 3), cv2.LINE_AA, 4)
    image = cv2.GaussianBlur(image, None, 0.7)
    return image if color == "rgb" else np.ascontiguousarray(image[..., 0])


def compare(expected: list[Array], found: list[Array], *, size: tuple[int, int]) -> KeypointDifferences:
    """The differences between keypoints, scores and descriptors of the two, each keypoint beside the nearest one."""
    (points, scores, descriptors), (others, other_scores, other_descriptors) = expected, found
    if len(points) == 0 or len(others) == 0:
        return KeypointDifferences(size, len(points), float(len(points) != len(others)), 0.0, 0.0, 0.0)
    distances = np.linalg.norm(points[:, None] - others[None], axis=2)
    nearest = distances.argmin(axis=1)
    # maxima are more than a pixel apart
    ours = np.flatnonzero(distances.min(axis=1) < 0.5)
    theirs = nearest[ours]
    unpaired = 1 - len(np.unique(theirs)) / max(len(points), len(others))
    return KeypointDifferences(
        size,
        len(points),
        unpaired,
        float(distances[ours, theirs].max(initial=0)),
        float(np.abs(scores[ours] - other_scores[theirs]).max(initial=0)),
        float(np.abs(descriptors[ours] - other_descriptors[theirs]).max(initial=0)),
    )


def raise_if_different(parity: KeypointDifferences) -> None:
    """Refuse differences that are more than rounding.

    Raises:
        ExportError: a difference is too large, or no keypoint was found.
    """
    limits = {
        "keypoints that only one finds": (parity.unpaired, _MAX_UNPAIRED),
        "offset in px": (parity.offset_px, _MAX_OFFSET_PX),
        "score": (parity.score, _MAX_SCORE_DIFFERENCE),
        "descriptor": (parity.descriptor, _MAX_DESCRIPTOR_DIFFERENCE),
    }
    for name, (value, limit) in limits.items():
        if not value <= limit or parity.keypoints == 0:
            raise ExportError(
                f"the exported model differs from the network: {parity}; expected keypoints and, of {name}, at most "
                f"{limit:g}; use other versions of torch, onnxscript and onnxruntime"
            )
