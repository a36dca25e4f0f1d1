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

"""Photographs laid on the ground so that what they share meets, as near as it may to where each was taken.

A nonlinear least-squares problem, with the plane's points and directions as complex numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_POSITION_STD_M, _MATCH_STD_PX = 0.7, 4.0
# how far a gimbal that looks straight down is off, and ground sizes from what heights say but for one common factor
_TILT_STD_RAD, _LOG_SIZE_STD = 0.009, 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """What two photographs share: (M, 2) pixels of each, as complex numbers with y up, and the similarity of them."""

    first: int
    second: int
    at_first: Array
    at_second: Array
    second_from_first: tuple[complex, complex]


def fit_similarity(source: Array, target: Array) -> tuple[complex, complex]:
    """Turn and shift, complex, of the least-squares similarity of complex points."""
    at, there = source - source.mean(), target - target.mean()
    turn = complex(np.vdot(at, there) / np.vdot(at, at))
    return turn, complex(target.mean() - turn * source.mean())


@dataclass(frozen=True, slots=True, eq=False)
class MosaicProblem:
    """What is solved for: of each photograph log size and yaw of a pixel, where it was taken, and its tilt.

    Attributes:
        pairs: (M, 2) photographs of every match.
        at_first: (M,) complex pixels from the middle of the first one, y up, and
        at_second: (M,) of the second one.
        inverse_focal: (P,) 1 / pixels; 0 where unknown, which leaves tilts out.
        expected_log_size: (P,) but for one common addend.
    """

    pairs: Array
    at_first: Array
    at_second: Array
    inverse_focal: Array
    expected_log_size: Array

    @staticmethod
    def of(
        overlaps: Sequence[Overlap], focal_px: Sequence[float | None], heights_m: Sequence[float | None]
    ) -> MosaicProblem:
        """Of photographs with such focal lengths, and heights above a common level; None where one is unknown."""
        known = all(focal_px) and all(heights_m)
        inverse_focal = np.array([1.0 / one if one else 0.0 for one in focal_px])
        sizes = np.array(heights_m, float) * inverse_focal if known else np.ones(len(focal_px))
        return MosaicProblem(
            np.array([(one.first, one.second) for one in overlaps for _ in one.at_first]),
            np.concatenate([one.at_first for one in overlaps]),
            np.concatenate([one.at_second for one in overlaps]),
            inverse_focal,
            np.log(sizes),
        )

    def on_ground(self, values: Array, photos: Array, pixels: Array) -> Array:
        """(M,) complex metres of pixels from the middle of photographs."""
        of = values[:-1].reshape(-1, 6)[photos]
        inverse, tilt = self.inverse_focal[photos], of[:, 4] + 1j * of[:, 5]
        level = (pixels + np.where(inverse > 0, tilt / np.where(inverse > 0, inverse, 1.0), 0.0)) / (
            1.0 - inverse * (np.conj(tilt) * pixels).real
        )
        return np.asarray(np.exp(of[:, 0] + 1j * of[:, 1]) * level + of[:, 2] + 1j * of[:, 3])

    def residuals(self, values: Array, where: Array) -> Array:
        """(R,) of (6 P + 1,) values, with the (P,) complex positions of the photographs; in standard deviations."""
        of, (first, second) = values[:-1].reshape(-1, 6), self.pairs.T
        apart = self.on_ground(values, first, self.at_first) - self.on_ground(values, second, self.at_second)
        # in pixels: in metres, smaller photographs would agree better
        apart = apart / np.exp((of[first, 0] + of[second, 0]) / 2) / _MATCH_STD_PX
        away = (of[:, 2] + 1j * of[:, 3] - where) / _POSITION_STD_M
        size = (of[:, 0] - self.expected_log_size - values[-1]) / _LOG_SIZE_STD
        tilt = of[:, 4:].T / _TILT_STD_RAD
        return np.concatenate([apart.real, apart.imag, away.real, away.imag, size, *tilt])

    def jacobian(self, values: Array, where: Array) -> csr_matrix:
        """(R, 6 P + 1) derivatives of `residuals`: a match depends on two photographs, all else on one."""
        of, pairs = values[:-1].reshape(-1, 6), self.pairs
        matches, count = len(pairs), len(of)
        per_pixel = np.exp(-(of[pairs, 0].sum(axis=1)) / 2) / _MATCH_STD_PX
        ends = [self.on_ground(values, pairs[:, k], at) for k, at in enumerate((self.at_first, self.at_second))]
        apart = (ends[0] - ends[1]) * per_pixel
        slopes = [
            sign * per_pixel[:, None] * self._slopes(values, pairs[:, k], at)
            for k, (sign, at) in enumerate(((1.0, self.at_first), (-1.0, self.at_second)))
        ]
        for one in slopes:
            one[:, 0] -= apart / 2
        of_match = np.concatenate(slopes, axis=1)
        columns = (6 * pairs[:, :, None] + np.arange(6)).reshape(matches, 12)
        own = 6 * np.arange(count)
        single = 2 * matches + np.arange(5 * count)
        rows = [np.repeat(np.arange(2 * matches), 12), single, single[2 * count : 3 * count]]
        entries = [
            np.concatenate([of_match.real, of_match.imag]).ravel(),
            np.repeat(1.0 / np.array([_POSITION_STD_M, _POSITION_STD_M, _LOG_SIZE_STD, *2 * [_TILT_STD_RAD]]), count),
            np.full(count, -1.0 / _LOG_SIZE_STD),
        ]
        at_columns = [
            np.tile(columns.ravel(), 2),
            np.concatenate([own + parameter for parameter in (2, 3, 0, 4, 5)]),
            np.full(count, 6 * count),
        ]
        shape = (2 * matches + 5 * count, 6 * count + 1)
        return csr_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(at_columns))), shape)

    def _slopes(self, values: Array, photos: Array, pixels: Array) -> Array:
        """(M, 6) complex derivatives of `on_ground` by the parameters of the photographs."""
        of = values[:-1].reshape(-1, 6)[photos]
        inverse, tilt = self.inverse_focal[photos], of[:, 4] + 1j * of[:, 5]
        focal = np.where(inverse > 0, 1.0 / np.where(inverse > 0, inverse, 1.0), 0.0)
        ahead = 1.0 - inverse * (np.conj(tilt) * pixels).real
        level, turn = (pixels + focal * tilt) / ahead, np.exp(of[:, 0] + 1j * of[:, 1])
        by_tilt = [
            turn * (focal * unit + level * inverse * along) / ahead
            for unit, along in ((1.0, pixels.real), (1j, pixels.imag))
        ]
        ones = np.ones(len(pixels))
        return np.stack([turn * level, 1j * turn * level, ones, 1j * ones, *by_tilt], axis=1)


def adjust_mosaic(problem: MosaicProblem, turns: Array, shifts: Array, where: Array) -> Array:
    """(3, P) complex: turn, position and tilt of every photograph, from where overlaps alone have it."""
    turn, shift = fit_similarity(shifts, where)
    if not 0 < abs(turn) < np.inf:
        raise InputError("all photographs were taken at one place, expected positions apart from each other")
    turns, shifts = turn * turns, turn * shifts + shift
    level = np.zeros((len(where), 2))
    start = np.column_stack([np.log(np.abs(turns)), np.angle(turns), shifts.real, shifts.imag, level])
    common = float(np.mean(start[:, 0] - problem.expected_log_size))
    found = least_squares(
        problem.residuals,
        np.append(start.ravel(), common),
        args=(where,),
        jac=problem.jacobian,
        loss="soft_l1",
        x_scale="jac",
    )
    of = found.x[:-1].reshape(-1, 6)
    return np.array([np.exp(of[:, 0] + 1j * of[:, 1]), of[:, 2] + 1j * of[:, 3], of[:, 4] + 1j * of[:, 5]])
