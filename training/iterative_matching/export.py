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

r"""Export a matcher that was trained, to a folder that a robot loads without torch.

  python -m training.iterative_matching.export --run MODEL.run --out MODEL

The training does this at its end. Of a run that goes on, or was stopped, this exports the best epoch so far.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from training.framework.command import make_parser, run_command
from training.framework.run_folder import BEST, CONFIG, SOURCES
from training.iterative_matching.config import MatcherTrainingConfig
from training.iterative_matching.network import RotaryMatcher
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.inference.models import replaces_model
from vloc_ros.model_export.matchers import describe_keypoints, write_matcher
from vloc_ros.storage.text import read_text

_NAME = "iterative_matching.export"


def main(arguments: Sequence[str] | None = None) -> int:
    """Export; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def export(
    network: object,
    folder: Path,
    extractor: Mapping[str, Any],
    training: Mapping[str, Any],
    *,
    report: Callable[[object], None] = lambda _: None,
) -> None:
    """Write a model folder.

    Args:
        network: that was trained.
        folder: to write.
        extractor: of the keypoints that it was trained on, as JSON types.
        training: provenance of the model, see `training_metadata`.
        report: takes a line of progress at a time.

    Raises:
        ConfigError: the network is not one that vloc runs.
        ExportError: the outputs of ONNX Runtime differ from the network's, or depend on padding.
    """
    if not isinstance(network, RotaryMatcher):
        raise ConfigError("parameter model.kind is imp, which is trained and scored alone; export one of kind rotary")
    models = [str(extractor.get("model", ""))]
    entries = describe_keypoints(
        f"iterative-{network.config.layers}x{network.config.width}", str(extractor["name"]), models,
        network.shape.descriptor_dimension,
    )  # fmt: skip
    network.cpu().eval()
    write_matcher(network, folder, network.config.groups, {**entries, "training": dict(training)}, report=report)


def read_run(run_dir: Path) -> tuple[RotaryMatcher, MatcherTrainingConfig, dict[str, Any]]:
    """The network of a run's best epoch, its configuration and its sources.

    Raises:
        InputError: the folder holds no run of a matcher with a validated epoch.
    """
    if not (run_dir / BEST).is_file():
        raise InputError(
            f"{run_dir}: holds no run with a scored epoch, expected {BEST}; wait for the first epoch's end"
        )
    try:
        config = config_from_mapping(MatcherTrainingConfig, json.loads(read_text(run_dir / CONFIG)))
        sources = json.loads(read_text(run_dir / SOURCES))
        dimension = int(sources["dimension"])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{run_dir}: is no run of a matcher ({error}); name that of iterative_matching.train"
        ) from error
    if config.model.kind != "rotary":
        raise ConfigError("parameter model.kind is imp, which is trained and scored alone; export one of kind rotary")
    network = RotaryMatcher(config.model, dimension=dimension)
    network.load_state_dict(load_file(run_dir / BEST))
    return network, config, sources


def _run(args: argparse.Namespace) -> None:
    replaces_model(args.out)
    network, config, sources = read_run(args.run)
    training = {"run": sources, "seed": config.fit.seed}
    export(network, args.out, sources["extractor"], training, report=print)
    print(f"written: {args.out}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="of iterative_matching.train")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
