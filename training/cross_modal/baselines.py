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

"""What needs no training of images and scans together, for the same table: each answers one direction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from training.cross_modal.records import RecordSet
from training.cross_modal.scores import CLOUD, IMAGE
from vloc_ros.assembly import build_extractor
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.scan_context_encoder import ScanContextEncoder
from vloc_ros.core.retrieval.vlad_encoder import VladEncoder
from vloc_ros.model_export.global_descriptors import GLOBAL_DESCRIPTORS

SCAN_CONTEXT, VLAD_SIFT, IMAGENET_GEM = "Scan Context", "VLAD-SIFT", "ImageNet GeM"
_GEM = "gem-efficientnet-lite0"
# images that the vocabulary is fitted on, scans that say how far the sensor sees, places that are aligned
_SAMPLE, _SCANS, _ALIGNED = 60, 20, 50

# of queries, a database, and (Q, N) bool which records a query may find
Similarity = Callable[[RecordSet, RecordSet, Array], Array]


def compare_scan_contexts(queries: RecordSet, database: RecordSet, allowed: Array) -> Array:
    """(Q, N) similarities by Scan Context; the best allowed ones by their invariant rows are aligned and come first."""
    some = database.records[:: max(1, len(database) // _SCANS)]
    context = ScanContext.of_clouds([record.load_cloud().points for record in some])
    encoder = ScanContextEncoder(context)
    contexts = [[context.describe(one.load_cloud().points) for one in part.records] for part in (queries, database)]
    rows = [np.array([context.invariant(one) for one in part], np.float32) for part in contexts]
    assert rows[0].shape[1] == encoder.dimension
    # below those that are aligned, whose similarity is 0 to 1
    similarity = rows[0] @ rows[1].T - 2.0
    best = np.argsort(-np.where(allowed, similarity, -np.inf), axis=1, kind="stable")[:, :_ALIGNED]
    for query, places in enumerate(best):
        for place in places[allowed[query, places]]:
            similarity[query, place] = context.align(contexts[0][query], contexts[1][place])[0]
    return similarity


def compare_vlad(queries: RecordSet, database: RecordSet, allowed: Array) -> Array:
    """(Q, N) similarities by VLAD of SIFT keypoints, over a vocabulary of the database."""
    images = [record.load_image() for record in database.records]
    encoder = VladEncoder.fit(build_extractor(RootSiftConfig()), images[:: max(1, len(images) // _SAMPLE)])
    return encoder.encode([record.load_image() for record in queries.records]) @ encoder.encode(images).T


@torch.no_grad()
def compare_gem(queries: RecordSet, database: RecordSet, allowed: Array) -> Array:
    """(Q, N) similarities by generalised mean pooling of EfficientNet-Lite0 of ImageNet."""
    published = GLOBAL_DESCRIPTORS[_GEM]
    network = published.build(published.weights.read())
    found = []
    for part in (queries, database):
        inputs = (torch.from_numpy(published.preprocessing.apply(one.load_image()))[None] for one in part.records)
        found.append(np.concatenate([network(image).numpy() for image in inputs]))
    return np.asarray(found[0] @ found[1].T)


# by name: the direction, and the similarities
BASELINES: dict[str, tuple[str, Similarity]] = {
    SCAN_CONTEXT: (f"{CLOUD}-{CLOUD}", compare_scan_contexts),
    VLAD_SIFT: (f"{IMAGE}-{IMAGE}", compare_vlad),
    IMAGENET_GEM: (f"{IMAGE}-{IMAGE}", compare_gem),
}
