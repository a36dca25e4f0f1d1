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

"""Phase 2 of cross-view retrieval: region, site and tile by classifiers on a frozen descriptor, beside voting.

  python -m training.cross_view.train_hierarchy DATASET --index MODEL --out DIR [--seeds 3]

The classifiers learn the gallery of the test split, each view at eight headings, as a map would be; queries are only
for the scores. DATASET needs positions.csv with regions and sites. DIR gets metrics.json and the weights of each seed.
The classifiers are no default: what wins on held-out queries is in metrics.json, beside chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from training.cross_view.config import HierarchyConfig, read_config
from training.cross_view.evaluate import METRICS, describe
from training.cross_view.hierarchy import PlaceTree, fit_head, vote
from training.cross_view.layout import TEST, TRAIN, VIEWS, ViewImages, read_views
from training.framework.command import make_parser, run_command
from training.place_recognition.geolocalization.teachers import open_index
from vloc_ros.core.geometry.pose import Array
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically

_NAME = "cross_view.train_hierarchy"
_PRESET, _HEADINGS = "hierarchy", 8


def score_tiles(scores: Array, tree: PlaceTree, queries: ViewImages, gallery: ViewImages) -> dict[str, float]:
    """Shares of queries whose region, site and tile are right.

    Args:
        scores: (Q, T) of each tile.
        tree: of the gallery.
        queries: Q images.
        gallery: views of the tiles, which say what a tile shows.
    """
    best = np.argmax(scores, axis=1)
    sites, regions = tree.parents(best)
    first = {name: k for k, name in reversed(list(enumerate(gallery.places)))}
    shown = queries.is_shown_by(gallery.select(np.array([first[name] for name in tree.tiles])))
    by_region = np.full((len(best), len(tree.regions)), -np.inf)
    for k in range(len(tree.regions)):
        by_region[:, k] = scores[:, tree.region_of_site[tree.site_of_tile] == k].max(axis=1)
    ranked = tree.regions[np.argsort(-by_region, axis=1, kind="stable")[:, :3]]
    return {
        "region_top_1": float((tree.regions[regions] == queries.regions).mean()),
        "region_top_3": float((ranked == queries.regions[:, None]).any(axis=1).mean()),
        "site": float((tree.sites[sites] == queries.sites).mean()),
        "tile": float(shown[np.arange(len(best)), best].mean()),
    }


def _run(args: argparse.Namespace) -> None:
    config = read_config(args.config or _PRESET, HierarchyConfig, args.set)
    queries, gallery = (read_views(args.dataset, args.split, v, is_query=k == 0) for k, v in enumerate(args.views))
    tree = PlaceTree.of(gallery.places, gallery.sites, gallery.regions)
    encoder = open_index(args.index, gallery.paths)
    ours = describe(queries, encoder, progress=bar)[:, 0]
    theirs = describe(gallery, encoder, headings=_HEADINGS, progress=bar).reshape(-1, ours.shape[1])
    tiles = np.repeat(tree.number(gallery.places), _HEADINGS)
    counts = {"region": len(tree.regions), "site": len(tree.sites), "tile": len(tree.tiles)}
    chance = {name: 1.0 / count for name, count in counts.items() if name != "tile"}
    chance["tile"] = float(queries.is_shown_by(gallery).mean())
    found: dict[str, Any] = {"queries": len(queries), "classes": counts, "chance": chance, "config": asdict(config)}
    found["voting"] = score_tiles(vote(ours, theirs, tiles, len(tree.tiles), config.voters), tree, queries, gallery)
    print(f"voting of {config.voters}: {_format(found['voting'])}")
    found["hierarchy"] = []
    for seed in range(args.seeds):
        head = fit_head(theirs, tiles, tree, replace(config, seed=seed))
        with torch.no_grad():
            scores = head.predict(torch.from_numpy(ours)).numpy()
        found["hierarchy"].append(score_tiles(scores, tree, queries, gallery))
        write_bytes_atomically(args.out / f"hierarchy-{seed}.safetensors", save(head.state_dict()))
        print(f"hierarchy, seed {seed}: {_format(found['hierarchy'][-1])}")
    found["index"] = Path(args.index).name
    write_bytes_atomically(args.out / METRICS, (json.dumps(found, indent=1) + "\n").encode())
    print(f"chance: {_format(chance)}\nwritten: {args.out}")


def _format(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in scores.items())


def _parse() -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--index", required=True, metavar="MODEL|vlad-sift", help="whose descriptors are frozen")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--config", type=Path, metavar="YAML", help="instead of presets/hierarchy.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a parameter")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings; default: %(default)s")
    parser.add_argument("--split", choices=(TEST, TRAIN), default=TEST, help="default: %(default)s")
    parser.add_argument(
        "--views", nargs=2, choices=VIEWS, default=["drone", "satellite"], metavar=("QUERY", "GALLERY"),
        help="default: drone satellite",
    )  # fmt: skip
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}, expected at least 1")
    return args


def main() -> int:
    """Train and score; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse())


if __name__ == "__main__":
    sys.exit(main())
