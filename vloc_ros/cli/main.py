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

# PYTHON_ARGCOMPLETE_OK
"""The `vloc` command: a table of subcommands, each in a module of its own that is imported only when it runs."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from vloc_ros.cli.dependencies import missing_library
from vloc_ros.cli.parsing import CommandParser
from vloc_ros.cli.termination import end_on_sigterm, unread
from vloc_ros.core.errors import VlocError
from vloc_ros.core.spelling import nearest_name

# words of the command -> module in vloc_ros.cli (with `register(parser)` and `run(args) -> int`), one line of help
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("map", "build"): ("map_build", "build a map from images or a bag"),
    ("map", "lidar"): ("map_lidar", "make a map of a LiDAR's scans, or add them to a map"),
    ("map", "aerial", "build"): ("map_aerial_build", "make a map of aerial tiles from photographs or orthophotos"),
    ("map", "aerial", "add"): ("map_aerial_add", "put the tiles of an aerial map beside the landmarks of a map"),
    ("map", "update"): ("map_update", "add the images of another visit to a map"),
    ("map", "encode"): ("map_encode", "describe a map's images by a global descriptor model"),
    ("map", "info"): ("map_info", "show what a map holds"),
    ("map", "health"): ("map_health", "show how good each landmark of a map is, worst first"),
    ("map", "view"): ("map_view", "write a map as a page with a plot that can be turned"),
    ("map", "export"): ("map_export", "export a map as a COLMAP model or as coloured points (PLY)"),
    ("map", "align"): ("map_align", "move a map into another frame, such as a nav2 map's"),
    ("map", "georeference"): ("map_georeference", "tie a map to Earth by positions: GNSS, EXIF or point pairs"),
    ("map", "merge"): ("map_merge", "put several maps into one, each a scene with a frame of its own"),
    ("map", "compress"): ("map_compress", "make a map smaller: fewer points, chosen well"),
    ("model", "export"): ("model_export", "export a network with published weights to a model folder"),
    ("model", "build"): ("model_build", "build an engine of a model, or the model in another precision"),
    ("model", "info"): ("model_info", "show what a model is, and which engines of it there are"),
    ("model", "check"): ("model_check", "does a model give its reference outputs here, on each engine?"),
    ("model", "bench"): ("model_bench", "how long does a model take here, and how much memory, on each engine?"),
    ("place", "check"): ("place_check", "is this place recognition data set in order?"),
    ("place", "export"): (
        "place_export",
        "write a place recognition data set from images, a map, bags or a simulation",
    ),
    ("place", "import"): ("place_import", "make a table of a data set in the benchmark's layout"),
    ("place", "query"): ("place_query", "which LiDAR places of a map does an image show? By a cross-modal model"),
    ("place", "pose"): ("place_pose", "where may a moving camera be in a map of LiDAR places? By its last images"),
    ("place", "test"): ("place_test", "how well are places recognised? By any index, with re-ranking"),
    ("place", "pairs"): ("place_pairs", "write the retrieved pairs of images, as hloc reads them"),
    ("match",): ("match", "match two images, and say how the camera moved between them"),
    ("localize",): ("localize", "where were these images or scans taken?"),
    ("aerial", "locate"): ("aerial_locate", "where on Earth were these images taken from above?"),
    ("serve",): ("serve", "serve a page of a map: drop a photograph, see where it was taken"),
    ("evaluate",): ("evaluate", "how well are these images localized? Offline, or live through ROS 2"),
    ("compare",): ("compare", "which run of `vloc evaluate --json` is better? Side by side, and query by query"),
    ("bag", "make"): ("bag_make", "make a ROS 2 bag from an image folder or the simulated world"),
    ("bag", "images"): ("bag_images", "take the images out of a bag, with calibration and poses"),
    ("benchmark",): ("benchmark", "maps, results and scores of 7-Scenes, 12-Scenes, Cambridge Landmarks, Aachen"),
    ("demo",): ("demo", "build, localize and evaluate in a simulated world"),
    ("doctor",): ("doctor", "what is installed, what works, what is missing"),
    ("config",): ("config", "list the parameters, or some of them, with default, range and unit"),
}
_GROUPS = {
    "aerial": "locate images from above in maps of aerial tiles",
    "map": "build, extend, encode, inspect, export, align, merge and compress maps",
    "model": "export, build, inspect, check and time models",
    "place": "query LiDAR places; check, export, import and test data sets of place recognition; write retrieved pairs",
    "bag": "make bags, and take images out of them",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 for an expected failure, 2 for wrong usage."""
    if "_ARGCOMPLETE" in os.environ:  # the shell wants completions
        from vloc_ros.cli.completion import complete

        complete(COMMANDS)
    end_on_sigterm()
    try:
        try:
            return _run_words(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        return unread()


def _run_words(words: Sequence[str]) -> int:
    """Run the command that the words name; expected failures are one line."""
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    command = next((c for c in COMMANDS if tuple(words[: len(c)]) == c), None)
    if command is None and list(words) == ["--version"]:
        print(f"vloc {_version()}")
        return 0
    if command is None:
        return _explain(words)
    try:
        return _run(command, words[len(command) :])
    except VlocError as error:
        print(f"vloc: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"vloc: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"vloc: {missing_library(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vloc: interrupted, nothing was left half-written", file=sys.stderr)
        return 130


def _run(command: tuple[str, ...], options: Sequence[str]) -> int:
    module_name, summary = COMMANDS[command]
    module = importlib.import_module(f"vloc_ros.cli.{module_name}")
    parser = CommandParser(prog=f"vloc {' '.join(command)}", description=module.__doc__ or summary)
    module.register(parser)
    return int(module.run(parser.parse_args(options)))


def _version() -> str:
    try:
        return importlib.metadata.version("vloc_ros")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version: vloc_ros is on the path, but not installed"


def _explain(words: Sequence[str]) -> int:
    """Print the table of commands, or the error of words that name none; a group alone gets both."""
    named = [word for word in words if word not in ("-h", "--help")]
    is_help = len(named) < len(words) or not words
    group = named[0] if named and named[0] in _GROUPS else None
    is_error = named != ([group] if group else []) or not is_help
    if is_error and named != [group]:
        print(_unknown(named), file=sys.stderr)
        return 2
    lines = ["usage: vloc COMMAND [OPTIONS]", "", "Visual localization: where in this map was this image taken?", ""]
    for command, (_, summary) in COMMANDS.items():
        if group in (None, command[0]):
            lines.append(f"  vloc {' '.join(command):12} {summary}")
    lines += ["", "vloc COMMAND --help shows its options; vloc --version the version."]
    if is_error:
        lines += ["", _unknown(named)]
    print("\n".join(lines), file=sys.stderr if is_error else sys.stdout)
    return 2 if is_error else 0


def _unknown(words: Sequence[str]) -> str:
    """What was found in place of a command, and which one is nearest."""
    if tuple(words) in {(group,) for group in _GROUPS}:
        return f"vloc: found `vloc {words[0]}`, expected one of its commands after it"
    found = " ".join(words[:2] if words[0] in _GROUPS else words[:1])
    # also without the first word: `vloc build` means `vloc map build`, the first command of several that end so
    names = {"--version": "--version"}
    names |= {
        " ".join(command[start:]): " ".join(command) for command in reversed(COMMANDS) for start in range(len(command))
    }
    near = nearest_name(found, names, similarity=0.6)
    remedy = f"did you mean `vloc {names[near]}`?" if near else "`vloc --help` lists them"
    return f"vloc: found `vloc {found}`, expected one of the commands; {remedy}"


if __name__ == "__main__":
    sys.exit(main())
