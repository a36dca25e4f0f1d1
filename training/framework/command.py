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

"""What the commands of all trainings have in common: options, errors in one line, the report at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vloc_ros.core.errors import VlocError


def run_command(name: str, run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run `python -m training.NAME`; 0 when it worked, 1 for an expected failure, which is one line."""
    try:
        run(args)
    except VlocError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m training.NAME`."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def make_training_parser(name: str, description: str | None, *, presets: Iterable[str]) -> argparse.ArgumentParser:
    """A parser for a training, without the options of its data and its model."""
    parser = make_parser(name, description)
    parser.add_argument("--preset", choices=sorted(presets), default="small", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a parameter, such as fit.epochs=20"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    parser.add_argument("--run", type=Path, metavar="DIR", help="log and checkpoints; default: MODEL.run")
    parser.add_argument("--resume", action="store_true", help="continue after the last complete epoch")
    return parser


def add_camera_option(parser: argparse.ArgumentParser) -> None:
    """The calibration of a map's images."""
    parser.add_argument(
        "--camera", type=Path, metavar="YAML", help="camera_info of the images, for a map without cameras"
    )


def name_run_folder(args: argparse.Namespace) -> Path:
    """The folder of the run of a command with the options of `make_training_parser`."""
    out: Path = args.out
    return args.run or out.with_name(f"{out.name}.run")


def report_model(out: Path, held_out: Mapping[str, float]) -> None:
    """Print the validation scores and the size of a model that was written."""
    print("held-out images: " + ", ".join(f"{name} {value:g}" for name, value in held_out.items()))
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    print(f"written: {out} ({size / 1e6:.2f} MB)")
