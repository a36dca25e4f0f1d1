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

"""VXP's voxels, visibility and stages."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from cross_modal_data import write_drive
from toy_task import flatten_weights

from training.cross_modal.records import RecordSet
from training.cross_modal.sources import read_records
from training.cross_modal.voxel import train as voxel_train
from training.cross_modal.voxel.config import STAGES, VoxelConfig, build_config
from training.cross_modal.voxel.losses import hardest_triplet_loss, local_loss
from training.cross_modal.voxel.task import VoxelTask
from training.cross_modal.voxel.voxelization import project_grid, voxelize
from training.framework.run import TrainedNetwork, train
from training.framework.run_folder import LAST, open_run
from training.networks.sparse_convolution import SparseVoxels
from training.place_recognition.encoders import InitialWeights
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera

VOXELS = VoxelConfig(points=4, most=10)
SMALL = ("image.backbone=resnet10t",
         "image.height=64", "image.width=64", "image.stride=16", "image.dimension=8", "voxels.channels=2",
         "voxels.side_m=2", "voxels.height_m=1", "voxels.most=100", "fit.epochs=1", "fit.batches=2", "fit.places=3",
         "fit.accelerator=cpu", "fit.learning_rate=0.01")  # fmt: skip


def test_voxels_hold_their_points() -> None:
    cloud = np.array([[10.1, 0.1, 0.1]] * 6 + [[30.1, -5.0, 1.0], [60.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    found = voxelize(cloud, np.arange(9.0), VOXELS)
    assert found.counts.tolist() == [4, 1]  # the nearest first, with four of its six points
    assert found.indices.tolist() == [[25, 55, 20], [75, 42, 25]]
    np.testing.assert_allclose(found.points[1, 0], [30.1, -5.0, 1.0, 6 / 8, 0, 0, 0], atol=1e-6)
    assert not found.points[1, 1:].any()
    with pytest.raises(InputError, match="camera_from_lidar"):
        voxelize(cloud[-2:], None, VOXELS)


def test_the_nearest_voxels_are_kept() -> None:
    cloud = np.column_stack([np.linspace(1, 40, 50), np.zeros(50), np.zeros(50)])
    found = voxelize(cloud, None, replace(VOXELS, most=10))
    assert len(found.counts) == 10
    assert found.points[:, 0, 0].max() < 12


def test_the_grid_is_seen_where_the_camera_projects_it() -> None:
    camera = Camera("PINHOLE", 100, 80, (50.0, 50.0, 50.0, 40.0))
    shares, depths = project_grid(VOXELS, camera)
    assert shares.shape == (28, 28, 28, 2)
    x, y, z = (10 * 4 + 0.5) * 0.4, (14 * 4 + 0.5) * 0.4 - 22.0, (6 * 4 + 0.5) * 0.2 - 4.0
    np.testing.assert_allclose(shares[10, 14, 6], [(50 - 50 * y / x) / 100, (40 - 50 * z / x) / 80], atol=1e-5)
    assert depths[10, 14, 6] == pytest.approx(x)
    assert np.isnan(shares[0, 0, 0]).all()  # beside the camera


def test_what_is_hidden_teaches_nothing() -> None:
    indices = torch.tensor([[0, 1, 0, 0], [0, 5, 0, 0]])
    voxels = SparseVoxels(torch.tensor([[1.0], [100.0]]), indices, (6, 1, 1), 1)
    shares, local = torch.full((1, 6, 1, 1, 2), 0.4), torch.ones(1, 1, 2, 2)
    depths = torch.arange(1.0, 7.0).view(1, 6, 1, 1)
    assert float(local_loss(voxels, local, shares, depths, visible_m=1.0)) == 0.0
    assert float(local_loss(voxels, local, shares, depths, visible_m=5.0)) > 10.0
    nowhere = local_loss(voxels, local, torch.full_like(shares, torch.nan), depths, visible_m=5.0)
    assert float(nowhere) == 0.0


def test_triplets_are_the_hardest() -> None:
    found = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    positive = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    negative = ~positive & ~torch.eye(3, dtype=torch.bool)
    loss = hardest_triplet_loss(found, positive, negative, margin=0.3)
    # both anchors are sqrt 2 from their positive; their negative is at 0 and at sqrt 2
    assert float(loss) == pytest.approx((0.3 + 2**0.5 + 0.3) / 2, abs=1e-3)


def test_a_run_leaves_nothing_of_an_earlier_one_to_resume(
    records: RecordSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command's stages, interrupted in the second one, after a whole run."""
    calls, folders = [], [tmp_path / "model.run" / stage for stage in STAGES]
    for folder in folders:
        open_run(folder, VoxelConfig(), {}, resume=False)
        (folder / LAST).write_bytes(b"of an earlier run")

    def interrupted(task: VoxelTask, folder: Path, *, sources: dict[str, Any], resume: bool) -> Any:
        calls.append((sources["stage"], sources["earlier"], resume))
        if task.stage == STAGES[1]:
            raise KeyboardInterrupt
        return TrainedNetwork(task.build_network().eval(), {})

    monkeypatch.setattr(voxel_train, "train", interrupted)
    args, config = (
        Namespace(run=tmp_path / "model.run", resume=False, out=tmp_path / "model"),
        build_config("small", SMALL),
    )
    with pytest.raises(KeyboardInterrupt):
        voxel_train._train_stages(args, config, (records, records), InitialWeights(), {})
    assert not any((folder / LAST).exists() for folder in folders)
    assert [(stage, resume) for stage, _, resume in calls] == [(STAGES[0], False), (STAGES[1], False)]
    assert calls[0][1] is None
    assert len(calls[1][1]) == 64
    args.resume = True
    with pytest.raises(KeyboardInterrupt):
        voxel_train._train_stages(args, config, (records, records), InitialWeights(), {})
    assert [resume for _, _, resume in calls[2:]] == [True, False]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    root = tmp_path_factory.mktemp("voxels")
    starts = {"00": 0.0, "01": 2.0}
    drives = [write_drive(root, name, world=1, first_m=start, count=5) for name, start in starts.items()]
    return RecordSet.join([[read_records(folder) for folder in drives]])


def test_each_stage_trains_its_own_part(records: RecordSet, tmp_path: Path) -> None:
    config, earlier = build_config("small", SMALL), None
    for stage in STAGES:
        task = VoxelTask(records, records, config, stage=stage, initial=InitialWeights(), earlier=earlier)
        before = task.build_network()
        task.initialise(before)
        start = {name: flatten_weights(part) for name, part in before.named_children()}
        found = train(task, tmp_path / stage)
        # the second and third stages begin where the one before ended
        changed = {name: not np.array_equal(start[name], flatten_weights(part)) for name, part in
                   found.network.named_children()}  # fmt: skip
        assert changed[("voxels", "image")[stage == "images"]]
        if stage != "images":
            assert not changed["image"]
        earlier = found.network.state_dict()
    rows = task.describe(found.network, records)
    np.testing.assert_allclose([np.linalg.norm(part, axis=1) for part in rows.values()], 1.0, atol=1e-5)
    assert "R@1 3D-2D 20 m" in found.held_out
