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

"""Teacher, student and baselines: their invariances and their initialisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import timm
import torch
import torch.nn.functional as F
from place_world import tiny
from safetensors.torch import save_file
from scipy.linalg import eigh

from training.place_recognition import cost
from training.place_recognition.aggregation import Gem, NetVlad
from training.place_recognition.config import PRESETS, SpatialConfig
from training.place_recognition.crossvit import StudentEncoder, bicubic_matrix
from training.place_recognition.discriminant import Discriminant
from training.place_recognition.encoders import (
    build_encoder,
    embed_images,
    hash_pretrained_weights,
    load_pretrained_weights,
)
from training.place_recognition.patches import GradientPatches
from training.place_recognition.residuals import DenseResiduals
from training.place_recognition.teacher import MetricRotary, RotaryAttention, TeacherEncoder, token_positions
from vloc_ros.core.errors import ConfigError, InputError


def teacher(*more: str) -> TeacherEncoder:
    torch.manual_seed(0)
    encoder = build_encoder(tiny("network.size=60", "network.residuals=0", *more, model="teacher"), extent_m=10.0)
    assert isinstance(encoder, TeacherEncoder)
    return encoder.double().eval()


def seen(batch: int = 2, grid: int = 5) -> torch.Tensor:
    """Structure, in which every third patch has no points."""
    torch.manual_seed(1)
    structure = torch.rand(batch, grid**2, 5, dtype=torch.float64) * 4
    structure[:, ::3] = 0
    return structure


def shift_origin(structure: torch.Tensor, step: list[float]) -> torch.Tensor:
    """The same from another origin."""
    there = structure.clone()
    there[..., :3] += torch.tensor(step, dtype=structure.dtype) * (structure[..., 4:] > 0)
    return there


@pytest.mark.parametrize("step", [[0.3, 0, 0], [1, -2, 3], [-50, 40, 7]])
def test_attention_is_invariant_to_the_origin(step: list[float]) -> None:
    torch.manual_seed(0)
    attention = RotaryAttention(32, 2).double()
    rotary = MetricRotary(16, SpatialConfig(), extent_m=10.0).double()
    x, places = torch.randn(1, 7, 32, dtype=torch.float64), torch.randn(1, 7, 3, dtype=torch.float64)
    here = attention(x, rotary(places))
    there = attention(x, rotary(places + torch.tensor(step, dtype=torch.float64)))
    assert torch.allclose(here, there, atol=1e-9)
    assert not torch.allclose(here, attention(x, rotary(2 * places)), atol=1e-4)


def test_the_teacher_is_invariant_to_the_origin_but_not_to_the_shape() -> None:
    encoder, images, structure = teacher(), torch.randn(2, 3, 60, 60, dtype=torch.float64), seen()
    here = encoder(images, structure)
    assert torch.allclose(here, encoder(images, shift_origin(structure, [3, -4, 9])), atol=1e-6)
    stretched = structure.clone()
    stretched[..., 0] *= 2
    assert not torch.allclose(here, encoder(images, stretched), atol=1e-5)
    assert torch.allclose(here.norm(dim=1), torch.ones(2, dtype=here.dtype), atol=1e-6)


def test_without_rotary_encoding_the_teacher_ignores_positions() -> None:
    encoder, structure = teacher("spatial.encoding=none"), seen()
    images = torch.randn(2, 3, 60, 60, dtype=torch.float64)
    other = structure.clone()
    other[..., :3] = 7 * torch.rand_like(other[..., :3])
    assert torch.equal(encoder(images, structure), encoder(images, other))


def test_patches_without_points_are_at_the_mean_of_the_others() -> None:
    structure = torch.zeros(2, 3, 5)
    structure[0, 0] = torch.tensor([1.0, 2, 3, 0, 1])
    structure[0, 2] = torch.tensor([3.0, 2, 1, 0, 9])
    assert token_positions(structure)[0].tolist() == [[2, 2, 2], [1, 2, 3], [2, 2, 2], [3, 2, 1]]
    assert not token_positions(structure)[1].any()
    encoder = build_encoder(tiny(model="teacher"), extent_m=10.0)
    assert encoder(torch.randn(1, 3, 48, 48), torch.zeros(1, 16, 5)).isfinite().all()


def test_wavelengths_go_from_decimetres_to_the_extent() -> None:
    rotary = MetricRotary(64, SpatialConfig(shortest_m=0.2), extent_m=50.0)
    of_axis = rotary.frequencies[1][rotary.frequencies[1] > 0]
    wavelengths = 2 * np.pi / of_axis.numpy()
    assert len(wavelengths) == 10
    assert wavelengths[[0, -1]] == pytest.approx([0.2, 50.0], rel=1e-5)
    assert np.allclose(wavelengths[1:] / wavelengths[:-1], (50 / 0.2) ** (1 / 9), rtol=1e-5)
    assert not (rotary.frequencies[0] * rotary.frequencies[1]).any()


@pytest.mark.parametrize(("size", "scaled"), [(240, 224), (144, 128), (48, 32)])
def test_resizing_by_matrices_is_bicubic_interpolation(size: int, scaled: int) -> None:
    images, matrix = torch.rand(2, 3, size, size), bicubic_matrix(size, scaled)
    expected = F.interpolate(images, size=(scaled, scaled), mode="bicubic", align_corners=False)
    assert torch.allclose(matrix @ images @ matrix.T, expected, atol=5e-6)


def test_the_student_of_base_is_crossvit_ti() -> None:
    torch.manual_seed(0)
    published = timm.create_model("crossvit_tiny_240", num_classes=256).eval()
    student = StudentEncoder(PRESETS["base"].network).eval()
    student.network.load_state_dict(published.state_dict())
    images = torch.rand(1, 3, 240, 240)
    with torch.no_grad():
        branches, expected = student.network.forward_features(images), published.forward_features(images)
        for branch, as_published in zip(branches, expected, strict=True):
            assert torch.allclose(branch, as_published, atol=5e-5)


@pytest.mark.parametrize("more", [("network.stem=pixels", "network.residuals=0"), ("network.stem=gradients",)])
@pytest.mark.parametrize("model", ["teacher", "student", "resnet18-gem", "resnet18-netvlad"])
def test_descriptors_have_length_one_and_every_weight_learns(model: str, more: tuple[str, ...]) -> None:
    encoder = build_encoder(tiny(*more, model=model), extent_m=10.0)
    descriptors = embed_images(encoder, torch.randn(3, 3, 48, 48), seen(3, 4).float()).descriptors
    assert descriptors.shape == (3, encoder.dimension)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(3), atol=1e-5)
    (descriptors * torch.randn_like(descriptors)).sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_gradients_depend_on_shape_and_not_on_contrast() -> None:
    torch.manual_seed(0)
    patches = GradientPatches(12, 16)
    torch.nn.init.zeros_(patches.colour_projection.weight)
    images = torch.randn(1, 3, 48, 48)
    flatter, turned = patches(0.5 * images + 0.3), patches(images.transpose(2, 3))
    assert patches(images).shape == (1, 16, 16)
    assert torch.allclose(flatter, patches(images), atol=0.05)
    assert not torch.allclose(turned, patches(images), atol=0.5)


def _dense(clusters: int = 4, dimension: int = 8) -> DenseResiduals:
    torch.manual_seed(0)
    return DenseResiduals(clusters, grid=4, patch_px=12, width=6, dimension=dimension)


def _pictures(count: int, *, seed: int) -> torch.Tensor:
    """Smooth pictures, that have edges of all directions."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(48, 48), mode="bicubic")


def test_residuals_are_initialised_to_discriminate_places() -> None:
    places, generator = _pictures(24, seed=1), torch.Generator().manual_seed(2)

    def revisit() -> torch.Tensor:
        """Every place once more, with noise on it and in another contrast."""
        noise = torch.randn(places.shape, generator=generator)
        return (0.5 + torch.rand(len(places), 1, 1, 1, generator=generator)) * places + 0.15 * noise

    share = torch.eye(len(places)).repeat(2, 2)
    batches = [(torch.cat([places, revisit()]), share) for _ in range(4)]
    drawn, initialised = _dense(dimension=16), _dense(dimension=16)
    initialised.initialise_from(places, batches, views=300, seed=0)
    with torch.no_grad():
        here, there = places, revisit()
        found = [dense.projection(dense.residuals(torch.cat([here, there]))) for dense in (drawn, initialised)]
    ratios = []
    for both in found:
        first, second = both[: len(places)], both[len(places) :]
        ratios.append(float((first - second).norm(dim=1).mean() / torch.cdist(first, first).mean()))
    assert ratios[1] < 0.6 * ratios[0]
    assert found[1].norm(dim=1).mean() == pytest.approx(1.0, abs=0.2)
    assert found[1][: len(places)].mean(dim=0).abs().max() < 0.2
    again = _dense(dimension=16)
    again.initialise_from(places, batches, views=300, seed=0)
    assert all(torch.equal(value, initialised.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_discriminant_is_that_of_all_batches_at_once() -> None:
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(6, 10)) * np.linspace(1, 3, 10) + 2).astype(np.float32) for _ in range(40)]
    shares = [np.eye(6) + 0.5 * np.roll(np.eye(6), 1, axis=0) + 0.5 * np.roll(np.eye(6), -1, axis=0) for _ in batches]
    found = Discriminant(10)
    for batch, share in zip(batches, shares, strict=True):
        found.add(batch, share)
    axes, mean = found.projection(4, views=10**9)
    every = np.concatenate(batches)
    within = sum(
        s[i, j] * np.outer(b[i] - b[j], b[i] - b[j])
        for b, s in zip(batches, shares, strict=True)
        for i in range(6)
        for j in range(6)
        if i != j
    )
    _, vectors = eigh((every - every.mean(0)).T @ (every - every.mean(0)), within)
    np.testing.assert_allclose(mean, every.mean(0), rtol=1e-5)
    cosines = np.abs(np.sum(axes * vectors[:, ::-1][:, :4].T, axis=1))
    lengths = np.linalg.norm(axes, axis=1) * np.linalg.norm(vectors[:, ::-1][:, :4], axis=0)
    np.testing.assert_allclose(cosines / lengths, 1, atol=1e-4)
    assert np.square((every - mean) @ axes.T).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)


def test_a_discriminant_of_few_views_is_principal_components() -> None:
    rng = np.random.default_rng(0)
    found, some = Discriminant(40), (rng.normal(size=(8, 40)) * np.linspace(1, 3, 40)).astype(np.float32)
    found.add(some, np.kron(np.eye(4), np.ones((2, 2))))
    axes, mean = found.projection(3, views=1)
    _, _, principal = np.linalg.svd(some - mean, full_matrices=False)
    cosines = np.abs((axes / np.linalg.norm(axes, axis=1, keepdims=True)) @ principal[:3].T)
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-3)


def test_residuals_need_images_of_one_place() -> None:
    places = _pictures(8, seed=1)
    with pytest.raises(InputError, match="no two different images overlap"):
        _dense().initialise_from(places, [(places, torch.eye(8))], views=8, seed=0)


def test_colours_are_invariant_to_the_colour_of_the_light() -> None:
    dense, images = _dense(), _pictures(1, seed=3)
    with torch.no_grad():
        tinted = images + torch.tensor([0.4, 0.0, -0.4])[:, None, None]
        assert torch.allclose(dense.describe_cells(images), dense.describe_cells(tinted), atol=1e-4)
        red = images.clone()
        red[:, 0, :12, :12] += 0.4
        assert (dense.describe_cells(red) - dense.describe_cells(images))[:, 8, :3, :3].min() > 0.05


def test_a_patch_of_weight_zero_adds_nothing() -> None:
    dense, images = _dense(), _pictures(1, seed=3)
    with torch.no_grad():
        patch_logits = torch.full((1, 16), -50.0)
        patch_logits[0, 5] = 50.0  # the second of the second row
        one = dense.residuals(images, patch_logits)
        other = images.clone()
        # out of reach of the windows about that patch; the image's mean colour, which counts everywhere, stays
        other[..., 36:, 36:] = images[..., 36:, 36:].flip(-1)
        assert torch.allclose(one, dense.residuals(other, patch_logits), atol=1e-5)
        nearby = images.clone()
        nearby[..., 12:24, 12:24] = 0.0
        assert not torch.allclose(one, dense.residuals(nearby, patch_logits), atol=1e-2)
        equal = dense.residuals(images, torch.zeros(1, 16))
        assert torch.allclose(equal, dense.residuals(images), atol=1e-6)


def test_clusters_have_to_give_as_many_numbers_as_the_descriptor_has() -> None:
    with pytest.raises(ConfigError, match="residuals is 1, expected 0 or at least 2 for 64 numbers"):
        tiny("network.residuals=1", "network.dimension=64")


def test_gem_is_a_mean_and_nearly_a_maximum() -> None:
    features = torch.rand(2, 5, 3, 4) + 0.1
    assert torch.allclose(Gem(1.0)(features), features.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(Gem(200.0)(features), features.amax(dim=(2, 3)), rtol=0.05)


def test_netvlad_is_initialised_from_clusters() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:4]
    of_cluster = rng.integers(0, 4, 400)
    features = (directions[of_cluster] + 0.02 * rng.normal(size=(400, 6))) * rng.uniform(1, 5, (400, 1))
    torch.manual_seed(0)
    pool = NetVlad(4, 6)
    pool.initialise_from(features, seed=0)
    similarities = pool.centres.detach().numpy() @ directions.T
    assert sorted(similarities.argmax(axis=1)) == [0, 1, 2, 3]
    assert similarities.max(axis=1).min() > 0.98
    local = torch.from_numpy(features.astype(np.float32).T[None, :, :, None])
    shares = pool.assignment(F.normalize(local, dim=1)).softmax(dim=1)[0, :, :, 0].T
    assert (shares.max(dim=1).values > 0.9).float().mean() > 0.95
    with pytest.raises(InputError, match="3 local features are too few for 4 clusters"):
        pool.initialise_from(features[:3], seed=0)


def test_netvlad_sums_residuals() -> None:
    pool = NetVlad(2, 2)
    with torch.no_grad():
        pool.assignment.weight.copy_(1e4 * torch.eye(2)[:, :, None, None])
        pool.centres.copy_(torch.eye(2))
    features = torch.tensor([[3.0, 4.0], [5.0, 0.0]]).T[None, :, :, None]  # directions (.6, .8) and (1, 0)
    expected = torch.tensor([0.0, 0.0, 0.6, -0.2]) / np.hypot(0.6, 0.2) / 1.0
    assert torch.allclose(pool(features)[0], expected, atol=1e-5)


def test_pretrained_weights_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(3)
    given = timm.create_model("resnet18").state_dict()
    save_file(given, tmp_path / "resnet18.safetensors")
    torch.save(given, tmp_path / "resnet18.pth")
    for name in ("resnet18.safetensors", "resnet18.pth"):
        encoder = build_encoder(tiny(model="resnet18-gem"), extent_m=1.0)
        load_pretrained_weights(encoder, tmp_path / name)
        assert all(torch.equal(value, given[name]) for name, value in encoder.backbone.state_dict().items())
    hashes = {hash_pretrained_weights(encoder, tmp_path / name) for name in ("resnet18.safetensors", "resnet18.pth")}
    assert len(hashes) == 1  # of the values, not of the file format
    given["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(given, tmp_path / "other.pth")
    assert hash_pretrained_weights(encoder, tmp_path / "other.pth") not in hashes
    with pytest.raises(InputError, match=r"only \d+ of the backbone's \d+ weights match"):
        load_pretrained_weights(build_encoder(tiny(), extent_m=1.0), tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match="cannot be read"):
        load_pretrained_weights(encoder, tmp_path / "none.pth")


def test_the_published_costs_are_counted_on_the_modules() -> None:
    netvlad, student = cost.count_published_models()
    assert netvlad.parameters == pytest.approx(149.0, abs=0.1)
    assert netvlad.gmac == pytest.approx(94.0, abs=0.3)
    assert student.parameters == pytest.approx(7.0, abs=0.05)
    assert student.gmac == pytest.approx(1.56, abs=0.01)


def test_a_convolution_costs_what_it_does() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.named = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False), torch.nn.Linear(4, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.named(self.seen(images).mean(dim=(2, 3)))

    found = cost.count_cost("two", Two, (6, 7))
    assert found.gmac * 1e9 == pytest.approx(6 * 7 * 3 * 4 * 9 + 20)
    assert found.parameters * 1e6 == pytest.approx(3 * 4 * 9 + 25)
    assert found.dimension == 5
