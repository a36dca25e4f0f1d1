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

"""The stand-in for tf2_ros, installed by `make setup` where no real tf2_ros can be imported, and nowhere else."""

from setuptools import setup

setup(
    name="vloc-wheel-ros-tf2",
    version="0.1.0",
    description="The part of tf2_ros that vloc_ros's nodes call, for an environment whose ROS 2 comes from wheels",
    license="Apache-2.0",
    packages=["tf2_ros"],
    python_requires=">=3.10",
    zip_safe=False,
)
