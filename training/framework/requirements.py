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
