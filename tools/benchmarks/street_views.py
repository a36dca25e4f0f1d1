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

"""Street images of simulated towns in aerial tiles and among drone images, by indices that are not trained for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.command import training
from benchmarks.cross_view import TEST_TOWNS, UNTRAINED
from benchmarks.descriptor_models import require_torch
from benchmarks.place_recognition import export_model
from benchmarks.provenance import Rows, make_once

# what street images are searched in
GALLERIES = ("satellite", "drone")


def street_views(out: Path) -> dict[str, Any]:
    """A row for each index and gallery; the towns are those that drone images are tested on."""
    require_torch()
    folder, rows = out / "street_views", Rows.of("street_views")
    towns, found = folder / "towns", dict[str, Any]()
    of = {"test": TEST_TOWNS}
    make_once((towns,), of=of, make=lambda: training("cross_view.simulate", "--out", towns, "--test", str(TEST_TOWNS)))
    for title, name in UNTRAINED.items():
        index = export_model(out, name)
        for gallery in GALLERIES:
            found[f"{title}, {gallery}"] = rows.once(
                f"{title}, {gallery}",
                of=json.dumps({**of, "index": name, "gallery": gallery}, sort_keys=True),
                measure=lambda index=index, gallery=gallery: _evaluate(folder / "scores", towns, index, gallery),
            )
    return {"rows": found, "row_revisions": rows.revisions}


def _evaluate(scores: Path, towns: Path, index: str | Path, gallery: str) -> dict[str, Any]:
    training("cross_view.evaluate", towns, "--index", index, "--views", "street", gallery, "--out", scores)
    metrics = json.loads((scores / "metrics.json").read_text())["indices"][0]
    return {"view": gallery, **metrics[f"street->{gallery}"]}
