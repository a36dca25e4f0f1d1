"""Command line options that all trainings have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def make_training_parser(name: str, description: str | None, *, presets: Iterable[str]) -> argparse.ArgumentParser:
    """A parser for `python -m training.NAME`, without the options of its maps and its model."""
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--camera", type=Path, metavar="YAML", help="camera_info of the images, for a map without cameras"
    )
    parser.add_argument("--preset", choices=sorted(presets), default="small", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a parameter, such as fit.epochs=20"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    parser.add_argument("--run", type=Path, metavar="DIR", help="log and checkpoints; default: MODEL.run")
    parser.add_argument("--resume", action="store_true", help="continue after the last complete epoch")
    return parser
