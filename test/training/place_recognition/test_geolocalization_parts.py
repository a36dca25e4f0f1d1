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

"""The parts of a training from positions: labels, mined tuples, cells, losses, networks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
import torch.nn.functional as F

from training.framework.cost import count_parameters
from training.place_recognition.encoders import load_pretrained_weights
from training.place_recognition.geolocalization.backbones import make_preprocessing
from training.place_recognition.geolocalization.batches import CellGroups, TupleMiner, list_places
from training.place_recognition.geolocalization.config import (
    CROSSVIT,
    FULL,
    GRID,
    MIXVPR,
    NETVLAD,
    RANDOM,
    NetworkConfig,
    PositionFitConfig,
    TupleConfig,
)
from training.place_recognition.geolocalization.export import export
from training.place_recognition.geolocalization.images import PlaceImages, Radii, open_images
from training.place_recognition.geolocalization.losses import cosine_margin_loss, multi_similarity_loss, triplet_loss
from training.place_recognition.geolocalization.network import PlaceNetwork
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.models import read_model

SMALL = {"height": 64, "width": 64}


def along_a_line(*x: float, queries: int = 0, datasets: tuple[int, ...] = (), heading: float = 90.0) -> PlaceImages:
    """Images on the x axis; the last ones are queries."""
    n = len(x)
    return PlaceImages(
        tuple(Path(f"{k}.jpg") for k in range(n)),
        np.column_stack([x, np.zeros(n)]),
        np.full(n, heading),
        np.array(datasets or [0] * n),
        np.arange(n) >= n - queries,
        (Radii(10, 25), Radii(1, 2)),
    )


def test_images_show_one_place_within_a_radius_of_their_own_data_set() -> None:
    images = along_a_line(0, 10, 20, 40, 0, 1.5, 3, datasets=(0, 0, 0, 0, 1, 1, 1))
    positive, negative = images.label(np.array([0, 4]), np.arange(7))
    assert positive.tolist() == [[True, True] + [False] * 5, [False] * 4 + [True, False, False]]
    assert negative.tolist() == [[False] * 3 + [True] * 4, [True] * 4 + [False, False, True]]


def test_images_that_face_another_way_show_another_place() -> None:
    images = along_a_line(0, 1)
    images.headings[:] = [350, 40]
    assert images.label(np.array([0]), np.array([1]), max_angle_deg=50)[0].all()
    assert not images.label(np.array([0]), np.array([1]), max_angle_deg=49)[0].any()
    images.headings[0] = np.nan
    with pytest.raises(InputError):
        images.label(np.array([0]), np.array([1]), max_angle_deg=60)


@pytest.mark.parametrize("radii", [(0, 25), (25, 10), (float("nan"), 25), (10, float("inf"))])
def test_radii_that_mean_nothing_are_refused(radii: tuple[float, float]) -> None:
    with pytest.raises(InputError):
        Radii(*radii)


def one_hot(which: Array) -> Array:
    """Descriptors by the parity of the number, so that even images are alike."""
    return np.eye(2, dtype=np.float32)[which % 2]


def test_the_hardest_negatives_are_mined_and_queries_without_a_positive_are_counted() -> None:
    images = along_a_line(0, 5, 100, 200, 300, 400, 3, 900, queries=2)
    miner = TupleMiner(images, TupleConfig(mining=FULL, negatives=2))
    assert (miner.queries.tolist(), miner.dropped) == ([6], 1)
    # of the positives 0 and 1 the even one is more similar to the even query, of the negatives 2 and 4
    assert miner.mine(miner.queries, one_hot, np.random.default_rng(0)) == [[6, 0, 2, 4]]


def test_random_negatives_are_not_described() -> None:
    images = along_a_line(0, 5, 100, 200, 300, 400, 3, queries=1)
    seen = list[int]()

    def describe(which: Array) -> Array:
        seen.extend(which.tolist())
        return one_hot(which)

    miner = TupleMiner(images, TupleConfig(mining=RANDOM, negatives=3))
    drawn = {n for seed in range(20) for n in miner.mine(miner.queries, describe, np.random.default_rng(seed))[0][2:]}
    assert drawn == {2, 3, 4, 5}
    assert set(seen) == {0, 1, 6}


def test_a_query_without_a_negative_is_refused() -> None:
    miner = TupleMiner(along_a_line(0, 20, 3, queries=1), TupleConfig(mining=FULL))
    with pytest.raises(InputError):
        miner.mine(miner.queries, one_hot, np.random.default_rng(0))


def test_places_have_images_within_their_radius() -> None:
    images = along_a_line(0, 5, 100, 106, 103, 2, queries=2)
    config, fit = TupleConfig(images_per_place=3), PositionFitConfig(groups=2)
    (key,) = list_places(images, np.array([4, 5]), 0, fit, config, 1)
    groups = [set(key.images[:3]), set(key.images[3:])]
    assert sorted(map(sorted, groups)) == [[0, 1, 5], [2, 3, 4]]


def test_no_two_cells_of_a_group_are_neighbours() -> None:
    rng = np.random.default_rng(0)
    images = along_a_line(*rng.uniform(0, 60, 600))
    images.positions[:, 1] = rng.uniform(0, 60, 600)
    images.headings[:] = rng.uniform(0, 360, 600)
    cells = CellGroups(images, TupleConfig(cell_m=10, sector_deg=60, groups=2))
    for epoch in range(len(cells.classes)):
        (key,) = cells.list_batches(epoch, PositionFitConfig(groups=20), 1)
        of = {}
        for image, number in zip(key.images, key.classes, strict=True):
            cell = (*np.floor(images.positions[image] / 10).astype(int), int(images.headings[image] // 60))
            assert of.setdefault(number, cell) == cell
        found = np.array(list(of.values()))
        apart = np.abs(found[:, None] - found[None])
        # the first and the last sector are of different parity too
        assert not ((apart.max(axis=2) == 1) & (apart.sum(axis=2) > 0)).any()


@pytest.mark.parametrize("sector_deg", [120, 70, 45.5])
def test_sectors_whose_first_and_last_would_be_in_one_group_are_refused(sector_deg: float) -> None:
    with pytest.raises(ConfigError):
        TupleConfig(sector_deg=sector_deg)


def test_too_few_images_of_a_cell_are_refused() -> None:
    with pytest.raises(InputError):
        CellGroups(along_a_line(0, 100, 200), TupleConfig(images_per_cell=2))


def test_the_triplet_loss_of_three_points() -> None:
    descriptors = F.normalize(torch.tensor([[1.0, 0], [1, 1], [0, 1], [-1, 0]]), dim=1)
    near, far = 2 * np.sin(np.pi / 8), np.array([np.sqrt(2), 2])
    expected = np.maximum(0, 0.9 + near - far).mean()
    assert float(triplet_loss(descriptors, 1, margin=0.9)) == pytest.approx(expected, rel=1e-5)


def test_the_multi_similarity_loss_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    descriptors = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    place = torch.tensor([0, 0, 0, 1, 1, 2])
    same, other = place[:, None] == place[None], place[:, None] != place[None]
    same.fill_diagonal_(False)
    similarity, expected = descriptors @ descriptors.T, []
    for i in range(6):
        positives, negatives = similarity[i][same[i]], similarity[i][other[i]]
        if not len(positives):
            expected.append(0.0)
            continue
        pulled = positives[positives - 0.1 < negatives.max()]
        pushed = negatives[negatives + 0.1 > positives.min()]
        expected.append(
            float(torch.log(1 + torch.exp(-2 * (pulled - 0.5)).sum()) / 2)
            + float(torch.log(1 + torch.exp(40 * (pushed - 0.5)).sum()) / 40)
        )
    found = multi_similarity_loss(descriptors, same, other, alpha=2.0, beta=40.0, base=0.5)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_margin_makes_the_right_cell_harder() -> None:
    descriptors, classifier = F.normalize(torch.eye(3) + 0.5, dim=1), torch.eye(3)
    losses = [
        float(cosine_margin_loss(descriptors, classifier, torch.arange(3), scale=10, margin=margin))
        for margin in (0.0, 0.4)
    ]
    cosines = descriptors @ classifier.T
    assert losses[0] == pytest.approx(float(F.cross_entropy(10 * cosines, torch.arange(3))), rel=1e-5)
    assert losses[1] > losses[0]


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"dimension": 0}, 112),
        ({"dimension": 0, "stride": 32}, 320),
        ({"dimension": 0, "aggregation": NETVLAD, "clusters": 4}, 448),
        ({"dimension": 24, "aggregation": MIXVPR}, 24),
        ({"dimension": 0, "aggregation": GRID}, 16 * 112),
        ({"dimension": 0, "backbone": CROSSVIT, "height": 96, "width": 96}, 288),
        ({"dimension": 16, "backbone": "resnet18"}, 16),
    ],
)
def test_descriptors_have_length_1(options: dict[str, object], length: int) -> None:
    network = PlaceNetwork(NetworkConfig(**{**SMALL, **options})).eval()
    found = network(torch.randn(2, 3, *network.size))
    assert (found.shape, network.dimension) == ((2, length), length)
    assert torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"height": 65}, {"backbone": CROSSVIT, "height": 96, "width": 120}, {"backbone": CROSSVIT}]
)
def test_sizes_that_a_backbone_cannot_take_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NetworkConfig(**options)


def test_frozen_layers_and_kept_statistics_do_not_change() -> None:
    network = PlaceNetwork(NetworkConfig(**SMALL, frozen=7), pretrained=True).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    trained = {name for name, p in network.backbone.named_parameters() if p.grad is not None}
    assert not any(name.startswith(("_conv_stem", "_bn0", "_blocks.4.")) for name in trained)
    assert any(name.startswith("_blocks.5.") for name in trained)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items() if "running" in name)
    assert not any("num_batches" in name and int(value) for name, value in network.state_dict().items())


def test_position_embeddings_of_another_size_are_interpolated(tmp_path: Path) -> None:
    config = {"backbone": CROSSVIT, "dimension": 0}
    small, large = (PlaceNetwork(NetworkConfig(**config, height=side, width=side)) for side in (96, 144))
    with torch.no_grad():
        small.backbone.pos_embed_0[0, 1:, 0] = torch.arange(8.0).repeat(8)  # the column of a patch
    torch.save(small.backbone.state_dict(), tmp_path / "small.pth")
    assert load_pretrained_weights(large, tmp_path / "small.pth") == len(large.backbone.state_dict())
    token, *columns = large.backbone.pos_embed_0[0, :, 0].tolist()
    assert token == small.backbone.pos_embed_0[0, 0, 0]
    for row in np.reshape(columns, (12, 12)):
        assert row[2:-2] == pytest.approx((np.arange(2, 10) + 0.5) * 8 / 12 - 0.5, abs=0.1)


@pytest.mark.slow
def test_the_size_of_a_model_is_without_the_classifiers_of_its_training(tmp_path: Path) -> None:
    config = NetworkConfig(**SMALL, dimension=8, stride=8)
    network = PlaceNetwork(config, classes=[30_000, 20_000]).eval()
    images = [np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)]
    export(network, tmp_path, preprocessing=make_preprocessing(config), images=images, training={})
    expected = count_parameters(PlaceNetwork(config))
    assert read_model(tmp_path, kind=KIND).entry("cost", "parameters") == expected / 1e6
    # float32 and the graph; the classifiers would add 1.6 MB
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4 * expected + 500_000


def test_the_projection_starts_as_principal_components() -> None:
    network = PlaceNetwork(NetworkConfig(**SMALL, dimension=3))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 112)) * np.r_[5, 3, 2, np.full(109, 0.01)] + 7
    network.initialise_projection(vectors)
    found = network.projection(torch.from_numpy(vectors).float()).detach().numpy()
    covariance = np.cov(found.T)
    assert np.abs(found.mean(axis=0)).max() < 1e-2
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2 * covariance.max()
    with pytest.raises(InputError):
        network.initialise_projection(np.ones((5, 112)))


def test_a_damaged_image_is_named_and_left_out(tmp_path: Path) -> None:
    images = along_a_line(0, 5, 8)
    paths = tuple(tmp_path / f"{k}.jpg" for k in range(3))
    for path in paths:
        cv2.imwrite(str(path), np.full((200, 300, 3), 90, np.uint8))
    paths[1].write_bytes(paths[1].read_bytes()[:50])
    usable, store, damaged = open_images(
        PlaceImages(paths, images.positions, images.headings, images.datasets, images.is_query, images.radii),
        (64, 96),
        in_memory=True,
    )
    assert [path.name for path in usable.paths] == ["0.jpg", "2.jpg"]
    assert len(damaged) == 1
    assert "1.jpg" in damaged[0]
    reduced, width = store.read(1)
    assert (reduced.shape, width) == ((83, 125, 3), 300)
