"""Text files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
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


def _explain(path: Path, error: OSError | UnicodeDecodeError) -> InputError:
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{path}: is not a text file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: cannot be read ({error.strerror}), expected a file; name the one in it")
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name")
    return InputError(f"{path}: cannot be read ({error.strerror})")
