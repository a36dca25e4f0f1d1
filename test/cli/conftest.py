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

"""Commands are given the same few images hundreds of times."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def keypoints_of_each_image_once(each_image_once: None) -> None:
    """See `each_image_once`; what finds them is tested in test/core."""
