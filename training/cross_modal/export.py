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

"""Export of a cross-modal model: the image encoder and the range encoder, each a folder for a robot without torch.

  python -m training.cross_modal.export MODEL.run --records DATA/sequences/train0-day --out MODEL

Training does so at its end; this exports the best epoch of a run that was interrupted. RECORDS are any sequence that
the network and its export are compared on, of a camera as wide as the run's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from training.cross_modal.config import CrossModalConfig
from training.cross_modal.inputs import RecordInputs, check_field_of_view
from training.cross_modal.network import CrossModalNetwork
from training.cross_modal.records import Record
from training.cross_modal.sources import read_records
from training.framework.command import make_parser, run_command
from training.framework.export import ParityCheck, Signature, export_network
from training.framework.provenance import training_metadata
from training.framework.run_folder import BEST, CONFIG, SOURCES
from training.place_recognition.geolocalization.export import export as export_image_encoder
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import replaces_model
from vloc_ros.inference.range_descriptors import DESCRIPTORS, KIND, VIEWS
from vloc_ros.storage.text import read_text

_NAME = "cross_modal.export"
IMAGE_MODEL, RANGE_MODEL = "image", "range"
# among a run's sources
FIELD_OF_VIEW = "field_of_view_rad"
_COMPARED, _MOST_VIEWS, _TOLERANCE = 8, 1 << 12, 1e-3


def check_outputs(out: Path) -> None:
    """Check, before the work, that both models can be written.

    Raises:
        StorageError: a folder holds something else.
    """
    for name in (IMAGE_MODEL, RANGE_MODEL):
        replaces_model(out / name)


def export(
    network: CrossModalNetwork,
    out: Path,
    config: CrossModalConfig,
    *,
    records: Sequence[Record],
    field_of_view_rad: float,
    training: Mapping[str, Any],
) -> None:
    """Write OUT/image, a global descriptor model, and OUT/range.

    Args:
        network: in evaluation mode, on the CPU.
        out: folder of the two.
        config: of the network.
        records: some of which the exports are compared on.
        field_of_view_rad: of the views of a map's places, as wide as the images that were trained on.
        training: provenance, as JSON types.

    Raises:
        ExportError: the descriptors of ONNX Runtime differ from the network's by more than 1e-3.
        StorageError: a folder cannot be written.
    """
    inputs, records = RecordInputs(config), records[:: max(1, len(records) // _COMPARED)][:_COMPARED]
    # both name the space, so that descriptors of other trainings are not compared
    provenance = {**training, "space": hash_weights(network)}
    export_image_encoder(
        network.image,
        out / IMAGE_MODEL,
        preprocessing=inputs.preprocessing,
        images=[record.load_image() for record in records],
        training=provenance,
    )
    views = np.stack([inputs.view(record) for record in records])
    export_network(
        network.range,
        out / RANGE_MODEL,
        Signature(
            {VIEWS: torch.zeros(2, *views.shape[1:])},
            (DESCRIPTORS,),
            {VIEWS: {0: torch.export.Dim("batch", min=1, max=_MOST_VIEWS)}},
        ),
        ParityCheck([{VIEWS: views}], _TOLERANCE),
        kind=KIND,
        training=provenance,
        entries={"view": config.range.view(field_of_view_rad).to_manifest(), "headings": config.range.headings},
    )


def hash_weights(network: nn.Module) -> str:
    """SHA-256 of all weights of a network: of both encoders it names their descriptor space."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array: Array = value.detach().cpu().numpy()
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a run; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, MODEL.run")
    parser.add_argument("--records", type=Path, required=True, metavar="SEQUENCE", help="to compare on")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    return run_command(_NAME, _run, parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> None:
    check_outputs(args.out)
    try:
        config = config_from_mapping(CrossModalConfig, json.loads(read_text(args.run / CONFIG)))
        network = CrossModalNetwork(config)
        network.load_state_dict(load_file(args.run / BEST))
        field_of_view_rad = float(json.loads(read_text(args.run / SOURCES))[FIELD_OF_VIEW])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{args.run}: holds no run with a validated epoch ({reason}); train it first") from error
    records = read_records(args.records)
    check_field_of_view(records, field_of_view_rad)
    training = {**training_metadata(config, {}, {}), "run": args.run.name}
    export(network.eval(), args.out, config, records=records, field_of_view_rad=field_of_view_rad, training=training)
    print(f"written: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
