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

"""Text files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vloc_ros.core.errors import InputError

_MAX_BYTES = 256 * 1024 * 1024


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        InputError: the file is missing, a folder, unreadable, implausibly large, or no text.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path}: has {size} bytes, expected a text file of at most {_MAX_BYTES}")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _explain(path, error) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line of a UTF-8 file of any size, as they are asked for; numbers begin with 1.

    Raises:
        InputError: the file is missing, a folder, unreadable, or no text.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from enumerate(file, start=1)
    except (OSError, UnicodeDecodeError) as error:
        raise _explain(path, error) from error


def split_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and words of the lines that hold any; `#` starts a comment, commas and blanks divide."""
    for number, line in enumerate(text.splitlines(), start=1):
        if words := line.split("#", 1)[0].replace(",", " ").split():
            yield number, words


def number_of(word: str) -> float:
    """A word as a number; Python alone would read `1_0` as 10.

    Raises:
        ValueError: it is none.
    """
    if "_" in word:
        raise ValueError(f"could not convert string to float: {word!r}")
    return float(word)


def integer_of(word: str) -> int:
    """A word as a whole number; Python alone would read `1_0` as 10.

    Raises:
        ValueError: it is none.
    """
    if "_" in word:
        raise ValueError(f"invalid literal for int(): {word!r}")
    return int(word)


def numbers_of(words: Sequence[str]) -> list[float]:
    """Words as numbers.

    Raises:
        InputError: one is none.
    """
    try:
        return [number_of(word) for word in words]
    except ValueError as error:
        raise InputError(f"{error}, expected numbers") from None


@contextmanager
def naming_file(path: Path, *, line: int = 0, what: str = "") -> Iterator[None]:
    """Errors of input that is read meanwhile name its file, and where or what in it, unless they begin with it.

    Raises:
        InputError: one, of its own kind, with the name.
    """
    try:
        yield
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        where = f"{path}, line {line}" if line else f"{path}"
        raise type(error)(f"{where}: {what and f'{what}: '}{error}") from error


def _explain(path: Path, error: OSError | UnicodeDecodeError) -> InputError:
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{path}: is not a text file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: cannot be read ({error.strerror}), expected a file; name the one in it")
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name")
    return InputError(f"{path}: cannot be read ({error.strerror})")
