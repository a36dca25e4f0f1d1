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
  vloc model build models/lighterglue --engine tensorrt --precision fp16 --images office/images --map maps/office
  vloc model build models/xfeat --engine onnx --precision int8 --images office/images --out models/xfeat-int8

Precision is a step of its own: the typed graph runs on ONNX Runtime's CPU first, and what it loses is printed, with
"not recommended" where that is too much. An engine goes into the cache, where inference.engine and inference.precision
find it; with --out into a folder. fp16 keeps positions and normalisations in float32. int8 is calibrated on the map's
own images, 50 or more and a fifth more to measure the loss; a recogniser on the keyframes of its map; an encoder of
scans on the LiDAR places of one; a matcher on 200 pairs in a row at most, which share no image with those that measure
the loss (74 images or more). ONNX Runtime's CPU has no arithmetic of bf16: there its loss is that of float32 with every
value rounded to bf16.

The stages of a matcher become an engine each.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.core.config import ENGINES, PRECISIONS

_NOT_COMPARED = "not compared, name --images to do so, for a recogniser, a matcher and scans --map"

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
        "--map",
        type=Path,
        metavar="MAP",
        help="map of a recogniser, with the keypoint model of a matcher, or with LiDAR places for an encoder of scans",
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
    from vloc_ros.engine_build.build import plan_engine
    from vloc_ros.inference.models import read_parts

    model = read_model_of(args.model)
    if args.shapes and "stages" in model.manifest:
        raise InputError("--shapes is for models of one graph, found a matcher, whose stages take 1 to 2048 keypoints; "
                         "leave it out")  # fmt: skip
    if args.engine == "onnx":
        _check_onnx(args)
    else:
        for part in read_parts(model).values():
            plan_engine(part, part.graph, _request(args))  # what does not fit is refused before the work
    with _announce(args, model):
        return _convert_and_build(args, model)


def _announce(args: argparse.Namespace, model: Model) -> contextlib.AbstractContextManager[None]:
    """From the conversion on, a localizer waits for the engines of all graphs."""
    from vloc_ros.inference.engine_cache import announce_build, default_cache
    from vloc_ros.inference.models import read_parts

    if args.engine == "onnx":
        return contextlib.nullcontext()
    hashes = [str(part.entry("hash")) for part in read_parts(model).values()]
    return announce_build(args.out or default_cache(), hashes, args.engine, args.precision)


def _convert_and_build(args: argparse.Namespace, model: Model) -> int:
    from vloc_ros.engine_build.build import convert_model, gather_samples
    from vloc_ros.engine_build.matcher_samples import write_typed_model
    from vloc_ros.inference.models import read_parts
    from vloc_ros.storage.images import list_images
    from vloc_ros.storage.maps import read_map

    samples = None
    if args.precision != "fp32":
        landmark_map = read_map(args.map) if args.map else None
        images = list_images(args.images) if args.images else []
        samples = gather_samples(model, images, landmark_map, calibrate=args.precision == "int8")
    graphs, loss = convert_model(model, args.precision, samples)
    if args.precision != "fp32":
        print(f"{args.precision} on ONNX Runtime's CPU: {loss or _NOT_COMPARED}", flush=True)
    if args.engine == "onnx":
        of = {"precision": args.precision, "model_hash": model.entry("hash"), "loss": loss and str(loss)}
        digest = write_typed_model(args.out, model, graphs, converted=of)
        print(f"model {digest[:12]} {args.out} ({sum(map(len, graphs.values())) / 1e6:.2f} MB)")
    else:
        for name, part in read_parts(model).items():
            _build(args, part, graphs[name], loss)
    return 0


def _check_onnx(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError
    from vloc_ros.inference.models import replaces_model

    if args.out is None or args.precision not in ("fp16", "int8"):
        raise InputError("--engine onnx writes a model in another precision, expected --precision fp16 or int8 and "
                         "--out MODEL; for fp32 the model is used as it is, and bf16 is for GPUs alone")  # fmt: skip
    if args.target or args.shapes or args.keypoints:
        raise InputError("--engine onnx was given --target, --shapes or --keypoints, which are for tensorrt and "
                         "tensorrt_rtx; leave them out")  # fmt: skip
    replaces_model(args.out)


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
