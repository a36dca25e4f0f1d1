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

"""Weights of a global descriptor model as safetensors, with a manifest of its configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from training.place_recognition.config import PlaceRecognitionConfig
from training.place_recognition.encoders import Encoder, build_encoder
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError, InputError, ModelError
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros weights"
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
# names that earlier versions wrote, and those of now
OLD_PARAMETERS = {
    "changes": "augmentation",
    "negatives_are": "negative_selection",
    "listed": "listwise",
    "patches": "patch_distillation",
    "transfer": "distillation",
}
OLD_MODULES = {
    "assigned": "assignment",
    "attended": "output_projection",
    "back": "reverse_projections",
    "classes": "class_tokens",
    "coloured": "colour_projection",
    "counting": "patch_weighting",
    "crossed": "fusions",
    "described": "mlp",
    "directed": "gradient_projection",
    "looking": "image_blocks",
    "looks": "local_projection",
    "lying": "spatial_blocks",
    "nothing": "empty_token",
    "of_whole": "global_weight",
    "over": "projections",
    "places": "position_embeddings",
    "projected": "projection",
}


def replaces_checkpoint(folder: Path) -> bool:
    """Whether writing weights there replaces others.

    Raises:
        StorageError: the folder holds something else, such as a map, whose manifest has the same name.
    """
    return replaces_folder(folder, manifest=MANIFEST, format_=FORMAT, kind="set of weights")


def write_checkpoint(
    folder: Path, encoder: Encoder, config: PlaceRecognitionConfig, *, extent_m: float, training: Mapping[str, Any]
) -> None:
    """Write weights, and the manifest last, so that an incomplete folder is refused when it is read.

    Raises:
        StorageError: the folder cannot be written, or holds something other than weights.
    """
    replaces_checkpoint(folder)
    weights = save({name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()})
    content = {
        "format": FORMAT,
        "kind": f"global descriptor {config.model}",
        "extent_m": extent_m,
        "training": dict(training),
        "hash": hashlib.sha256(weights).hexdigest(),
    }
    write_bytes_atomically(folder / WEIGHTS, weights)
    write_bytes_atomically(folder / MANIFEST, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_checkpoint_hash(folder: Path) -> str:
    """SHA-256 of the weights, from their manifest.

    Raises:
        ModelError: there are no weights.
    """
    try:
        return str(json.loads(read_text(folder / MANIFEST))["hash"])
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder}: holds no weights that can be read ({error})") from error


def read_checkpoint(folder: Path) -> tuple[Encoder, PlaceRecognitionConfig]:
    """An encoder in evaluation mode, on the CPU.

    Raises:
        ModelError: there are no weights, they are damaged, or of another version of this code.
    """
    try:
        content = json.loads(read_text(folder / MANIFEST))
        weights = (folder / WEIGHTS).read_bytes()
        if content.get("format") != FORMAT:
            raise ModelError(f"{folder}: holds no weights of a model; give the folder that training wrote")
        if content["hash"] != hashlib.sha256(weights).hexdigest():
            raise ModelError(f"{folder / WEIGHTS}: was truncated or altered; copy it again or train it again")
        config = config_from_mapping(PlaceRecognitionConfig, _rename_parameters(content["training"]["config"]))
        encoder = build_encoder(config, extent_m=float(content["extent_m"]))
        encoder.load_state_dict({_rename_weight(name): value for name, value in load(weights).items()})
    except (InputError, OSError) as error:
        raise ModelError(f"{folder}: holds no weights that can be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder}: its weights do not fit this version ({reason}); train them again") from error
    return encoder.eval(), config


def _rename_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the current names of its parameters."""
    return {
        OLD_PARAMETERS.get(name, name): _rename_parameters(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
    }


def _rename_weight(name: str) -> str:
    """The current name of a weight, from any version."""
    return ".".join(OLD_MODULES.get(part, part) for part in name.split("."))
