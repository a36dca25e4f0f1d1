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

"""Build what runs a model: another precision for ONNX Runtime, or an engine of TensorRT or TensorRT-RTX.

  vloc model build models/xfeat --engine tensorrt --precision fp16            for the GPU of this machine
  vloc model build models/xfeat --engine tensorrt_rtx --target sm86,sm89      for other machines; needs no GPU here
  vloc model build maps/office --engine tensorrt --precision int8 --images office/images
  vloc model build models/xfeat --engine onnx --precision int8 --images office/images --out models/xfeat-int8

Precision is a step of its own: the typed graph runs on ONNX Runtime's CPU first, and what it loses is printed, with
"not recommended" where that is too much. An engine goes into the cache, where inference.engine and inference.precision
find it; with --out into a folder. fp16 keeps positions and normalisations in float32. int8 is calibrated on the map's
own images, 50 or more and a fifth more to measure the loss. bf16 is not offered: no CPU of ONNX Runtime could check it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.core.config import ENGINES, PRECISIONS

if TYPE_CHECKING:
    from vloc_ros.engine_build.build import EngineRequest
    from vloc_ros.engine_build.loss import Loss
    from vloc_ros.inference.models import Model


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder, or a map that carries its model")
    parser.add_argument("--engine", choices=ENGINES, required=True, help="what will run the model")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the heavy parts; default: fp32")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the map's own images, for int8 and to measure the loss"
    )
    parser.add_argument(
        "--target", default="", metavar="SM,...", help="GPUs for tensorrt_rtx: sm75 sm80 sm86 sm89 sm120"
    )
    parser.add_argument(
        "--shapes",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="dynamic sizes of an input, smallest,usual,largest: image=96x96,480x640,1920x1920; repeatable",
    )
    parser.add_argument("--keypoints", type=int, default=0, metavar="N", help="most keypoints; default: the model's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the result in place of the cache")
    parser.add_argument("--time-limit", type=float, default=3600.0, metavar="SECONDS", help="for the builder")


def run(args: argparse.Namespace) -> int:
    """Convert, check and build."""
    from vloc_ros.cli.dependencies import require

    require("`vloc model build`", "onnx")
    from vloc_ros.cli.models import read_model_of
    from vloc_ros.core.errors import InputError
    from vloc_ros.engine_build.build import convert_precision, plan_engine
    from vloc_ros.inference.models import replaces_model
    from vloc_ros.storage.images import list_images

    model = read_model_of(args.model)
    if args.engine == "onnx":
        if args.out is None or args.precision == "fp32":
            raise InputError("--engine onnx writes a model in another precision, expected --precision fp16 or int8 and "
                             "--out MODEL; for fp32 the model is used as it is")  # fmt: skip
        if args.target or args.shapes or args.keypoints:
            raise InputError("--engine onnx was given --target, --shapes or --keypoints, which are for tensorrt and "
                             "tensorrt_rtx; leave them out")  # fmt: skip
        replaces_model(args.out)
    else:
        plan_engine(model, model.graph, _request(args))  # what does not fit is refused before the work
    images = list_images(args.images) if args.images else []
    graph, loss = convert_precision(model, args.precision, images)
    if args.precision != "fp32":
        print(f"{args.precision} on ONNX Runtime's CPU: {loss or 'not compared, name --images to do so'}", flush=True)
    if args.engine == "onnx":
        _write_typed_model(model, graph, args.precision, loss, args.out)
    else:
        _build(args, model, graph, loss)
    return 0


def _write_typed_model(model: Model, graph: bytes, precision: str, loss: Loss | None, folder: Path) -> None:
    from vloc_ros.inference.models import write_model

    kept = {name: value for name, value in model.manifest.items() if name not in ("hash", "references")}
    of = {"precision": precision, "model_hash": model.entry("hash"), "loss": None if loss is None else str(loss)}
    digest = write_model(folder, graph, {**kept, "converted": of})
    print(f"model {digest[:12]} {folder} ({len(graph) / 1e6:.2f} MB)")


def _request(args: argparse.Namespace) -> EngineRequest:
    from vloc_ros.engine_build.build import EngineRequest
    from vloc_ros.engine_build.profiles import parse_shapes

    return EngineRequest(
        flavour=args.engine,
        precision=args.precision,
        targets=tuple(target for target in args.target.split(",") if target),
        sizes=parse_shapes(args.shapes),
        keypoints=args.keypoints,
        time_limit_s=args.time_limit,
    )


def _build(args: argparse.Namespace, model: Model, graph: bytes, loss: Loss | None) -> None:
    from vloc_ros.engine_build.build import build_engine
    from vloc_ros.inference.engine_cache import PLAN, default_cache

    cache = args.out or default_cache()
    built = build_engine(model, graph, loss, _request(args), cache, report=lambda line: print(line, flush=True))
    size_mb = (built.folder / PLAN).stat().st_size / 1e6
    print(f"engine {built.folder} ({size_mb:.2f} MB)")
