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

"""The processes of a live evaluation end, whatever they do; domains are shared with nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vloc_ros.evaluation import live_processes
from vloc_ros.evaluation.live_processes import Children, NodeError, free_domain

# says that it is ready, and then hears neither SIGINT nor SIGTERM
_STUBBORN = "import signal as s; [s.signal(n, s.SIG_IGN) for n in (2, 15)]; print('up', flush=True); s.pause()"


def test_a_node_that_does_not_end_is_killed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_processes, "_GRACE_S", 0.1)
    child = subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout, Children({}, tmp_path) as children:
        assert child.stdout.readline() == b"up\n"
        children._children["recorder"] = child
        (tmp_path / "recorder.log").write_text("still waiting\n")
        with pytest.raises(NodeError, match="the node recorder ended with -9: still waiting"):
            children.end_of("recorder", within_s=0.0)
    assert child.returncode == -9


def test_domains_are_shared_with_no_other_run_whatever_its_folder_for_temporary_files(tmp_path: Path) -> None:
    with free_domain() as first, free_domain() as second:
        assert first["ROS_DOMAIN_ID"] != second["ROS_DOMAIN_ID"]
        imported = "from vloc_ros.evaluation.live_processes import free_domain"
        source = f"{imported}\nwith free_domain() as e: print(e['ROS_DOMAIN_ID'])"
        elsewhere = {**os.environ, "TMPDIR": str(tmp_path)}
        other = subprocess.run(
            [sys.executable, "-c", source], check=True, capture_output=True, text=True, timeout=300, env=elsewhere
        ).stdout
        assert other.strip() not in (first["ROS_DOMAIN_ID"], second["ROS_DOMAIN_ID"])


def test_tests_and_evaluations_take_their_domain_from_one_place(ros_domain: int) -> None:
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    with free_domain() as environment:
        assert environment["ROS_DOMAIN_ID"] != str(ros_domain)
