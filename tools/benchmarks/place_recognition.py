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

"""Place recognition without training on simulated streets and rooms: indices, handling of queries, re-ranking, cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.command import vloc
from benchmarks.provenance import Rows, make_once

from vloc_ros.datasets.place_recognition.sources import LIGHTS

# worlds that no training has: number, first seed, radius of positives; 15 streets have about 400 places
SETS = {"street": (15, 900, 25.0), "room": (20, 950, 1.5)}
INDICES = {
    "VLAD-SIFT": "vlad-sift",
    "GeM, EfficientNet-Lite0 of ImageNet": "gem-efficientnet-lite0",
    "VLAD-XFeat": "xfeat",
}
RERANKINGS = ("qe:5", "aqe:5,3", "dba:5", "kreciprocal:20,6,0.3", "cluster:20,{radius_m}", "pose:10,{radius_m}")
METHODS = ("hard_resize", "five_crops", "nearest_crop", "maj_voting")
SCALES = ("1", "0.71,1,1.41")


def place_recognition(out: Path) -> dict[str, Any]:
    """A row for each index, set and light; resumable row by row."""
    rows, figures = Rows.of("place_recognition"), dict[str, Any]()
    models = {title: export_model(out, name) for title, name in INDICES.items()}
    for kind, (worlds, seed, radius_m) in SETS.items():
        dataset = export_worlds(out, kind, seed, test=worlds)
        for light in ("day", "night"):
            for title, model in models.items():
                name = f"{title}, {kind}, {light}"
                words = (dataset, "--index", model, "--radius", radius_m, "--queries", name_queries(light))
                figures[name] = rows.once(
                    name, of=_settings(kind, light, title), measure=lambda w=words, r=radius_m: _measure(out, w, r)
                )
    return {"rows": figures, "row_revisions": rows.revisions}


def name_queries(light: str) -> str:
    """The set of queries of a light."""
    return "queries" if light == "day" else f"queries_{light}"


def _settings(kind: str, light: str, title: str) -> str:
    return json.dumps([kind, light, INDICES[title], SETS[kind], RERANKINGS, METHODS, SCALES])


def export_model(out: Path, name: str) -> str | Path:
    """`vlad-sift`, or the folder of a model, exported where it is not there."""
    folder = out / "models" / name
    if name == "vlad-sift":
        return name
    if not (folder / "manifest.json").is_file():
        vloc("model", "export", name, "--out", folder)
    return folder


def export_worlds(out: Path, kind: str, seed: int, *, train: int = 0, val: int = 0, test: int = 0) -> Path:
    """Simulated worlds as a data set with queries by day and at night, exported once."""
    folder = out / "places" / f"{kind}-{seed}"
    assert {"day", "night"} <= LIGHTS.keys()
    counts = ("--train", str(train), "--val", str(val), "--test", str(test))
    words = ("--world", kind, *counts, "--seed", str(seed), "--light", "day", "--light", "night")
    make_once(
        (folder,),
        of={"words": words},
        make=lambda: vloc("place", "export", *words, "--out", folder),
    )
    return folder


def _measure(out: Path, words: tuple[Any, ...], radius_m: float) -> dict[str, Any]:
    """Scores with every re-ranking, then R@1 of each other handling of queries and scale."""
    path = out / "place-scores.json"
    rerankings = [one.format(radius_m=radius_m) for one in RERANKINGS]
    found = test_index(path, *words, *(word for one in rerankings for word in ("--rerank", one)))
    variants = [("--method", method) for method in METHODS[1:]] + [("--scales", scales) for scales in SCALES[1:]]
    found["variants"] = {" ".join(v): test_index(path, *words, *v)["scores"]["recall"]["R@1"] for v in variants}
    return found


def test_index(path: Path, *words: Any) -> dict[str, Any]:
    """The scores of `vloc place test WORDS` of one index, without a row for each query."""
    path.unlink(missing_ok=True)
    vloc("place", "test", *map(str, words), "--json", path)
    found: dict[str, Any] = json.loads(path.read_text())["indices"][0]
    # the name is a path of this machine, and rows of queries are many
    return {name: value for name, value in found.items() if name not in ("index", "results")}
