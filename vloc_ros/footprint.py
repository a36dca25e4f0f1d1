"""What a process of ours takes of the machine: one thread for linear algebra, and memory that it takes once and keeps.

For the start of a process of our own; importing the package changes nothing in other programs.
"""

from __future__ import annotations

import os
import platform
import sys

from threadpoolctl import threadpool_limits

_MEGABYTE = 1 << 20
# glibc's variables (mallopt(3)). The largest threshold that it takes: a larger block, as of an image of many
# megapixels, goes back to the system when it is freed
ONE_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * _MEGABYTE),
    "MALLOC_TRIM_THRESHOLD_": str(128 * _MEGABYTE),
}
# the system takes glibc's variables from a process with privileges: to start that anew once is enough
_RESTARTED = "VLOC_ROS_RESTARTED"


def restart_on_one_heap() -> None:
    """Start this process anew where its environment lacks some of ONE_HEAP; what the user has set there stays.

    Left alone, glibc gives each thread a heap of its own, and which of OpenCV's threads takes a layer of an image's
    pyramid is chance: each heap grows until it has once held them all, a localizer for seven minutes, to 235 MB. On one
    heap it had 163 MB after three minutes at 30 Hz and 166 after twenty (`make soak`). An image by itself takes 0.91 to
    0.95 of the time, with a prior 1.00 to 1.02. A threshold of 200 kB saves 60 MB more, but clearing 10 to 19 thousand
    pages anew for each image takes 1.4 to 1.6 of its time; one of 2 MB takes 1.11, and the memory ends as high.

    From within a process it is too late: loading rclpy starts threads, and they have heaps.
    """
    if _RESTARTED in os.environ or os.environ.keys() >= ONE_HEAP.keys() or platform.libc_ver()[0] != "glibc":
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ONE_HEAP, **os.environ, _RESTARTED: "1"})


def one_blas_thread() -> None:
    """Have the BLAS libraries that are loaded by now (of NumPy, OpenCV, FAISS) calculate in the thread that calls them.

    The products of an image are small, and OpenBLAS's threads spin for milliseconds after each of them, on cores that
    OpenCV and other processes want. On two cores an image by itself took 73 ms in place of 96 and 112 ms of processor
    time in place of 193; with a prior 34 ms in place of 38, and 43 in place of 78. Other processes beside it make the
    difference larger. OpenCV keeps its threads: with one, an image took 105 ms.
    """
    threadpool_limits(limits=1, user_api="blas")
