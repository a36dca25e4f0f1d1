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

"""Phase 2: classifiers of region, site and tile on frozen descriptors, and the voting that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cross_view.config import HierarchyConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class PlaceTree:
    """The places of a gallery.

    Attributes:
        tiles: (T,) str names of the tiles.
        sites: (S,) str names.
        regions: (R,) str names.
        site_of_tile: (T,) int64.
        region_of_site: (S,) int64.
    """

    tiles: Array
    sites: Array
    regions: Array
    site_of_tile: Array
    region_of_site: Array

    @staticmethod
    def of(tiles: Array, sites: Array, regions: Array) -> PlaceTree:
        """The tree of (N,) images' tiles, sites and regions.

        Raises:
            InputError: a tile is in two sites, a site in two regions, or one of them has no name.
        """
        names = [np.unique(part, return_inverse=True, return_index=True) for part in (tiles, sites, regions)]
        if not all(all(level[0]) for level in names):
            raise InputError("an image has no tile, site or region, expected all of them; fill the table of positions")
        (tile, first_tile, tile_of), (site, first_site, site_of), (region, _, region_of) = names
        for what, child_of, parent_of, first in (
            ("tile", tile_of, site_of, first_tile), ("site", site_of, region_of, first_site)
        ):  # fmt: skip
            if (parent_of[first][child_of] != parent_of).any():
                raise InputError(f"a {what} is in two places of the level above, expected one; correct the positions")
        return PlaceTree(tile, site, region, site_of[first_tile], region_of[first_site])

    def number(self, tiles: Array) -> Array:
        """(N,) int64 numbers of tiles by name."""
        return np.searchsorted(self.tiles, tiles)

    def parents(self, tiles: Array) -> tuple[Array, Array]:
        """(N,) site and region of (N,) numbers of tiles."""
        sites = self.site_of_tile[tiles]
        return sites, self.region_of_site[sites]


class HierarchicalHead(nn.Module):
    """Logits of regions, of the sites of each region, and of the tiles of each site."""

    def __init__(self, dimension: int, tree: PlaceTree, *, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(dimension, width), nn.GELU()) if width else nn.Identity()
        counts = (len(tree.regions), len(tree.sites), len(tree.tiles))
        self.levels = nn.ModuleList(nn.Linear(width or dimension, count) for count in counts)
        self.register_buffer("region_of_site", torch.from_numpy(tree.region_of_site))
        self.register_buffer("site_of_tile", torch.from_numpy(tree.site_of_tile))

    def forward(self, descriptors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, R), (B, S) and (B, T) log-probabilities, each that of a part of its parent."""
        hidden = self.trunk(descriptors)
        region, site, tile = (level(hidden) for level in self.levels)
        return (
            region.log_softmax(dim=1),
            _log_softmax_within(site, self.region_of_site),
            _log_softmax_within(tile, self.site_of_tile),
        )

    def predict(self, descriptors: Tensor) -> Tensor:
        """(B, T) log-probabilities of tiles: the sum over the levels."""
        region, site, tile = self(descriptors)
        return tile + (site + region[:, self.region_of_site])[:, self.site_of_tile]


def _log_softmax_within(logits: Tensor, group: Tensor) -> Tensor:
    """(B, N) logarithms of softmax among those of one (N,) group."""
    largest = logits.amax(dim=1, keepdim=True)
    sums = torch.zeros(len(logits), int(group.max()) + 1, dtype=logits.dtype, device=logits.device)
    sums = sums.index_add(1, group, (logits - largest).exp())
    return logits - largest - sums.clamp(min=1e-30).log()[:, group]


def fit_head(descriptors: Array, tiles: Array, tree: PlaceTree, config: HierarchyConfig) -> HierarchicalHead:
    """A head for (N, D) descriptors of (N,) tiles by number."""
    torch.manual_seed(config.seed)
    head = HierarchicalHead(descriptors.shape[1], tree, width=config.width)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    inputs = torch.from_numpy(np.asarray(descriptors, np.float32))
    labels = [torch.from_numpy(part) for part in (*reversed(tree.parents(tiles)), tiles)]
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.epochs):
        noise = config.noise * torch.randn(inputs.shape, generator=generator)
        found = head(F.normalize(inputs + noise, dim=1))
        loss = torch.stack([F.nll_loss(level, of) for level, of in zip(found, labels, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


def vote(queries: Array, gallery: Array, tiles: Array, count: int, voters: int) -> Array:
    """(Q, T) sums of the similarities of the nearest neighbours that show each tile.

    Args:
        queries: (Q, D) L2-normalised.
        gallery: (N, D) L2-normalised.
        tiles: (N,) numbers.
        count: T.
        voters: neighbours of a query.
    """
    similarity = queries @ gallery.T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :voters]
    votes = np.zeros((len(queries), count), np.float32)
    rows = np.repeat(np.arange(len(queries)), nearest.shape[1])
    # cosines may be negative: one vote more is never worth less
    np.add.at(votes, (rows, tiles[nearest].ravel()), 1.0 + np.take_along_axis(similarity, nearest, axis=1).ravel())
    return votes
