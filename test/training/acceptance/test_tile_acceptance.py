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
import cv2
import numpy as np

from training.acceptance.evidence_table import ALIASED, FOREIGN, OWN, EvidenceTable, RecordedQuery
from training.acceptance.tiles import _count_most_inliers, summarize
from training.data.aerial_views import DRONE, GROUND_SIZE_M, bend, cut_view
from vloc_ros.core.localization.acceptance import EVIDENCE_OF, TILE_KIND, AcceptanceModel, EvidenceTerm
from vloc_ros.geo.ground_images import GroundImage


def test_a_cut_view_shows_what_its_pose_says() -> None:
    image = np.random.default_rng(0).integers(0, 256, (900, 900, 3)).astype(np.uint8)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0))
    ground = GroundImage(image, np.ones((900, 900), bool), -90.0, 90.0, GROUND_SIZE_M)
    cut = cut_view(ground, 4)
    for pixel in ([320.0, 240.0], [100.0, 380.0]):
        ray = cut.map_from_camera.rotation @ DRONE.unproject(np.array([pixel]))[0]
        place = cut.map_from_camera.translation - cut.map_from_camera.translation[2] / ray[2] * ray
        column, row = (place[0] + 90.0) / GROUND_SIZE_M, (90.0 - place[1]) / GROUND_SIZE_M
        expected = cv2.getRectSubPix(image, (1, 1), (column - 0.5, row - 0.5))[0, 0].astype(int)
        shown = cv2.getRectSubPix(cut.image, (1, 1), (pixel[0] - 0.5, pixel[1] - 0.5))[0, 0].astype(int)
        assert np.abs(expected - shown).max() <= 6
    assert cut.down @ cut.map_from_camera.rotation[2] < -0.99


def test_the_summary_counts_what_is_accepted() -> None:
    names = EVIDENCE_OF[TILE_KIND]
    strong, weak = (np.array([[value if name == "inliers" else 1.0 for name in names]], np.float32) for value in (5, 2))
    nothing = EvidenceTerm(np.zeros(1), np.zeros(1))
    terms = {name: nothing for name in names if name != "margin"}
    terms["inliers"] = EvidenceTerm(np.array([2.0, 5.0]), np.array([-8.0, 0.0]))
    margin = EvidenceTerm(np.array([-0.1, 0.1]), np.array([-9.0, 9.0]))
    model = AcceptanceModel("tile", 4.0, terms, margin, 0, np.array([0.01]), np.array([0.0]), 300, TILE_KIND)
    queries = [
        RecordedQuery(strong, [1], OWN, 0, 0, 0, 0),
        RecordedQuery(weak, [1], OWN, 0, 0, 0, 0),
        RecordedQuery(weak, [0], FOREIGN, 0, 0, 1, 0),
    ]
    figures = summarize(model, EvidenceTable.of_queries(queries, TILE_KIND))
    assert figures["day"] == {"queries": 2, "right": 1, "between": 0, "wrong": 0}
    assert figures["foreign"] == {"queries": 1, "accepted": 0}


def test_the_fewest_inliers_are_more_than_another_place_has() -> None:
    width = len(EVIDENCE_OF[TILE_KIND])
    of = {kind: np.array([[np.log1p(inliers)] + [0.0] * (width - 1)], np.float32) for kind, inliers in
          ((OWN, 200), (FOREIGN, 9), (ALIASED, 14))}  # fmt: skip
    queries = [RecordedQuery(rows, [int(kind == OWN)], kind, 0, 0, 0, 0) for kind, rows in of.items()]
    assert _count_most_inliers(EvidenceTable.of_queries(queries, TILE_KIND)) == 14
    assert _count_most_inliers(EvidenceTable.of_queries(queries[:1], TILE_KIND)) == 0


def test_a_moved_town_moves_its_images() -> None:
    ground = GroundImage(np.zeros((600, 600, 3), np.uint8), np.ones((600, 600), bool), -60.0, 60.0, GROUND_SIZE_M)
    image = cut_view(ground, 1, low_m=40.0)
    assert 40.0 <= image.map_from_camera.translation[2] <= 90.0
    moved = image.move(1000.0).map_from_camera.translation - image.map_from_camera.translation
    assert moved.tolist() == [1000.0, 0.0, 0.0]


def test_a_bent_map_is_off_by_some_pixels_and_elsewhere_by_others() -> None:
    ramp = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (400, 1))
    ground = GroundImage(ramp, np.ones(ramp.shape, bool), 0.0, 80.0, GROUND_SIZE_M)
    moved_px = (bend(ground, 3).image.astype(float) - ramp)[:, 40:-40]
    assert 1 < moved_px.std() < 12
    assert abs(moved_px.mean()) < 2 * moved_px.std()
    assert not np.array_equal(bend(ground, 4).image, bend(ground, 3).image)
