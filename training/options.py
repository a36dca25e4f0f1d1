"""The options that trainings of whatever model have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def training_parser(name: str, description: str | None, *, presets: Iterable[str]) -> argparse.ArgumentParser:
    """A parser for `python -m training.NAME` that has all options but those of its maps and its model."""
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--camera", type=Path, metavar="YAML", help="of the images, where a map does not know it")
    parser.add_argument("--preset", choices=sorted(presets), default="small", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, such as fit.epochs=20"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    parser.add_argument("--run", type=Path, metavar="DIR", help="log and checkpoints; MODEL.run by default")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch")
    return parser
