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

"""Compare what a model gives here with the reference outputs that were stored when it was exported.

  vloc model check models/xfeat

ONNX Runtime with each execution provider of this machine, then every engine of the model in the cache. Exit code 1
where one that runs differs, or none runs. An engine that cannot run is named with the reason.
Of a matcher the references are those of the embedding: its other graphs are not compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")


def run(args: argparse.Namespace) -> int:
    """Run every engine on the references."""
    from vloc_ros.cli.models import note_parts, read_model_of, start_all_engines
    from vloc_ros.core.errors import ModelError, VlocError
    from vloc_ros.engine_build.loss import compare_outputs
    from vloc_ros.inference.references import read_references

    model = read_model_of(args.model)
    references = read_references(model)
    if references is None:
        raise ModelError(f"{args.model}: has no references to compare with; {model.remedy} with this version")
    if note := note_parts(model):
        print(f"  {note}")
    kind, passed, failed = str(model.entry("kind")), 0, 0
    for name, start in start_all_engines(model).items():
        try:
            loss = compare_outputs(kind, [(dict(references.outputs), start().run(references.inputs))])
        except VlocError as error:
            print(f"  {name:40} cannot run: {error}")
            continue
        passed, failed = passed + (not loss.reasons), failed + bool(loss.reasons)
        print(f"  {name:40} {loss}")
    return 1 if failed or not passed else 0
