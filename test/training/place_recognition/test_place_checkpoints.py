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

"""Weights on disk: what is written, what is read, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from place_world import tiny
from safetensors.torch import save

from training.place_recognition.checkpoints import (
    MANIFEST,
    OLD_MODULES,
    OLD_PARAMETERS,
    WEIGHTS,
    read_checkpoint,
    write_checkpoint,
)
from training.place_recognition.config import PlaceRecognitionConfig
from training.place_recognition.encoders import build_encoder
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import ModelError
from vloc_ros.storage.atomic import StorageError


def checkpoint(folder: Path) -> tuple[TeacherEncoder, PlaceRecognitionConfig]:
    config = tiny(model="teacher")
    encoder = build_encoder(config, extent_m=12.5)
    write_checkpoint(folder, encoder, config, extent_m=12.5, training={"config": asdict(config)})
    assert isinstance(encoder, TeacherEncoder)
    return encoder, config


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    encoder, config = checkpoint(tmp_path)
    again, same = read_checkpoint(tmp_path)
    assert same == config
    assert not again.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_checkpoint_with_old_names_is_read(tmp_path: Path) -> None:
    encoder, config = checkpoint(tmp_path)
    old_modules = {new: old for old, new in OLD_MODULES.items() if new != "mlp"}
    old_state = {
        ".".join(old_modules.get(part, part) for part in name.split(".")): value
        for name, value in encoder.state_dict().items()
    }
    assert "stages.0.looking.0.attn.qkv.weight" in old_state
    weights = save(old_state)
    text = (tmp_path / MANIFEST).read_text()
    for old, new in OLD_PARAMETERS.items():
        assert f'"{new}":' in text
        text = text.replace(f'"{new}":', f'"{old}":')
    content = {**json.loads(text), "hash": hashlib.sha256(weights).hexdigest()}
    for later in ("optimizer", "monitored", "kept", "patience"):
        del content["training"]["config"]["fit"][later]
    (tmp_path / WEIGHTS).write_bytes(weights)
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    again, same = read_checkpoint(tmp_path)
    assert same == config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in encoder.state_dict().items())


def test_a_map_is_not_overwritten_by_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format": "vloc_ros map"}')
    with pytest.raises(StorageError, match="of format 'vloc_ros map', expected nothing or a set of weights"):
        checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "cut")
    data = (tmp_path / "cut" / WEIGHTS).read_bytes()
    (tmp_path / "cut" / WEIGHTS).write_bytes(data[:-8])
    with pytest.raises(ModelError, match="was truncated or altered"):
        read_checkpoint(tmp_path / "cut")
    with pytest.raises(ModelError, match="holds no weights that can be read"):
        read_checkpoint(tmp_path / "none")
    (tmp_path / "cut" / MANIFEST).write_text("{}")
    with pytest.raises(ModelError, match="holds no weights of a model"):
        read_checkpoint(tmp_path / "cut")
    (tmp_path / "cut" / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="do not fit this version"):
        read_checkpoint(tmp_path / "cut")
