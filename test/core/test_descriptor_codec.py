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

"""Compact descriptors keep the distances that matching needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.descriptor_codec import DescriptorCodec


def _descriptors(seed: int, count: int = 400, dimension: int = 32) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, dimension)) * np.linspace(2, 0.1, dimension)
    mixed = np.abs(mixed @ np.linalg.qr(generator.normal(size=(dimension, dimension)))[0])
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_codes_come_back_within_half_a_step(seed: int) -> None:
    descriptors = _descriptors(seed)
    codec = DescriptorCodec.fit(descriptors, 16)
    projected, codes = codec.project(descriptors), codec.encode(descriptors)
    assert (codes.dtype, codes.shape, codec.dimension) == (np.uint8, (400, 16), 16)
    inside = (codes > 0) & (codes < 255)
    assert inside.mean() > 0.99
    assert np.abs(codec.decode(codes) - projected)[inside].max() <= codec.step * 0.501


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_all_axes_keep_all_distances(seed: int) -> None:
    descriptors = _descriptors(seed)
    codec = DescriptorCodec.fit(descriptors, 32)
    np.testing.assert_allclose(codec.basis.T @ codec.basis, np.eye(32), atol=1e-4)
    projected = codec.project(descriptors)
    before = np.linalg.norm(descriptors[:50, None] - descriptors[None, 50:100], axis=2)
    after = np.linalg.norm(projected[:50, None] - projected[None, 50:100], axis=2)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_axes_kept_are_those_that_vary_most() -> None:
    descriptors = _descriptors(0)
    total = descriptors.var(axis=0).sum()
    shares = [DescriptorCodec.fit(descriptors, d).project(descriptors).var(axis=0).sum() / total for d in (4, 16, 32)]
    assert 4 / 32 < shares[0] < shares[1] < shares[2]
    assert shares[2] == pytest.approx(1, abs=1e-4)
    axes = DescriptorCodec.fit(descriptors, 16).project(descriptors).var(axis=0)
    assert (np.diff(axes) <= 1e-9).all()


def test_nearest_neighbours_survive() -> None:
    descriptors = _descriptors(1, count=1000)
    codec = DescriptorCodec.fit(descriptors, 24)
    noisy = descriptors + np.random.default_rng(2).normal(0, 0.005, descriptors.shape).astype(np.float32)
    distances = np.linalg.norm(codec.project(noisy[:100])[:, None] - codec.decode(codec.encode(descriptors)), axis=2)
    assert (distances.argmin(axis=1) == np.arange(100)).mean() > 0.97


def test_values_beyond_the_range_are_clipped_not_wrapped() -> None:
    descriptors = _descriptors(3)
    codec = DescriptorCodec.fit(descriptors, 8)
    far = codec.mean + 1000 * codec.basis[:, 0]
    assert codec.encode(far[None])[0, 0] == 255
    assert codec.encode((2 * codec.mean - far)[None])[0, 0] == 0


def test_no_more_axes_than_there_are() -> None:
    assert DescriptorCodec.fit(_descriptors(0), 500).dimension == 32


def test_no_descriptors() -> None:
    codec = DescriptorCodec.fit(_descriptors(0), 8)
    assert codec.encode(np.zeros((0, 32), np.float32)).shape == (0, 8)
    assert codec.decode(np.zeros((0, 8), np.uint8)).shape == (0, 8)
    with pytest.raises(InputError, match="1 points are too few for a map"):
        DescriptorCodec.fit(_descriptors(0, count=1), 8)


def test_descriptors_that_are_all_equal() -> None:
    codec = DescriptorCodec.fit(np.full((5, 4), 0.5, np.float32), 2)
    assert codec.step > 0
    assert np.isfinite(codec.decode(codec.encode(np.full((5, 4), 0.5, np.float32)))).all()
