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

"""Self-contained HTML pages from templates: no script, style, font or image is loaded from anywhere else.

Templates, styles and scripts lie in `pages/`. Whatever comes from outside, such as names of images, is escaped.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_OPTION = re.compile(r"--[a-z][a-z-]*")
_FOLDER = Path(__file__).parent / "pages"


def render_page(template: str, data: Any, **values: Any) -> str:
    """Render a page.

    Args:
        template: file name in `pages/`.
        data: what the page's script draws, as values for JSON; in templates `data`.
        values: what the template shows.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["part"] = _part
    environment.filters["mark_options"] = _mark_options
    return environment.get_template(template).render(data=_embed_json(data), **values) + "\n"


def image_address(image: bytes, kind: str) -> str:
    """A data address of an image of MIME type image/`kind`."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _part(name: str) -> Markup:
    """A style or script of the package, which is put into a page as it is."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _mark_options(text: str) -> Markup:
    """Text with its command line options as code."""
    return Markup(_OPTION.sub(r"<code>\g<0></code>", str(escape(text))))


def _embed_json(data: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
