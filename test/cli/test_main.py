"""What ends a command: missing libraries and signals from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vloc_ros.cli.main import main


@pytest.mark.parametrize(("module", "remedy"), [("pycolmap", "pip install pycolmap"), ("rosbags", "pip install")])
def test_a_missing_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, module: str, remedy: str
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == module or name.startswith(("vloc_ros.mapping", "vloc_ros.bags")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    words = ["map", "build", "--bag", str(tmp_path), "--out", str(tmp_path / "map")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{module} is not installed" in error
    assert remedy in error


def test_a_module_that_no_installation_lacks_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vloc_ros.storage.cameras", None)
    with pytest.raises(ModuleNotFoundError):
        main(["localize", "--map", "m", "--images", "i", "--camera", "c", "--out", "o"])


# pycolmap takes SIGTERM for itself when it is imported, which is after the command has begun
_BUILD = """
import os, signal, sys
from vloc_ros.cli.main import main
from vloc_ros.storage import images
read = images.read_image
def read_image(path):
    os.kill(os.getpid(), signal.SIGTERM)
    return read(path)
images.read_image = read_image
sys.exit(main(sys.argv[1:]))
"""


def test_a_terminated_build_ends_with_one_line_and_no_map(scene_folder, tmp_path: Path) -> None:
    options = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    words = ["map", "build", *options, "--out", tmp_path / "map"]
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, *map(str, words)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "vloc: interrupted, nothing was left half-written"
    assert "***" not in done.stderr, "the stack trace of pycolmap's logging library"
    assert list(tmp_path.iterdir()) == []
