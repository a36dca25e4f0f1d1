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

"""What an attention over both views of a pair does to a retrieval score: one network, evaluated two ways.

  python -m training.cross_view.leak DATASET --model MODEL.run --json FILE

Some systems encode a query and its true view together, by an attention over the local features of both, and then rank
those descriptors. Each then holds something of its partner, which only whoever knows the answer can choose: the score
is leaked. Here such an attention is trained on the frozen local features of a network of phase 1, and the same weights
are evaluated (a) as those systems do, (b) with each query encoded together with every view of the gallery in turn, true
or not, and (c) with each image encoded alone. Only (b) and (c) are retrieval.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from training.cross_view.config import CrossViewConfig
from training.cross_view.layout import TEST, TRAIN, ViewImages, read_views
from training.cross_view.losses import overlap_contrastive_loss
from training.cross_view.network import CrossViewNetwork
from training.cross_view.scores import score_retrieval
from training.cross_view.task import make_view_preprocessing
from training.framework.command import make_parser, run_command
from training.framework.run_folder import BEST, CONFIG
from training.place_recognition.geolocalization.network import PlaceNetwork
from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import read_text

_NAME = "cross_view.leak"
_WIDTH, _HEADS, _PAIRS, _SCALE = 96, 4, 32, 15.0


class JointAttention(nn.Module):
    """One attention over the local features of two views; each is then described by the mean of its own features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, _WIDTH)
        self.sides = nn.Parameter(torch.randn(2, _WIDTH) * 0.02)
        self.attention = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, batch_first=True)

    def forward(self, queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) descriptors of both sides of pairs of (B, N, C) local features."""
        ours, theirs = (self.projection(one) + side for one, side in zip((queries, gallery), self.sides, strict=True))
        found = self.attention(torch.cat([ours, theirs], dim=1))
        split = found[:, : ours.shape[1]], found[:, ours.shape[1] :]
        return F.normalize(split[0].mean(dim=1), dim=1), F.normalize(split[1].mean(dim=1), dim=1)

    def describe_alone(self, features: Tensor, side: int) -> Tensor:
        """(B, D) descriptors of (B, N, C) local features, without another view."""
        return F.normalize(self.attention(self.projection(features) + self.sides[side]).mean(dim=1), dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Queries, each with a view that shows its ground.

    Attributes:
        queries: (P, N, C) local features.
        gallery: (P, N, C) local features of the nearest view of each.
        overlap: (P, P) of the ground.
        right: (P, P) bool whether a view shows a query's ground.
    """

    queries: Tensor
    gallery: Tensor
    overlap: Tensor
    right: Array


def read_network(run_dir: Path) -> CrossViewNetwork:
    """The best network of a run of phase 1.

    Raises:
        InputError: the folder holds none, or one whose encoder has no local features of its own.
    """
    try:
        config = config_from_mapping(CrossViewConfig, json.loads(read_text(run_dir / CONFIG)))
        weights = load_file(run_dir / BEST)
        lengths = {n.split(".")[1]: len(v) for n, v in weights.items() if n.startswith("heads.") and n.endswith("bias")}
        network = CrossViewNetwork(config, pretrained=True, teachers=lengths)
        network.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{run_dir}: holds no run of cross_view.train that can be read ({reason})") from error
    if not isinstance(network.encoder, PlaceNetwork):
        raise InputError(f"{run_dir}: its encoder is {config.encoder}, expected pooled; give a run of the preset small")
    return network.eval()


@torch.no_grad()
def read_pairs(network: CrossViewNetwork, config: CrossViewConfig, dataset: Path, split: str, most: int) -> Pairs:
    """Some pairs of a split, with local features of the network."""
    queries, gallery = (read_views(dataset, split, v, is_query=k == 0) for k, v in enumerate(("drone", "satellite")))
    queries = queries.select(np.unique(np.linspace(0, len(queries) - 1, most).astype(int)))
    nearest = queries.overlap(gallery).argmax(axis=1)
    shown = gallery.select(nearest)
    features = [_extract(network, config, one) for one in (queries, shown)]
    return Pairs(*features, torch.from_numpy(queries.overlap(shown)), queries.is_shown_by(shown))


def _extract(network: CrossViewNetwork, config: CrossViewConfig, images: ViewImages) -> Tensor:
    preprocessing, found = make_view_preprocessing(config), []
    assert isinstance(network.encoder, PlaceNetwork)
    for path in bar(images.paths, description="local features", total=len(images)):
        image = torch.from_numpy(preprocessing.apply(read_image(path)))[None]
        found.append(network.encoder.extract_local(image).flatten(2).transpose(1, 2))
    return F.normalize(torch.cat(found), dim=2)


def train_jointly(pairs: Pairs, *, steps: int, seed: int) -> JointAttention:
    """The attention, trained with both views of each true pair in it."""
    torch.manual_seed(seed)
    model = JointAttention(pairs.queries.shape[2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng, scale = np.random.default_rng(seed), torch.tensor(_SCALE)
    for _ in range(steps):
        some = torch.from_numpy(rng.choice(len(pairs.queries), min(_PAIRS, len(pairs.queries)), replace=False))
        found = model(pairs.queries[some], pairs.gallery[some])
        loss = overlap_contrastive_loss(*found, pairs.overlap[some][:, some], scale=scale, min_overlap=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def evaluate_ways(model: JointAttention, pairs: Pairs) -> dict[str, Any]:
    """Scores of the same weights in the three ways."""
    count = len(pairs.queries)
    ours, theirs = model(pairs.queries, pairs.gallery)
    every = torch.empty(count, count)
    for row in range(count):
        one, many = model(pairs.queries[row : row + 1].expand(count, -1, -1), pairs.gallery)
        every[row] = (one * many).sum(dim=1)
    alone = model.describe_alone(pairs.queries, 0) @ model.describe_alone(pairs.gallery, 1).T
    ways = {"true partners known (leaked)": ours @ theirs.T, "with every view in turn": every, "each alone": alone}
    return {name: score_retrieval(similarity.numpy(), pairs.right) for name, similarity in ways.items()}


def _run(args: argparse.Namespace) -> None:
    network = read_network(args.model)
    config = config_from_mapping(CrossViewConfig, json.loads(read_text(args.model / CONFIG)))
    pairs = {split: read_pairs(network, config, args.dataset, split, args.pairs) for split in (TRAIN, TEST)}
    found = evaluate_ways(train_jointly(pairs[TRAIN], steps=args.steps, seed=args.seed), pairs[TEST])
    for name, scores in found.items():
        print(f"{name}: R@1 {scores['R@1']:.1%}, AP {scores['AP']:.3f} (chance {scores['chance']:.1%})")
    write_bytes_atomically(args.json, (json.dumps(found, indent=1) + "\n").encode())


def main() -> int:
    """Train and evaluate; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="run folder of phase 1")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--pairs", type=int, default=200, metavar="N", help="of each split; default: %(default)s")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
