"""A place encoder's weights as safetensors, with a manifest that says what they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from training.place_recognition.config import PlacesConfig
from training.place_recognition.encoders import Encoder, build_encoder
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError, InputError, ModelError
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros weights"
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"


def replaces_checkpoint(folder: Path) -> bool:
    """Whether weights that are written there replace others.

    Raises:
        StorageError: something else is there, such as a map, whose manifest has the same name.
    """
    return replaces_folder(folder, manifest=MANIFEST, format_=FORMAT, kind="set of weights")


def write_checkpoint(
    folder: Path, encoder: Encoder, config: PlacesConfig, *, extent_m: float, training: Mapping[str, Any]
) -> None:
    """Write weights, and the manifest last: a folder whose writing was interrupted is refused when it is read.

    Raises:
        StorageError: the folder cannot be written, or holds something else than weights.
    """
    replaces_checkpoint(folder)
    weights = save({name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()})
    content = {
        "format": FORMAT,
        "kind": f"place {config.model}",
        "extent_m": extent_m,
        "training": dict(training),
        "hash": hashlib.sha256(weights).hexdigest(),
    }
    write_bytes_atomically(folder / WEIGHTS, weights)
    write_bytes_atomically(folder / MANIFEST, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def checkpoint_hash(folder: Path) -> str:
    """SHA-256 of the weights, as their manifest has it.

    Raises:
        ModelError: there are none.
    """
    try:
        return str(json.loads(read_text(folder / MANIFEST))["hash"])
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder}: holds no weights that can be read ({error})") from error


def read_checkpoint(folder: Path) -> tuple[Encoder, PlacesConfig]:
    """An encoder in evaluation mode, on the CPU.

    Raises:
        ModelError: there is none, it is damaged, or of another version of this code.
    """
    try:
        content = json.loads(read_text(folder / MANIFEST))
        weights = (folder / WEIGHTS).read_bytes()
        if content.get("format") != FORMAT:
            raise ModelError(f"{folder}: holds no weights of a place encoder; give the folder that training wrote")
        if content["hash"] != hashlib.sha256(weights).hexdigest():
            raise ModelError(f"{folder / WEIGHTS}: was cut short or altered; copy it again or train it again")
        config = config_from_mapping(PlacesConfig, content["training"]["config"])
        encoder = build_encoder(config, extent_m=float(content["extent_m"]))
        encoder.load_state_dict(load(weights))
    except (InputError, OSError) as error:
        raise ModelError(f"{folder}: holds no weights that can be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder}: its weights do not fit this version ({reason}); train them again") from error
    return encoder.eval(), config
