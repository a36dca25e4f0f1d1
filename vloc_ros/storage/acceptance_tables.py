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

"""Acceptance tables: one JSON file for each extractor, in the package; `python -m training.acceptance` writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.localization.acceptance import CAMERA_KIND, CLOUD_KIND, DRIVE_KIND, TILE_KIND, AcceptanceModel
from vloc_ros.storage.atomic import write_bytes_atomically

FOLDER = Path(__file__).with_name("acceptance")
# the others are those of extractors
_FITTED_BY = {CLOUD_KIND: ".scans", TILE_KIND: ".tiles", CAMERA_KIND: ".cameras", DRIVE_KIND: ".cameras"}


def read_acceptance_model(name: str) -> AcceptanceModel:
    """The table of an extractor by its name, or by that of its model, or of a kind of hypotheses.

    Raises:
        MapError: none is shipped, or it is damaged.
    """
    path = FOLDER / f"{Path(name).name}.json"
    try:
        return AcceptanceModel.from_mapping(json.loads(path.read_text()))
    except FileNotFoundError:
        there = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json")))
        raise MapError(
            f"there is no acceptance table {name!r}, only {there}; fit one by `python -m "
            f"training.acceptance{_FITTED_BY.get(name, '')}`"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MapError(f"{path}: is no acceptance table ({error!r}); install vloc_ros again") from error


def read_calibration(kind: str) -> CovarianceCalibration:
    """The calibration of the covariance that comes with the table of a kind of hypotheses.

    Raises:
        MapError: it is not shipped, or damaged.
    """
    path = FOLDER / f"{kind}.json"
    try:
        values = json.loads(path.read_text())["calibration"]
        floor = np.asarray(values["floor"], float).reshape(6)
        return CovarianceCalibration(float(values["scale"]), floor, int(values["samples"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise MapError(f"{path}: has no calibration ({error!r}); install vloc_ros again") from error


def write_acceptance_table(path: Path, model: AcceptanceModel, calibration: CovarianceCalibration) -> None:
    """Write the table of a kind of hypotheses with the calibration of their covariance, as the functions above read it.

    Raises:
        StorageError: the file cannot be written.
    """
    values = {"scale": calibration.scale, "floor": calibration.floor.tolist(), "samples": calibration.samples}
    mapping = model.to_mapping() | {"calibration": values}
    write_bytes_atomically(path, (json.dumps(mapping, indent=1) + "\n").encode())
