"""How much memory a localizer takes: MAP, a folder of images with their camera.yaml, and proposals' parameters as JSON.

Prints the resident megabytes after the images were localized.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, config_from_mapping
from vloc_ros.core.query import Query
from vloc_ros.footprint import one_blas_thread
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images, read_image
from vloc_ros.storage.maps import read_map

folder, images, values = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
one_blas_thread()
config = LocalizerConfig(proposals=config_from_mapping(CandidateConfig, values))
localizer = build_localizer(config, read_map(folder))
camera = read_camera(images / "camera.yaml")
for path in list_images(images):
    localizer.localize(Query.single(read_image(path), camera))
lines = Path("/proc/self/status").read_text().splitlines()
resident_kb = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
print(int(resident_kb) / 1024)
