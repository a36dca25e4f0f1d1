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

"""The one exception base of the package.

A `VlocError` is an expected failure: its message is one line that says what was found, what was expected and
what to do. Commands print it and exit with code 1; any other exception is a bug and keeps its traceback.
"""


class VlocError(Exception):
    """Base of every expected failure."""


class InputError(VlocError):
    """Something handed in (a file, an array, an option) cannot be used."""


class ConfigError(VlocError):
    """A parameter is unknown, of the wrong type or out of its range."""


class MapError(VlocError):
    """A map is missing, damaged, of another format, or does not fit what it is used with."""


class ModelError(VlocError):
    """A learned model is missing, damaged, of another format, or does not fit the map that it is used with."""


class EngineMissingError(ModelError):
    """No engine of a model that fits this machine has been built."""


class ClusterError(VlocError):
    """A cluster cannot be reached, its workers run other code, or they died too often."""


class MissingDependencyError(VlocError):
    """An optional library is not installed; the message says how to get it."""
