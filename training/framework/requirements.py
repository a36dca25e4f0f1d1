"""What the commands `python -m training.NAME` need. Their modules import it at the top, so it is checked before."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Sequence

_PACKAGE = "training."
_PYTORCH = ("torch", "lightning", "timm", "safetensors", "tensorboard", "onnx", "scipy")
# commands that need something else than PyTorch
_OTHERS = {"training.acceptance": ("scipy", "matplotlib")}


def end_without_libraries(words: Sequence[str]) -> None:
    """End the process with one line if it is to run a command of training whose libraries are missing.

    Args:
        words: of the process, `sys.orig_argv`.
    """
    command = next((module for flag, module in itertools.pairwise(words) if flag == "-m"), "")
    if not command.startswith(_PACKAGE):
        return
    missing = [name for name in _OTHERS.get(command, _PYTORCH) if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{command.removeprefix(_PACKAGE)}: {', '.join(missing)} not installed; `make training` installs them "
            "into .venv, pip install -e '.[mapping,evaluation,training]' into another one; not needed on a robot"
        )
