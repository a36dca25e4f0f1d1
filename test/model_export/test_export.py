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

"""An exported model is one file with everything inside, for images of any size, with a manifest that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.inference.models import read_model
from vloc_ros.model_export.export import NETWORKS, export_keypoint_model
from vloc_ros.model_export.onnx_files import open_session
from vloc_ros.model_export.parity import textured_image
from vloc_ros.storage.atomic import StorageError


@pytest.fixture(scope="module")
def session(xfeat_folder: Path):
    return open_session((xfeat_folder / "model.onnx").read_bytes())


def run(session, image, *, count=500, min_score=0.0):
    feeds = {"image": image, "max_keypoints": np.array([count]), "min_score": np.array([min_score], np.float32)}
    return session.run(["keypoints", "scores", "descriptors"], feeds)


@pytest.mark.slow
def test_the_manifest_says_what_the_model_takes_and_where_it_comes_from(xfeat_folder: Path) -> None:
    model = read_model(xfeat_folder, kind="keypoints")
    assert model.entry("inputs", "image") == {"dtype": "uint8", "shape": ["N", "N"]}
    assert model.entry("inputs", "max_keypoints") == {"dtype": "int64", "shape": [1]}
    assert model.entry("inputs", "min_score") == {"dtype": "float32", "shape": [1]}
    assert model.entry("outputs", "keypoints") == {"dtype": "float32", "shape": ["N", 2]}
    assert model.entry("outputs", "descriptors") == {"dtype": "float32", "shape": ["N", 64]}
    assert (model.entry("name"), model.entry("extractor")) == ("xfeat", "xfeat")
    assert model.entry("image") == {"color": "grey", "stride": 32, "min_size": 64}
    assert model.entry("keypoints", "convention") == "colmap"
    assert model.entry("source", "weights_sha256") == NETWORKS["xfeat"].weights.sha256
    assert model.entry("license", "name") == "Apache-2.0"
    assert "Apache License" in model.entry("license", "text")


@pytest.mark.slow
def test_the_graph_is_one_file(xfeat_folder: Path) -> None:
    assert sorted(path.name for path in xfeat_folder.iterdir()) == ["manifest.json", "model.onnx", "references.npz"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (96, 352), (480, 640)])
def test_images_of_any_size_give_keypoints_inside(session, size: tuple[int, int]) -> None:
    keypoints, scores, descriptors = run(session, textured_image(size, color="grey"))
    assert len(keypoints) == len(scores) == len(descriptors) > 50
    assert (keypoints >= 0).all()
    assert (keypoints <= [size[1], size[0]]).all()
    assert (np.diff(scores) <= 0).all()
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-4)


@pytest.mark.slow
def test_an_image_may_have_no_keypoint(session) -> None:
    image = textured_image((64, 96), color="grey")
    for limit in ({"min_score": 1.5}, {"count": 0}):
        assert [output.shape for output in run(session, image, **limit)] == [(0, 2), (0,), (0, 64)]


@pytest.mark.slow
def test_more_keypoints_may_be_wanted_than_there_are(session) -> None:
    assert 0 < len(run(session, np.zeros((64, 96), np.uint8), count=10**6)[0]) < 64 * 96


def test_an_unknown_network_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'superpoint', expected one of xfeat, aliked-n16, aliked-t16"):
        export_keypoint_model("superpoint", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    reports: list[object] = []
    with pytest.raises(StorageError, match=r"letter\.txt"):
        export_keypoint_model("xfeat", tmp_path, report=reports.append)
    assert reports == []
