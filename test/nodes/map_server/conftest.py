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

"""What the tests of queries share."""

from __future__ import annotations

from pathlib import Path

import pytest
from nodes_world import Wall
from place_maps import write_places


@pytest.fixture(scope="session")
def folder(wall: Wall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and maps with and without what they find."""
    return write_places(tmp_path_factory.mktemp("places"), wall)
