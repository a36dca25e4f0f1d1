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

"""Errors of transform lookups, with the names and the meaning of tf2's."""


class TransformException(Exception):  # noqa: N818 - tf2's own name
    """Base of all of them."""


class LookupException(TransformException):
    """A frame is unknown, or the frames form a loop."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The frames are joined, but not at the requested time."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or begins with a slash."""
