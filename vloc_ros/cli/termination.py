"""What ends a command from outside: SIGTERM is taken as Ctrl-C is, with one line and nothing half-written."""

from __future__ import annotations

import signal
import threading


def end_on_sigterm() -> None:
    """Take SIGTERM as an interrupt.

    To be called again after pycolmap is imported: its logging library takes the signal for a stack trace of its own.
    """
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        signal.signal(signal.SIGTERM, signal.default_int_handler)
