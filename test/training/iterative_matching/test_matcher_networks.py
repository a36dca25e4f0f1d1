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

"""The networks of matchers: where they start, what they learn, and what padding and order may not change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from matcher_views import DIMENSION, make_points, see, step_aside, tiny

from training.framework.cost import count_cost
from training.iterative_matching.batches import LabelledPair, MatchBatch, collate, label
from training.iterative_matching.config import PRESETS, MatchingLossConfig
from training.iterative_matching.imp import ImpMatcher, mutual, sinkhorn
from training.iterative_matching.loss import matching_loss
from training.iterative_matching.network import RotaryMatcher
from training.iterative_matching.scores import score_matches
from training.iterative_matching.task import wrap_network
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features.nearest_neighbours import match_mutual
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.model_export.light_glue import LayerStage

CONFIG = tiny()
IMP = tiny("model.layers=6", "model.sinkhorn=5", preset="imp")


def make_pair(seed: int = 0, *, metres: float = 0.4) -> LabelledPair:
    points, descriptors = make_points(seed)
    first, _ = see(points, descriptors, Pose.identity(), seed=2 * seed)
    second, _ = see(points, descriptors, step_aside(metres), seed=2 * seed + 1)
    return label(first, second, CONFIG.data, same=True)


def run(network, batch: MatchBatch):
    with torch.no_grad():
        return list(network.eval().layers(batch))


def test_an_untrained_network_matches_as_nearest_neighbours_do() -> None:
    pair = make_pair()
    rows, columns = wrap_network(RotaryMatcher(tiny("model.temperature=100").model, dimension=DIMENSION))(
        pair.first, pair.second
    )
    expected = match_mutual(*(np.asarray(view.descriptors, np.float32) for view in (pair.first, pair.second)))
    nearest = set(zip(*(side.tolist() for side in expected), strict=True))
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert len(found & nearest) > 0.9 * len(nearest)


@pytest.mark.parametrize(("kind", "config"), [(RotaryMatcher, CONFIG), (ImpMatcher, IMP)])
def test_padding_changes_nothing(kind, config) -> None:
    torch.manual_seed(0)
    network = kind(config.model, dimension=DIMENSION)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    small = make_pair(0)
    large = LabelledPair(*(replace_count(view, 20) for view in (small.first, small.second)), small.labels, True)
    alone = run(network, collate([relabel(large)]))[-1].log_scores[0]
    padded = run(network, collate([relabel(large), small]))[-1].log_scores[0, :20, :20]
    assert padded.numpy() == pytest.approx(alone.numpy(), abs=1e-4)


def replace_count(view, count: int):
    return view.select(np.arange(count))


def relabel(pair: LabelledPair) -> LabelledPair:
    return label(pair.first, pair.second, CONFIG.data, same=True)


def test_shared_attention_is_that_of_the_exported_stages() -> None:
    torch.manual_seed(0)
    config = tiny("model.layers=3", "model.group=2", "model.share_attention=true").model
    assert config.groups == (1, 2)
    network = RotaryMatcher(config, dimension=DIMENSION).eval()
    assert network.shape.shared == (2,)
    for layer in network.transformers:
        torch.nn.init.normal_(layer.self_attn.ffn[-1].weight, std=0.1)
        torch.nn.init.normal_(layer.cross_attn.ffn[-1].weight, std=0.1)
    batch = collate([make_pair()])
    *_, last = run(network, batch)
    tokens = [network.input_proj(one[0]) for one in (batch.descriptors0, batch.descriptors1)]
    encodings = [network.posenc(one[0]) for one in (batch.positions0, batch.positions1)]
    masks = [batch.mask0[0], batch.mask1[0]]
    with torch.no_grad():
        for layers in (range(1), range(1, 3)):
            tokens = list(LayerStage(network, layers)(*tokens, *encodings, *masks)[:2])
        scores = network.log_assignment[2](*tokens, *masks)
    assert scores.numpy() == pytest.approx(last.log_scores[0].numpy(), abs=1e-5)


@pytest.mark.parametrize(("kind", "config"), [(RotaryMatcher, CONFIG), (ImpMatcher, IMP)])
def test_a_step_of_training_lowers_the_loss_of_its_batch(kind, config) -> None:
    torch.manual_seed(0)
    network = kind(config.model, dimension=DIMENSION)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    batch = collate([make_pair(0), make_pair(1)])
    terms = replace(config.loss, pose=0.5)
    losses = []
    for _ in range(6):
        loss = torch.stack(list(matching_loss(list(network.layers(batch)), batch, terms).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_epipolar_term_is_of_wrong_matches_alone() -> None:
    pair, config = make_pair(metres=1.0), MatchingLossConfig(pose=1.0)
    batch = collate([pair])
    (layer,) = run(RotaryMatcher(tiny("model.layers=1").model, dimension=DIMENSION), batch)[-1:]
    matched = torch.from_numpy(np.flatnonzero(pair.labels.first >= 0))
    perfect = torch.full_like(layer.log_scores, -20.0)
    perfect[0, matched, batch.labels0[0, matched]] = 0.0
    wrong = torch.full_like(perfect, -20.0)
    wrong[0, matched, batch.labels0[0, matched.roll(1)]] = 0.0
    terms = [matching_loss([layer._replace(log_scores=one)], batch, config)["pose"] for one in (perfect, wrong)]
    assert terms[0] < 0.05
    assert terms[1] > 0.9


def test_true_matches_have_all_scores() -> None:
    pair = make_pair(metres=1.0)
    rows = np.flatnonzero(pair.labels.first >= 0)
    found = score_matches(lambda *_: (rows, pair.labels.first[rows]), [pair])
    assert (found.precision, found.recall) == (1.0, 1.0)
    assert found.auc5 > 90
    nothing = score_matches(lambda *_: (rows[:0], rows[:0]), [pair, replace(pair, same=False)])
    assert (nothing.auc20, nothing.recall, nothing.strangers) == (0.0, 0.0, 0.0)


def test_sinkhorn_gives_every_keypoint_to_a_match_or_the_dustbin() -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randn(1, 6, 4, generator=generator)
    mask0, mask1 = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    mask0[0, 5] = False
    found = sinkhorn(similarity, torch.tensor(1.0), mask0, mask1, iterations=50).exp()
    assert found[0, :5].sum(1).numpy() == pytest.approx(np.ones(5), abs=1e-3)
    assert found[0, :, :4].sum(0).numpy() == pytest.approx(np.ones(4), abs=1e-3)
    assert float(found[0, 5].max()) == 0.0


def test_imp_is_scored_with_the_scores_of_keypoints() -> None:
    seen: list[MatchBatch] = []

    class Recorded(ImpMatcher):
        def layers(self, batch, *, supervised=True):
            seen.append(batch)
            return super().layers(batch, supervised=supervised)

    pair = make_pair()
    first = replace(pair.first, scores=np.linspace(0, 1, len(pair.first), dtype=np.float32))
    wrap_network(Recorded(IMP.model, dimension=DIMENSION).eval())(first, pair.second)
    assert np.array_equal(seen[0].scores0[0].numpy(), first.scores)
    assert float(seen[0].scores1.min()) == 1.0


def test_imp_stops_when_the_pose_stands_still_and_returns_its_inliers() -> None:
    torch.manual_seed(0)
    network = ImpMatcher(tiny("model.layers=8", "model.pooling=true", preset="imp").model, dimension=DIMENSION).eval()
    # tokens are the descriptors, whatever the layers say
    for block in (network.encoder, *(layer.update for layer in (*network.own, *network.cross))):
        torch.nn.init.zeros_(block.linears[-1].weight)
    for final in network.final:
        final.weight.data = 8 * torch.eye(16)
    pair = make_pair()
    batch = collate([pair, pair])
    batch = MatchBatch(*(part[:1] for part in batch))
    same = batch._replace(descriptors1=batch.descriptors0, positions1=batch.positions0, mask1=batch.mask0,
                          scores1=batch.scores0)  # fmt: skip
    pose = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    with torch.no_grad():
        rows, columns, layers = network.match_iteratively(same, lambda a, _: (pose, np.arange(len(a)) % 2 == 0))
    assert layers == 6, "poses after layers 4 and 6 are the same"
    assert (rows == columns).all()
    assert len(rows) >= 12


def test_presets_have_the_cost_that_the_page_states() -> None:
    config = PRESETS["imp"]
    assert [PRESETS[name].model.layers for name in ("tiny", "small", "base", "imp")] == [3, 5, 9, 15]
    with torch.device("meta"):
        network = ImpMatcher(config.model, dimension=64)
        cost = count_cost(network, (torch.empty(512, 64), torch.empty(512, 2)) * 2)
    assert cost.mac == pytest.approx(25.2e9, rel=0.01)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice the 3 heads"):
        tiny("model.heads=3")
    with pytest.raises(ConfigError, match="at most negative_px"):
        tiny("data.positive_px=9")


def test_mutual_maxima_have_a_least_probability() -> None:
    layer = run(RotaryMatcher(CONFIG.model, dimension=DIMENSION), collate([make_pair()]))[-1]
    assert len(mutual(layer, 0.9999999)[0]) == 0
