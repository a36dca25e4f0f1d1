"""Text files, with errors that name the file."""

from __future__ import annotations

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
    except IsADirectoryError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file; name the one in it") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file") from None
