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

import numpy as np
import pytest
from plain import SIZE_M, make_ground

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.nearest_neighbours import match_mutual
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.geo.ground_tiles import TileBlock, TileFinder, lay_blocks

_GROUND = make_ground(4, side_px=1100)
_CONFIG = RootSiftConfig(max_keypoints=2500, min_keypoints=2500)


def _blocks(ground: GroundImage = _GROUND, tile_px: int = 384) -> list[TileBlock]:
    return list(lay_blocks([ground], [SIZE_M], tile_px=tile_px))


def test_every_pixel_is_in_the_middle_of_one_tile() -> None:
    shown = np.zeros((1100, 1100), int)
    for block in _blocks():
        for square in block.squares:
            row, column = block.middle(square)
            shown[max(row - 96, 0) : row + 96, max(column - 96, 0) : column + 96] += 1
    assert (shown == 1).all()


@pytest.mark.parametrize("contrast", [1.0, 0.15])
def test_a_tile_has_the_keypoints_that_a_view_of_it_has(contrast: float) -> None:
    faint = np.clip(128 + contrast * (_GROUND.image.astype(float) - 128), 0, 255).astype(np.uint8)
    ground = GroundImage(faint, _GROUND.shown, _GROUND.left_m, _GROUND.top_m, SIZE_M)
    block = _blocks(ground)[0]
    tiles = {tile.name: tile for tile in TileFinder(_CONFIG).find(block, *block.read())}
    assert len(tiles) == len(block.squares) == 16
    for square in ((0, 0), (1, 2), (3, 3)):
        row, column = block.middle(square)
        top, left = max(row - 192, 0), max(column - 192, 0)
        alone = RootSift(_CONFIG).extract(np.ascontiguousarray(faint[top : row + 192, left : column + 192]))
        tile = tiles[f"{block.name}/{square[0]}-{square[1]}"]
        assert len(tile.features) == pytest.approx(len(alone), rel=0.1)
        assert tile.centre == pytest.approx([ground.left_m + SIZE_M * column, ground.top_m - SIZE_M * row])
        rows, columns = match_mutual(alone.descriptors, tile.features.descriptors, ratio=0.9)
        apart = alone.xy[rows] + [left - column, top - row] - tile.features.xy[columns]
        # keypoints at its rim reach out of a tile by itself
        assert (np.linalg.norm(apart, axis=1) < 0.5).sum() > 0.85 * len(alone)


def test_tiles_do_not_depend_on_the_parts_that_are_read() -> None:
    class Parts:
        """The ground, of which no more than a block is read at a time."""

        left_m, top_m, ground_size_m, size = _GROUND.left_m, _GROUND.top_m, SIZE_M, _GROUND.size
        most = 0

        def resample(self, ground_size_m: float) -> "Parts":
            assert ground_size_m == SIZE_M
            return self

        def may_show(self, rows: slice, columns: slice) -> bool:
            return _GROUND.may_show(rows, columns)

        def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
            image, shown = _GROUND.read(rows, columns)
            Parts.most = max(Parts.most, image.shape[0] * image.shape[1])
            return image, shown

    made, expected = (
        make_aerial_map([ground], name="plain", datum=None, ground_sizes_m=[SIZE_M], tile_px=256)
        for ground in (Parts(), _GROUND)
    )
    assert made.places["aerial"].names == expected.places["aerial"].names
    for name, payload in made.places["aerial"].payloads.items():
        np.testing.assert_array_equal(payload.values, expected.places["aerial"].payloads[name].values)
    assert Parts.most == 640**2


def test_holes_make_no_tiles() -> None:
    shown = _GROUND.shown.copy()
    shown[:, 500:] = False
    ground = GroundImage(_GROUND.image, shown, _GROUND.left_m, _GROUND.top_m, SIZE_M)
    finder = TileFinder(_CONFIG)
    blocks = list(_blocks(ground))
    assert len(blocks) < len(list(_blocks(_GROUND)))
    assert all(block.read()[1].any() for block in blocks)
    tiles = [tile for block in blocks for tile in finder.find(block, *block.read())]
    assert tiles
    edge_m = ground.left_m + 500 * SIZE_M
    for tile in tiles:
        assert (tile.centre[0] + SIZE_M * tile.features.xy[:, 0] < edge_m - 5 * SIZE_M).all()
