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

"""Where the simulated recordings lie on Earth, and what weighs on them."""

from __future__ import annotations

from vloc_ros.core.geometry.geodetic import Datum

GRAVITY_M_S2 = 9.81
SIMULATED_DATUM = Datum(47.4, 8.55, 450.0)
