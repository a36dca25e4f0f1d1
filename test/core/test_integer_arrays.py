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

import numpy as np

from vloc_ros.core.integer_arrays import begins_run, expand_ranges, sorted_unique


def test_runs_are_listed_one_after_the_other() -> None:
    np.testing.assert_array_equal(expand_ranges(np.array([5, 0, 9, 2]), np.array([2, 3, 0, 1])), [5, 6, 0, 1, 2, 2])
    assert len(expand_ranges(np.zeros(0, int), np.zeros(0, int))) == 0


def test_each_number_comes_once_in_order() -> None:
    for values in (np.array([5, 0, 5, 2, 0, 5], np.int32), np.zeros(0, np.int64), np.array([7])):
        found = sorted_unique(values)
        np.testing.assert_array_equal(found, np.unique(values))
        assert found.dtype == values.dtype


def test_a_run_begins_where_the_value_changes() -> None:
    assert begins_run(np.array([2, 2, 5, 7, 7, 7])).tolist() == [True, False, True, True, False, False]
    assert not len(begins_run(np.zeros(0, int)))
