"""The extra `models`, without which nothing here runs, and one model that all tests of exported models share."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch: pip install 'vloc_ros[models]'")
pytest.importorskip("onnxscript", reason="no onnxscript: pip install 'vloc_ros[models]'")

from published import skip_without

from vloc_ros.model_export.export import export_keypoint_model


@pytest.fixture(scope="session")
def xfeat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported XFeat."""
    skip_without("xfeat")
    folder = tmp_path_factory.mktemp("models") / "xfeat"
    export_keypoint_model("xfeat", folder)
    return folder
