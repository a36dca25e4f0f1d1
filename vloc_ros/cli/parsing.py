"""The argument parser of every command: an option that is mistyped is answered with the nearest one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from vloc_ros.core.spelling import nearest_name


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
        """End with the usage, the message and the nearest option: one that is required may be there, mistyped."""
        options = list(self._option_string_actions)
        words = (word.partition("=")[0] for word in self._given if word.startswith("--"))
        unknown = [word for word in words if word != "--" and not any(name.startswith(word) for name in options)]
        hints = [f"{word}: did you mean {near}?" for word in unknown if (near := nearest_name(word, options))]
        super().error("; ".join([message, *hints]))
