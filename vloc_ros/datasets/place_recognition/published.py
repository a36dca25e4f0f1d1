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

"""Published data sets of place recognition: where they come from, by the name of their folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DOWNLOADER = "https://github.com/gmberton/VPR-datasets-downloader"
_SF_XL = "https://github.com/gmberton/CosPlace (SF-XL, on request; sf_xs is its small part)"


@dataclass(frozen=True, slots=True)
class PublishedDataset:
    """A data set that others publish figures on.

    Attributes:
        title: as papers call it.
        source: where it comes from.
        options: of `vloc place test`, to compare with what is published.
    """

    title: str
    source: str
    options: str = ""


PUBLISHED: Mapping[str, PublishedDataset] = {
    "pitts30k": PublishedDataset("Pitts30k", _DOWNLOADER),
    "pitts250k": PublishedDataset("Pitts250k", _DOWNLOADER),
    "tokyo247": PublishedDataset("Tokyo 24/7", _DOWNLOADER, "--method single_query"),
    "tokyo_xs": PublishedDataset("Tokyo-XS", _SF_XL),
    "tokyo_night": PublishedDataset("Tokyo-night", _SF_XL),
    "sf_xs": PublishedDataset("SF-XS", _SF_XL),
    "msls": PublishedDataset(
        "MSLS", f"https://www.mapillary.com/dataset/places, formatted by {_DOWNLOADER}", "--split val --separate-zones"
    ),
}


def source_of(folder: Path) -> str:
    """`; Pitts30k comes from ...`, by the name of a folder; empty for any other."""
    name = folder.name.lower().replace("-", "_")
    known = PUBLISHED.get(name)
    return f"; {known.title} comes from {known.source}" if known else "; name the folder above `images`"
