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

"""Print the resident megabytes of a localizer after it localized images.

Arguments: MAP, a folder of images with their camera.yaml, and the parameters of the candidates as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, config_from_mapping
from vloc_ros.core.query import Query
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map

folder, images, values = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
limit_blas_threads()
config = LocalizerConfig(candidates=config_from_mapping(CandidateConfig, values))
localizer = build_localizer(config, read_map(folder))
camera = read_camera(images / "camera.yaml")
for path in list_images(images):
    localizer.localize(Query.single(read_image(path), camera))
lines = Path("/proc/self/status").read_text().splitlines()
resident_kb = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
print(int(resident_kb) / 1024)
