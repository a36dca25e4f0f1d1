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

"""One declaration per parameter: its default is valid, its range is enforced, unknown names fail."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vloc_ros.core.config import (
    LocalizerConfig,
    MatcherConfig,
    Parameter,
    PoseConfig,
    config_from_mapping,
    parameters_of,
)
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.parameter_names import RENAMED_PARAMETERS, explain_renamed_parameter
from vloc_ros.node_config import LocalizerNodeConfig

_ALL = [*parameters_of(LocalizerConfig()), *parameters_of(RootSiftConfig(), "extractor.")]
_LISTS = {"inference.warm_up_sizes"}  # text that its class parses, and refuses where it has another form


@pytest.mark.parametrize("parameter", _ALL, ids=lambda p: p.name)
def test_every_parameter_is_described_and_bounded(parameter: Parameter) -> None:
    assert parameter.description
    assert parameter.description[0].islower() or parameter.description.split()[0].isupper()
    assert not parameter.description.endswith(".")
    if parameter.name in _LISTS:
        assert not parameter.choices
    elif isinstance(parameter.value, str):
        assert parameter.value in parameter.choices
    elif not isinstance(parameter.value, bool):
        assert parameter.low is not None
        assert parameter.high is not None
        assert parameter.low <= parameter.value <= parameter.high
    for suffix in ("m", "px"):
        assert parameter.name.endswith(f"_{suffix}") == (parameter.unit == suffix)


def test_names_are_dotted_and_unique() -> None:
    names = [p.name for p in _ALL]
    assert "matcher.ratio" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ratio": 1.5}, "parameter ratio is 1.5, expected 0.1 to 1.0"),
        ({"ratio": 0.05}, "expected 0.1 to 1.0"),
        ({"ratio": float("nan")}, "expected 0.1 to 1.0"),
        ({"ratio": "high"}, "expected a float"),
        ({"ratio": True}, "expected a float"),
        ({"ratio": None}, "expected a float"),
        ({"search_breadth": 64.0}, "expected a int"),
        ({"search_breadth": True}, "expected a int"),
        ({"search_breadth": 0}, "expected 1 to 4096"),
        ({"same_place_radius_m": -1}, "to 100.0 m"),
    ],
)
def test_values_outside_their_declaration(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        MatcherConfig(**values)  # type: ignore[arg-type]


def test_choices() -> None:
    with pytest.raises(ConfigError, match="parameter name is 'orb', expected one of rootsift"):
        RootSiftConfig(name="orb")


def test_whole_numbers_become_floats() -> None:
    assert type(PoseConfig(max_error_px=4).max_error_px) is float


def test_from_nested_mappings() -> None:
    config = config_from_mapping(LocalizerConfig, {"matcher": {"ratio": 0.8}, "pose": {}})
    assert config.matcher.ratio == 0.8
    assert config.pose == PoseConfig()
    assert config_from_mapping(LocalizerConfig, {}) == LocalizerConfig()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"nonsense": {}}, "unknown parameter nonsense, expected one of candidates, matcher"),
        ({"matcher": {"xyzzy": 0.8}}, "unknown parameter matcher.xyzzy, expected one of ratio, same_place_radius_m"),
        ({"matcher": {"ration": 0.8}}, r"unknown parameter matcher\.ration, did you mean matcher\.ratio\?"),
        ({"match": {"ratio": 0.8}}, r"unknown parameter match\.ratio, did you mean matcher\.ratio\?"),
        ({"verification": {"max_error_px": 6}}, r"verification\.max_error_px, did you mean pose\.max_error_px\?"),
        ({"max_error_px": 6}, r"unknown parameter max_error_px, did you mean pose\.max_error_px\?"),
        ({"matcher": 0.8}, "parameter matcher is 0.8, expected a group"),
        ({"matcher": None}, "expected a group"),
        ({"matcher": {"ratio": 2}}, "expected 0.1 to 1.0"),
        ({"matcher": {"max_distance_in_window": 0.6}}, "parameter matcher.max_distance_in_window was removed"),
        ({"candidates": {"retrieval": "student"}}, "parameter retrieval is 'student', which is now 'model'"),
    ],
)
def test_bad_mappings(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config_from_mapping(LocalizerConfig, values)


def test_every_parameter_goes_through_a_mapping() -> None:
    values: dict[str, dict[str, object]] = {}
    for parameter in parameters_of(LocalizerConfig()):
        group, name = parameter.name.split(".")
        values.setdefault(group, {})[name] = parameter.value
    assert set(values) == {f.name for f in fields(LocalizerConfig)}
    assert config_from_mapping(LocalizerConfig, values) == LocalizerConfig()


@pytest.mark.parametrize(("former", "now"), RENAMED_PARAMETERS.items())
def test_a_former_name_is_refused_by_its_new_one(former: str, now: str) -> None:
    group, _, name = former.partition(".")
    values = {group: {name: 0.1}} if name else {group: {}}
    with pytest.raises(ConfigError) as error:
        config_from_mapping(LocalizerConfig, values)
    assert f"parameter {former} " in str(error.value)
    assert now in str(error.value)
    assert explain_renamed_parameter(former) == str(error.value)


def test_new_names_are_parameters_and_former_ones_are_not() -> None:
    configurations = (LocalizerConfig(), LocalizerNodeConfig())
    names = {parameter.name for configuration in configurations for parameter in parameters_of(configuration)}
    groups = {name.partition(".")[0] for name in names}
    assert set(RENAMED_PARAMETERS.values()) <= names | groups
    assert not (names | groups) & RENAMED_PARAMETERS.keys()
    assert all(explain_renamed_parameter(name) is None for name in names)


def test_a_former_group_is_refused_whatever_it_holds() -> None:
    for value in (3, None, {"unknown": 1}, {"unknown": 1, "places": "none"}):
        with pytest.raises(ConfigError, match=r"parameter proposals\S* is now candidates"):
            config_from_mapping(LocalizerConfig, {"proposals": value})
