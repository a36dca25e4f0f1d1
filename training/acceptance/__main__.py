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

"""Fit the acceptance table of an extractor in simulated worlds.

  python -m training.acceptance --data DIR                            RootSIFT
  python -m training.acceptance --extractor MODEL --data DIR          a model that `vloc model export` wrote

Frames, maps and recorded evidence are kept in DIR: an interrupted run goes on where it stopped. The worlds that the
table is fitted on, those that its thresholds are chosen on and those that the report is of are different ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from training.acceptance.collect import Setting, collect
from training.acceptance.evidence_table import EvidenceTable
from training.acceptance.fit import choose_thresholds, fit_terms
from training.acceptance.report import draw_report, summarize
from training.acceptance.worlds import SPLITS
from training.framework.command import make_parser, run_command
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.inference.keypoints import keypoint_model_config, read_keypoint_model
from vloc_ros.storage.acceptance_tables import FOLDER
from vloc_ros.storage.atomic import write_bytes_atomically

_NAME = "acceptance"


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parser().parse_args())


def _run(args: argparse.Namespace) -> None:
    rootsift = RootSiftConfig().name
    name = rootsift
    if args.extractor != rootsift:
        name = keypoint_model_config(read_keypoint_model(Path(args.extractor))).model
    tables = {split: _evidence(split, args) for split in SPLITS}
    model = choose_thresholds(fit_terms(tables["fit"], name=name), tables["choose"])
    out = args.out or FOLDER / f"{name}.json"
    write_table(model, out)
    figures = summarize(model, tables["report"])
    print(json.dumps({name: value for name, value in figures.items() if name != "scores"}, indent=1))
    figure = args.data / f"{name}-report.png"
    draw_report(model, tables["report"], figure)
    print(f"{out}\n{figure}")


def write_table(model: AcceptanceModel, path: Path) -> None:
    """Write a table as the package ships it."""
    write_bytes_atomically(path, (json.dumps(model.to_mapping(), indent=1) + "\n").encode())


def _evidence(split: str, args: argparse.Namespace) -> EvidenceTable:
    path = args.data / f"{split}-{Path(args.extractor).name}.npz"
    if not path.exists():
        collect(Setting(split, args.extractor, args.data), workers=args.workers).save(path)
    return EvidenceTable.load(path)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--extractor", default="rootsift", metavar="rootsift|MODEL", help="default: %(default)s")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for frames, maps and evidence")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the table; in the package by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
