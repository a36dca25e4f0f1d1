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

"""What ends a command from outside.

SIGTERM is taken as Ctrl-C is, with one line and nothing half-written. A reader that goes away, as `head` does, ends it
with none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading


def end_on_sigterm() -> None:
    """Take SIGTERM as an interrupt.

    To be called again after pycolmap is imported: its logging library takes the signal for a stack trace of its own.
    """
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def unread() -> int:
    """The exit code of a command whose standard output nobody reads any more: what SIGPIPE gives other commands.

    What is left in the buffer goes nowhere; the interpreter would try it again at its end, and complain.
    """
    with contextlib.suppress(OSError, ValueError):  # not a file, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return 128 + signal.SIGPIPE
