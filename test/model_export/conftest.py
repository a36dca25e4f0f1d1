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

"""The extra `models`, without which nothing here runs, and one model that all tests of exported models share."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch: pip install 'vloc_ros[models]'")
pytest.importorskip("onnxscript", reason="no onnxscript: pip install 'vloc_ros[models]'")

from published import skip_without

from vloc_ros.model_export.export import export_keypoint_model


@pytest.fixture(scope="session")
def xfeat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported XFeat."""
    skip_without("xfeat")
    folder = tmp_path_factory.mktemp("models") / "xfeat"
    export_keypoint_model("xfeat", folder)
    return folder
