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

"""Completion of `vloc` in a shell, by argcomplete, which loads only the module of the command that is being typed."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Mapping


def complete(commands: Mapping[tuple[str, ...], tuple[str, str]]) -> None:
    """Answer the shell, and end the process; without argcomplete there is nothing to answer with.

    Args:
        commands: words -> module in vloc_ros.cli, and one line of help.
    """
    try:
        import argcomplete
    except ModuleNotFoundError:
        return
    typed = os.environ.get("COMP_LINE", "").split()[1:]
    argcomplete.autocomplete(build_parser(commands, typed), always_complete_options=False)


def build_parser(commands: Mapping[tuple[str, ...], tuple[str, str]], typed: list[str]) -> argparse.ArgumentParser:
    """One parser of all commands, with the options of the one that was typed."""
    top = argparse.ArgumentParser(prog="vloc")
    top.add_argument("--version", action="version", version="")
    groups = {(): top.add_subparsers()}
    for command, (module, summary) in commands.items():
        *group, name = command
        for depth, word in enumerate(group, start=1):
            if tuple(group[:depth]) not in groups:
                groups[tuple(group[:depth])] = groups[tuple(group[: depth - 1])].add_parser(word).add_subparsers()
        parser = groups[tuple(group)].add_parser(name, help=summary)
        if tuple(typed[: len(command)]) == command:
            importlib.import_module(f"vloc_ros.cli.{module}").register(parser)
    return top
