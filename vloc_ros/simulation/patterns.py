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

"""Procedural textures of walls, floors, furniture and pictures. Each pattern takes two generators and a size.

`style` draws what all pieces of a product share (tone, stripe width, brick size), `rng` what is individual to a piece.
All images are (height, width, 3) uint8 BGR reflectances; `px_per_m` sets the physical size of bricks, grain, letters.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array

Generator = np.random.Generator
Pattern = Callable[[Generator, Generator, int, int, float], Array]
_ROUGHNESS = 0.85  # amplitude of an octave over the coarser one, about as in photographs of painted walls and floors
_BAND_PX = 1 << 16
_LETTERS = "ABCDEFGHKLMNPRSTUVXYZabcdefghkmnprstuvxyz0123456789"


def fractal_noise(rng: Generator, height: int, width: int, coarsest_px: float, finest_px: float) -> Array:
    """(height, width) float32 noise of unit variance, octaves from `coarsest_px` down to `finest_px`."""
    total = np.zeros((height, width), np.float32)
    size_px, weight = coarsest_px, 1.0
    while size_px >= finest_px:
        rows, columns = max(2, int(height / size_px) + 2), max(2, int(width / size_px) + 2)
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        octave = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        octave *= np.float32(weight)
        total += octave
        size_px, weight = size_px / 2.0, weight * _ROUGHNESS
    mean, deviation = total.mean(), max(float(total.std()), 1e-6)
    total -= mean
    total /= np.float32(deviation)
    return total


def plaster(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A painted wall: nearly plain, faint unevenness, a few marks."""
    base = style.uniform(150, 215) + style.uniform(-12, 12, 3)
    canvas = _shade(base, 4.5, fractal_noise(rng, height, width, 0.8 * px_per_m, 2.0))
    for _ in range(int(rng.poisson(14.0 * height * width / px_per_m**2))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.uniform(0.003, 0.025) * px_per_m) + 1, int(rng.uniform(0.002, 0.012) * px_per_m) + 1)
        cv2.ellipse(
            canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, (base * rng.uniform(0.72, 1.12)).tolist(), -1
        )
    return canvas


def wallpaper(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Vertical stripes of uneven tone."""
    base, contrast = _colour(style, 120, 200, spread=18), style.uniform(8, 18)
    stripe_px = max(2.0, style.uniform(0.06, 0.15) * px_per_m)
    stripes = np.sign(np.sin(np.arange(width, dtype=np.float32) * (np.pi / stripe_px)))
    noise = fractal_noise(rng, height, width, 0.5 * px_per_m, 2.0)
    return _to_image(base + (contrast * stripes[None] + 8.0 * noise)[..., None])


def wood(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Grain along the width."""
    slow = fractal_noise(rng, height, max(4, width // 8), 0.25 * px_per_m, 4.0)
    slow = cv2.resize(slow, (width, height), interpolation=cv2.INTER_CUBIC)
    rows = np.arange(height, dtype=np.float32)[:, None] / px_per_m
    rings = np.sin(2 * np.pi * (rows * style.uniform(15, 30) + 1.2 * slow))
    fibres = cv2.resize(fractal_noise(rng, height, max(4, width // 16), 12.0, 1.0), (width, height))
    tone = np.array([60, 95, 140]) * style.uniform(0.6, 1.3)
    canvas = _to_image(tone + (9.0 * rings + 12.0 * fibres + 6.0 * slow)[..., None])
    _knots(canvas, rng, px_per_m)
    return canvas


def _knots(canvas: Array, rng: Generator, px_per_m: float) -> None:
    height, width = canvas.shape[:2]
    for _ in range(int(rng.poisson(3.0 * height * width / px_per_m**2))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.uniform(0.01, 0.03) * px_per_m) + 1, int(rng.uniform(0.006, 0.012) * px_per_m) + 1)
        tone = canvas[centre[1], centre[0]].astype(float) * rng.uniform(0.4, 0.7)
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(-15, 15)), 0, 360, tone.tolist(), -1, cv2.LINE_AA)


def brick(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Courses of bricks of varying tone."""
    return _courses(rng, height, width, px_per_m, (0.24, 0.08), np.array([70, 85, 150]) * style.uniform(0.7, 1.2), 0.5)


def tiles(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Square tiles with joints, some stained."""
    side_m = style.uniform(0.25, 0.4)
    return _courses(rng, height, width, px_per_m, (side_m, side_m), _colour(style, 110, 190, spread=18), 0.0)


def _courses(
    rng: Generator,
    height: int,
    width: int,
    px_per_m: float,
    size_m: tuple[float, float],
    tone: Array,
    offset: float,
) -> Array:
    step_x, step_y = size_m[0] * px_per_m, size_m[1] * px_per_m
    canvas = np.full((height, width, 3), 150, np.uint8)
    joint_px = max(1.0, 0.008 * px_per_m)
    rows, columns = int(height / step_y) + 1, int(width / step_x) + 2
    drawn = rng.normal([1.0, 0.0, 0.0, 0.0], [0.1, 3.0, 3.0, 3.0], (rows, columns, 4))
    colours = np.rint(np.clip(tone * drawn[..., :1] + drawn[..., 1:], 0, 255)).astype(np.uint8)
    for row in range(rows):
        x, y = np.arange(columns) * step_x - offset * step_x * (row % 2), row * step_y
        of_pixel = np.full(width, -1)
        for column, ends in enumerate(np.sort(np.column_stack([x + joint_px, x + step_x - 1]).astype(int))):
            of_pixel[max(ends[0], 0) : max(ends[1] + 1, 0)] = column
        top, bottom = sorted((int(y + joint_px), int(y + step_y - 1)))
        canvas[top : bottom + 1, of_pixel >= 0] = colours[row, of_pixel[of_pixel >= 0]]
    noise = 8.0 * fractal_noise(rng, height, width, 0.4 * px_per_m, 2.0)
    return _to_image(canvas + noise[..., None])


def carpet(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Short pile with wear."""
    tone = _colour(style, 60, 140, spread=18)
    wear = 8.0 * fractal_noise(rng, height, width, 1.0 * px_per_m, 0.1 * px_per_m)
    pile = 9.0 * fractal_noise(rng, height, width, 0.03 * px_per_m, 2.0)
    return _to_image(tone + (wear + pile)[..., None])


def stone(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Gravel and asphalt: noise at every scale."""
    noise = fractal_noise(rng, height, width, 1.5 * px_per_m, 2.0)
    return _shade(_colour(style, 90, 130, spread=8), 11.0, noise)


def grass(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A meadow: green, patchy."""
    noise = fractal_noise(rng, height, width, 2.0 * px_per_m, 2.0)
    return _shade(np.array([50, 110, 80]), np.array([8, 15, 12]), noise)


def sky(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Blue with soft clouds."""
    noise = np.clip(fractal_noise(rng, height, width, width / 3.0, width / 40.0), -0.5, 2.0)[..., None]
    return _to_image(np.array([230, 200, 170]) + np.array([8, 22, 35]) * noise)


def panel(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A cupboard front: a frame, a handle, plain paint."""
    tone = _colour(style, 90, 220, spread=18)
    canvas = _to_image(tone + 5.0 * fractal_noise(rng, height, width, 0.3 * px_per_m, 2.0)[..., None])
    border = max(1, int(0.03 * px_per_m))
    cv2.rectangle(
        canvas, (border, border), (width - border, height - border), (tone * 0.75).tolist(), max(1, border // 4)
    )
    x, y = int(rng.uniform(0.08, 0.92) * width), int(rng.uniform(0.3, 0.6) * height)
    half = max(2, int(0.06 * px_per_m))
    cv2.line(canvas, (x, y - half), (x, y + half), (tone * 0.35).tolist(), max(1, int(0.012 * px_per_m)), cv2.LINE_AA)
    return canvas


def books(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Rows of book spines on dark boards."""
    canvas = np.full((height, width, 3), 40, np.uint8)
    board_px = 0.34 * px_per_m
    for row in range(max(1, round(height / board_px))):
        bottom, x = int((row + 1) * height / max(1, round(height / board_px))), 0.0
        while x < width:
            thick, tall = rng.uniform(0.015, 0.05) * px_per_m, rng.uniform(0.2, 0.3) * px_per_m
            if rng.random() < 0.9:
                _spine(canvas, rng, (int(x), int(bottom - tall), int(x + thick), bottom - 2))
            x += thick
        cv2.rectangle(canvas, (0, bottom - max(2, int(0.02 * px_per_m))), (width, bottom), (70, 95, 125), -1)
    return canvas


def _spine(canvas: Array, rng: Generator, box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = box
    tone = _colour(rng, 30, 210)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1), tone.tolist(), -1)
    for _ in range(int(rng.integers(1, 4))):
        y = int(rng.uniform(y0, y1))
        cv2.rectangle(canvas, (x0, y), (x1 - 1, y + int(rng.integers(1, 8))), _colour(rng, 20, 250).tolist(), -1)


def print_sheet(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A notice: lines of letters on pale paper."""
    canvas = _to_image(_colour(rng, 190, 250) + 2.0 * fractal_noise(rng, height, width, 0.1 * px_per_m, 2.0)[..., None])
    y = 0.1 * height
    while y < 0.95 * height:
        size_px = rng.uniform(0.012, 0.05) * px_per_m
        text = "".join(rng.choice(list(_LETTERS + "   "), int(1.1 * width / size_px)))
        cv2.putText(canvas, text, (int(0.06 * width), int(y)), int(rng.integers(0, 5)), size_px / 25.0,
                    _colour(rng, 10, 90).tolist(), max(1, int(size_px / 9)), cv2.LINE_AA)  # fmt: skip
        y += 1.6 * size_px
    return canvas


def poster(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A picture: shapes, a textured ground and a caption."""
    ground = fractal_noise(rng, height, width, 0.6 * width, 3.0)
    canvas = _to_image(_colour(rng, 60, 200) + rng.uniform(-22, 22, 3) * ground[..., None])
    for _ in range(int(rng.integers(8, 22))):
        centre, radius = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.04, 0.3) * min(width, height)
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
        corners = centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])
        cv2.fillPoly(canvas, [corners.astype(np.int32)], _colour(rng, 10, 245).tolist(), cv2.LINE_AA)
    canvas = _to_image(canvas + 9.0 * fractal_noise(rng, height, width, 0.15 * width, 2.0)[..., None])
    size = max(0.3, width / 300.0)
    text = "".join(rng.choice(list(_LETTERS), 9))
    cv2.putText(canvas, text, (int(0.08 * width), int(rng.uniform(0.2, 0.95) * height)), 2, size,
                _colour(rng, 0, 255).tolist(), max(1, int(size * 2)), cv2.LINE_AA)  # fmt: skip
    return canvas


def facade(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A house front: bricks or plaster with windows and a door."""
    canvas = (brick if style.random() < 0.5 else plaster)(style, rng, height, width, px_per_m)
    pitch_x, pitch_y = rng.uniform(1.8, 2.6) * px_per_m, 2.8 * px_per_m
    for y in np.arange(0.8 * px_per_m, height - 1.5 * px_per_m, pitch_y):
        for x in np.arange(0.6 * px_per_m, width - 1.4 * px_per_m, pitch_x):
            _window(canvas, style, rng, int(x + rng.uniform(-0.2, 0.2) * px_per_m), int(y), px_per_m)
    return canvas


def terrace(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A house front whose windows repeat exactly, as all its neighbours' do."""
    canvas = (brick if style.random() < 0.5 else plaster)(style, rng, height, width, px_per_m)
    seed, pitch_px = int(style.integers(2**31)), style.uniform(2.0, 2.6) * px_per_m
    for y in np.arange(0.8 * px_per_m, height - 1.5 * px_per_m, 2.8 * px_per_m):
        for x in np.arange(0.6 * px_per_m, width - 1.4 * px_per_m, pitch_px):
            same = np.random.default_rng(seed)
            _window(canvas, same, same, int(x), int(y), px_per_m)
    return canvas


def asphalt(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """A carriageway along the width: patches, cracks, manhole covers, and a broken line in the middle."""
    tone = style.uniform(80, 115)
    image = tone + 9.0 * fractal_noise(rng, height, width, 2.0 * px_per_m, 2.0)
    canvas = _to_image(np.repeat(image[..., None], 3, axis=2))
    area_m2 = height * width / px_per_m**2
    for _ in range(int(rng.poisson(area_m2 / 25.0))):
        corner = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(0.4, 2.5, 2) * px_per_m
        grey = float(tone * rng.uniform(0.7, 1.15))
        cv2.rectangle(canvas, corner.astype(int).tolist(), (corner + size).astype(int).tolist(), (grey,) * 3, -1)
    for _ in range(int(rng.poisson(area_m2 / 12.0))):
        steps = rng.normal(0, 0.35, (8, 2)) * px_per_m
        crack = (rng.uniform(0, 1, 2) * (width, height) + np.cumsum(steps, axis=0)).astype(np.int32)
        cv2.polylines(canvas, [crack], False, (tone * 0.6,) * 3, max(1, int(0.02 * px_per_m)), cv2.LINE_AA)
    for _ in range(int(rng.poisson(area_m2 / 120.0))):
        centre = (rng.uniform(0.1, 0.9, 2) * (width, height)).astype(int).tolist()
        cv2.circle(canvas, centre, int(0.3 * px_per_m), (tone * 0.55,) * 3, -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, int(0.2 * px_per_m), (tone * 0.8,) * 3, max(1, int(0.03 * px_per_m)), cv2.LINE_AA)
    for x in np.arange(1.0 * px_per_m, width, 6.0 * px_per_m):
        line = (int(x), int(height / 2 - 0.06 * px_per_m)), (int(x + 3.0 * px_per_m), int(height / 2 + 0.06 * px_per_m))
        cv2.rectangle(canvas, *line, (200, 205, 205), -1)
    return _to_image(canvas + 6.0 * fractal_noise(rng, height, width, 0.3 * px_per_m, 2.0)[..., None])


def roof(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Roof tiles, weathered, with a skylight or two."""
    tone = np.array([55, 65, 125]) if style.random() < 0.6 else np.array([85, 80, 80])
    canvas = _courses(rng, height, width, px_per_m, (0.3, 0.35), tone * style.uniform(0.8, 1.3), 0.5)
    for _ in range(int(rng.poisson(1.2))):
        corner = (rng.uniform(0.15, 0.7, 2) * (width, height)).astype(int)
        size = (np.array([0.8, 1.1]) * px_per_m).astype(int)
        cv2.rectangle(canvas, corner.tolist(), (corner + size).tolist(), (150, 130, 110), -1)
        cv2.rectangle(canvas, corner.tolist(), (corner + size).tolist(), (50, 50, 50), max(1, int(0.06 * px_per_m)))
    return canvas


def foliage(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Leaves in the shade of other leaves."""
    return _leaves(rng, height, width, px_per_m, np.array([45, 105, 70]) * style.uniform(0.8, 1.2))


def autumn(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Leaves of the same trees later in the year."""
    return _leaves(rng, height, width, px_per_m, np.array([35, 100, 165]) * style.uniform(0.8, 1.2))


def _leaves(rng: Generator, height: int, width: int, px_per_m: float, tone: Array) -> Array:
    canvas = _shade(0.35 * tone, 6.0, fractal_noise(rng, height, width, 0.3 * px_per_m, 2.0))
    count = int(70.0 * height * width / px_per_m**2)
    places, sizes = rng.uniform(0, 1, (count, 2)) * (width, height), rng.uniform(0.03, 0.1, (count, 2)) * px_per_m
    turns, lights = rng.uniform(0, 180, count), rng.uniform(0.4, 1.5, count)
    for place, size, turn, light in zip(places, sizes, turns, lights, strict=True):
        axes = (int(size[0]) + 1, int(0.5 * size[1]) + 1)
        cv2.ellipse(canvas, place.astype(int).tolist(), axes, float(turn), 0, 360, (tone * light).tolist(), -1)
    return canvas


def snow(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """Snow, trodden in places."""
    return _shade(np.array([225, 220, 215]), 7.0, fractal_noise(rng, height, width, 1.0 * px_per_m, 2.0))


def car(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """The side of a car below its windows: paint, wheels, doors."""
    tone = _colour(rng, 20, 220, spread=50)
    shine = np.linspace(1.15, 0.75, height)[:, None, None]
    canvas = _to_image(tone * shine + 2.0 * fractal_noise(rng, height, width, 0.5 * px_per_m, 2.0)[..., None])
    for share in (0.2, 0.8):
        centre = int(share * width), int(height * 0.95)
        cv2.circle(canvas, centre, int(0.32 * px_per_m), (25, 25, 25), -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, int(0.18 * px_per_m), _colour(rng, 110, 190, spread=5).tolist(), -1, cv2.LINE_AA)
    for share in (0.38, 0.62):
        x = int(share * width)
        cv2.line(canvas, (x, 0), (x, int(0.85 * height)), (tone * 0.5).tolist(), max(1, int(0.015 * px_per_m)))
        handle = (x - int(0.2 * px_per_m), int(0.25 * height)), (x - int(0.05 * px_per_m), int(0.32 * height))
        cv2.rectangle(canvas, *handle, (tone * 0.4).tolist(), -1)
    return canvas


def glass(style: Generator, rng: Generator, height: int, width: int, px_per_m: float) -> Array:
    """The windows of a car: dark, reflecting what is around."""
    canvas = _to_image(45 + 18.0 * fractal_noise(rng, height, width, 0.8 * px_per_m, 4.0)[..., None] + [8, 4, 0])
    for share in (0.33, 0.66):
        x = int(share * width)
        cv2.line(canvas, (x, 0), (x, height), (30, 30, 30), max(1, int(0.06 * px_per_m)))
    return canvas


def _window(canvas: Array, style: Generator, rng: Generator, x: int, y: int, px_per_m: float) -> None:
    w, h, frame = int(rng.uniform(0.8, 1.2) * px_per_m), int(1.3 * px_per_m), max(2, int(0.06 * px_per_m))
    cv2.rectangle(canvas, (x, y), (x + w, y + h), _colour(rng, 180, 240).tolist(), -1)
    glass = canvas[y + frame : y + h - frame, x + frame : x + w - frame]
    if glass.size:
        glass[:] = poster(style, rng, glass.shape[0], glass.shape[1], px_per_m) // 3 + 20
    cv2.line(canvas, (x + w // 2, y), (x + w // 2, y + h), (225, 225, 225), frame)


def _colour(rng: Generator, low: float, high: float, *, spread: float = 40.0) -> Array:
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.uniform(-spread, spread, 3), 5, 250)


def _shade(tone: Array, contrast: Array | float, noise: Array) -> Array:
    """(H, W, 3) uint8 image of `tone` + `contrast` * `noise`, band by band: a meadow's sum would take gigabytes."""
    image = np.empty((*noise.shape, 3), np.uint8)
    rows = max(1, _BAND_PX // noise.shape[1])
    for first in range(0, len(noise), rows):
        band = slice(first, first + rows)
        image[band] = np.clip(tone + contrast * noise[band, :, None], 0, 255)
    return image


def _to_image(values: Array) -> Array:
    return np.ascontiguousarray(np.clip(values, 0, 255).astype(np.uint8))


PATTERNS: dict[str, Pattern] = {
    "plaster": plaster, "wallpaper": wallpaper, "wood": wood, "brick": brick, "tiles": tiles, "carpet": carpet,
    "stone": stone, "grass": grass, "sky": sky, "panel": panel, "books": books, "print": print_sheet,
    "poster": poster, "facade": facade, "terrace": terrace, "asphalt": asphalt, "roof": roof, "foliage": foliage,
    "autumn": autumn, "snow": snow, "car": car, "glass": glass,
}  # fmt: skip
