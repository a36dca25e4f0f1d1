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

"""The argument parser of every command: an option that is mistyped is answered with the nearest one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from vloc_ros.core.spelling import nearest_name

_CHOICE = re.compile(r"argument (?P<option>\S+): invalid choice: '(?P<found>[^']*)' \(choose from (?P<choices>.*)\)")


class CommandParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that keeps the line breaks of the description."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
        self._given: list[str] = []

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, and keep the words for the message of an error."""
        self._given = list(args)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with the message and the nearest option or choice: one that is required may be there, mistyped.

        The usage of some commands is longer than a screen is high, and hides the message: `--help` has it.
        """
        options = list(self._option_string_actions)
        words = (word.partition("=")[0] for word in self._given if word.startswith("--"))
        unknown = [word for word in words if word != "--" and not any(name.startswith(word) for name in options)]
        hints = [f"{word}: did you mean {near}?" for word in unknown if (near := nearest_name(word, options))]
        hints += self._nearest_choices(message)
        listed = f"`{self.prog} --help` lists the options"
        self.exit(2, f"{self.prog}: error: {'; '.join([message, *hints, listed])}\n")

    def _nearest_choices(self, message: str) -> list[str]:
        """What was meant by a word that is none of an option's choices."""
        invalid = _CHOICE.match(message)
        if invalid is None:
            return []
        choices = re.findall(r"[\w.-]+", invalid["choices"])
        near = nearest_name(invalid["found"], choices, similarity=0.6)
        return [f"did you mean {invalid['option']} {near}?"] if near else []
