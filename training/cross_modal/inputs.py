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

"""The networks' inputs of a record: its image, and the view of its cloud, as they are or augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from training.cross_modal.config import CloudAugmentationConfig, CrossModalConfig, RangeNetworkConfig
from training.cross_modal.records import Record
from training.place_recognition.geolocalization.backbones import make_preprocessing
from training.place_recognition.geolocalization.batches import augment
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_MOST_LEFT_OUT = 0.75
# the share by which the fields of view of one model's cameras may differ
_SAME_ANGLE = 0.05


class RecordInputs:
    """Makes the inputs of records for a configuration."""

    def __init__(self, config: CrossModalConfig) -> None:
        self._config = config
        self.preprocessing = make_preprocessing(config.image)

    def image(self, record: Record) -> Array:
        """(3, H, W) float32."""
        return self.preprocessing.apply(record.load_image())

    def view(self, record: Record) -> Array:
        """(3, h, w) float32 of what the cloud shows in the camera's field of view."""
        points, intensity = record.load_view_cloud()
        return render_view(record, points, intensity, self._config.range)

    def augmented(self, record: Record, rng: np.random.Generator, *, mirrored: bool) -> tuple[Array, Array]:
        """Image and view, each augmented by itself; both are mirrored, or neither."""
        image = record.load_image()
        changed = augment(image, image.shape[1], self.preprocessing, self._config.augmentation, rng, mirrored=mirrored)
        points, intensity = augment_cloud(*record.load_view_cloud(), self._config.clouds, rng)
        view = render_view(record, points, intensity, self._config.range)
        return changed, np.ascontiguousarray(view[:, :, ::-1]) if mirrored else view


def render_view(record: Record, points: Array, intensity: Array | None, config: RangeNetworkConfig) -> Array:
    """(3, h, w) view as wide as the record's image.

    Raises:
        InputError: no point is in it, as where the extrinsics are wrong.
    """
    view = config.view(record.field_of_view_rad()).render(points, intensity)
    if not view[0].any():
        raise InputError(
            f"{record.name}: no point of its cloud is in the camera's view, expected some; check camera_from_lidar"
        )
    return view


def measure_field_of_view(records: Sequence[Record], config: RangeNetworkConfig) -> float:
    """The horizontal angle of the records' images, radians, for which the views of a map's places are rendered.

    Raises:
        InputError: the records have different angles, or the views of all headings leave gaps between them.
    """
    found = round(float(np.median([record.field_of_view_rad() for record in records])), 6)
    check_field_of_view(records, found)
    if config.headings * found < 2 * math.pi:
        raise InputError(
            f"range.headings is {config.headings}, and views of {math.degrees(found):.1f} degrees leave gaps between "
            f"them; set range.headings={math.ceil(2 * math.pi / found)} or more"
        )
    return found


def check_field_of_view(records: Sequence[Record], expected_rad: float) -> None:
    """Refuse records whose images have another horizontal angle than a model's views.

    Raises:
        InputError: an angle differs by more than 5 %.
    """
    for record in records:
        angle = record.field_of_view_rad()
        if abs(angle / expected_rad - 1) > _SAME_ANGLE:
            raise InputError(
                f"{record.name}: the camera sees {math.degrees(angle):.1f} degrees, expected "
                f"{math.degrees(expected_rad):.1f} to {_SAME_ANGLE:.0%}, as the views; give records of one camera, or "
                "crop the images"
            )


def augment_cloud(
    points: Array, intensity: Array | None, config: CloudAugmentationConfig, rng: np.random.Generator
) -> tuple[Array, Array | None]:
    """A cloud as seen from beside, turned, with fewer points or without intensity."""
    yaw = np.radians(rng.uniform(-config.turn_deg, config.turn_deg))
    shift = np.array([*rng.uniform(-config.shift_m, config.shift_m, 2), 0.0])
    if rng.uniform() < config.thinned:
        kept = rng.uniform(size=len(points)) > rng.uniform(0.0, _MOST_LEFT_OUT)
        points, intensity = points[kept], None if intensity is None else intensity[kept]
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = (points - shift) @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return turned.astype(np.float32), None if rng.uniform() < config.without_intensity else intensity
