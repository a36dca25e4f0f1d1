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

"""Show what a model is, what may run it on this machine, and which engines of it are in the cache.

  vloc model info models/xfeat
  vloc model info maps/office          the model that a map carries

For every engine that does not fit, the reason stands beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.inference.engine_cache import BuiltEngine
    from vloc_ros.inference.models import Model


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder, or a map that carries its model")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from vloc_ros.cli.models import describe_engine, read_model_of
    from vloc_ros.inference.engine_cache import default_cache, list_engines
    from vloc_ros.inference.models import read_parts

    model = read_model_of(args.model)
    _print_model(model)
    digests = {part.entry("hash") for part in read_parts(model).values()}
    built = [one for one in list_engines(default_cache()) if one.key.model_hash in digests]
    print(f"engines in {default_cache()}: {len(built) or 'none, `vloc model build` makes them'}")
    for one in built:
        print(f"  {describe_engine(one)}")
        print(f"    {_explain_fit(one) or 'fits'}")
    return 0


def _print_model(model: Model) -> None:
    name, kind = model.manifest.get("name", "without a name"), model.entry("kind")
    print(f"{model.folder}: {name}, {kind}, hash {str(model.entry('hash'))[:12]}, {len(model.graph) / 1e6:.2f} MB")
    for side in ("inputs", "outputs"):
        for value, declared in model.entry(side).items():
            print(f"  {side[:-1]:6} {value:15} {declared.get('dtype', '?'):8} {declared.get('shape', '?')}")
    converted = model.manifest.get("converted")
    if converted:
        print(f"  converted to {converted['precision']} from {str(converted['model_hash'])[:12]}: {converted['loss']}")
    if license_ := model.manifest.get("license"):
        print(f"  licence {license_.get('name', '?')}")
    print(f"  {'with' if 'references' in model.manifest else 'without'} references for `vloc model check`")


def _explain_fit(built: BuiltEngine) -> str:
    """Why an engine does not run here; empty where it does."""
    from vloc_ros.core.errors import VlocError
    from vloc_ros.inference.tensorrt_engine import TensorRtEngine

    try:
        TensorRtEngine(built).close()
    except VlocError as error:
        return f"does not fit: {error}"
    return ""
