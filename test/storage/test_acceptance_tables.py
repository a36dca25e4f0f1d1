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

"""A table with the calibration of its covariance survives writing and reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.localization.acceptance import CLOUD_KIND
from vloc_ros.storage import acceptance_tables
from vloc_ros.storage.acceptance_tables import read_acceptance_model, read_calibration, write_acceptance_table


@pytest.mark.parametrize("scale", [1.0, 4.5])
def test_a_table_with_its_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    model = read_acceptance_model(CLOUD_KIND)
    calibration = CovarianceCalibration(scale, np.arange(6) / 7, 12)
    write_acceptance_table(tmp_path / f"{CLOUD_KIND}.json", model, calibration)
    monkeypatch.setattr(acceptance_tables, "FOLDER", tmp_path)
    assert read_acceptance_model(CLOUD_KIND).to_mapping() == model.to_mapping()
    found = read_calibration(CLOUD_KIND)
    assert (found.scale, found.samples, found.floor.tolist()) == (scale, 12, calibration.floor.tolist())
