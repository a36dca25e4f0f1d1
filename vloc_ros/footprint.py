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

"""Resources of a process: one thread for linear algebra, and one heap, which does not grow.

Only the entry points of vloc_ros call this; importing the package changes nothing in other programs.
"""

from __future__ import annotations

import os
import platform
import sys
import threading

from threadpoolctl import ThreadpoolController

_MEGABYTE = 1 << 20
# variables of glibc (mallopt(3)). The mmap threshold is the largest that glibc accepts; larger blocks, as of images of
# many megapixels, return to the system when they are freed
ONE_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * _MEGABYTE),
    "MALLOC_TRIM_THRESHOLD_": str(128 * _MEGABYTE),
}
# marks a restarted process: the system removes glibc's variables from one with privileges, which must not loop
_RESTARTED = "VLOC_ROS_RESTARTED"
_pools: ThreadpoolController | None = None


def restart_on_one_heap() -> None:
    """Restart this process if its environment lacks some of ONE_HEAP; values that the user has set stay.

    By default glibc gives each thread a heap, and the layers of an image's pyramid fall to OpenCV's threads at random.
    Each heap grows until it has held all layers: a localizer grew for seven minutes, to 235 MB. With one heap it had
    163 MB after three minutes at 30 Hz and 166 MB after twenty (`make soak`). An image without a prior takes 0.91 to
    0.95 of the time, with a prior 1.00 to 1.02. A threshold of 200 kB saves 60 MB more, but clears 10 to 19 thousand
    pages for each image, which takes 1.4 to 1.6 of its time. One of 2 MB takes 1.11 and saves no memory.

    A running process cannot change this: loading rclpy starts threads, which have heaps.
    """
    if _RESTARTED in os.environ or os.environ.keys() >= ONE_HEAP.keys() or platform.libc_ver()[0] != "glibc":
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ONE_HEAP, **os.environ, _RESTARTED: "1"})


def limit_blas_threads() -> None:
    """Limit the loaded BLAS libraries (of NumPy, OpenCV, FAISS) to the calling thread.

    Every thread that calculates calls it: the BLAS of FAISS is built for OpenMP, which has a limit for each thread.
    With another number of threads products are rounded otherwise, and a result differs in the last digits.

    The products of an image are small, and OpenBLAS's threads spin for milliseconds after each, on cores that OpenCV
    and other processes need. On two cores an image without a prior took 73 ms instead of 96, and 112 ms of processor
    time instead of 193; with a prior 34 ms instead of 38, and 43 ms instead of 78. The gain is larger beside other
    processes. OpenCV keeps its threads: with one, an image took 105 ms.
    """
    find_thread_pools().limit(limits=1, user_api="blas")


def find_thread_pools() -> ThreadpoolController:
    """Return the libraries that are loaded, as of the last call by the main thread, or of the first by any.

    To find them, threadpoolctl before 3.7 waits for the interpreter while it holds the loader's lock. A thread that
    imports, or loads the type support of a message, waits for that lock and holds the interpreter: neither goes on.
    """
    global _pools
    if _pools is None or threading.current_thread() is threading.main_thread():
        _pools = ThreadpoolController()
    return _pools
