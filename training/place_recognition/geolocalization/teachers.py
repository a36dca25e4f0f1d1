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

"""Teachers of a student: indices that need no gradient, together one descriptor of every training image.

VLAD over XFeat or ALIKED sees viewpoint and light better than a short training teaches; trained networks of any size
join it. A student learns their similarities (`distillation_loss`) from augmented images, they see the images as they
are: so it also learns what light does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vloc_ros.assembly import build_extractor
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.query_views import SizedEncoder
from vloc_ros.core.retrieval.ranking import normalize
from vloc_ros.core.retrieval.vlad_encoder import VladEncoder
from vloc_ros.core.sources import Progress, silent
from vloc_ros.evaluation.place_retrieval import describe_images
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.inference.models import read_kind
from vloc_ros.storage.images import read_image

VLAD_SIFT = "vlad-sift"
_SAMPLE = 100


def describe_by_teachers(names: Sequence[str], paths: Sequence[Path], *, progress: Progress = silent) -> Array:
    """(N, E) float32 descriptors whose products are the mean similarity of two images by all teachers.

    Args:
        names: `vlad-sift`, or folders of keypoint or global descriptor models.
        paths: N files that can be read.
        progress: of each teacher.

    Raises:
        ModelError: a folder is no model.
    """
    parts = []
    for name in names:
        found = describe_images(paths, open_index(name, paths), description=f"teacher {name}", progress=progress)
        parts.append(normalize(found.descriptors[:, 0]))
    return np.asarray(np.concatenate(parts, axis=1) / np.sqrt(len(parts)), np.float32)


def open_index(name: str, paths: Sequence[Path]) -> SizedEncoder:
    """An index by its name: `vlad-sift`, whose vocabulary is of some of the files, or the folder of a model."""
    if name != VLAD_SIFT and read_kind(Path(name)) != "keypoints":
        return read_global_descriptor(Path(name))
    if name == VLAD_SIFT:
        extractor = build_extractor(RootSiftConfig())
    else:
        model = read_keypoint_model(Path(name))
        extractor = build_extractor(keypoint_model_config(model), model)
    some = paths[:: max(1, len(paths) // _SAMPLE)]
    return VladEncoder.fit(extractor, [read_image(path) for path in some])
