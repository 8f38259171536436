"""Sums for the least-squares registration of images: weighted products of their derivatives and differences."""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

ROW, COLUMN, SCALE, BRIGHTNESS, ROLL, DIFFERENCE = range(6)


def high_pass(images: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Subtract from images (n, row, column) their means over width x width pixels (fewer at the edges), in place."""
    _subtract_means(images, width // 2)
    return images


@njit(cache=True, parallel=True)
def _subtract_means(images, half):
    n, rows, columns = images.shape
    for v in prange(n):
        image = images[v]
        slow = np.empty((rows, columns), np.float32)
        for r in range(rows):
            total, count = float32(0.0), 0
            for c in range(-half, columns):
                if c + half < columns:
                    total += image[r, c + half]
                    count += 1
                if c - half - 1 >= 0:
                    total -= image[r, c - half - 1]
                    count -= 1
                if c >= 0:
                    slow[r, c] = total / count
        total_row = np.zeros(columns, np.float32)
        count = 0
        for r in range(-half, rows):
            if r + half < rows:
                total_row += slow[r + half]
                count += 1
            if r - half - 1 >= 0:
                total_row -= slow[r - half - 1]
                count -= 1
            if r >= 0:
                image[r] -= total_row / float32(count)


def turned(images: NDArray[np.float32], centres: NDArray[np.float64], angle_rad: float) -> NDArray[np.float32]:
    """Turn images (n, row, column) counter-clockwise about ``centres`` (n, 2), with the edges repeated outwards."""
    if angle_rad == 0:
        return images
    out = np.empty_like(images)
    _turn(out, images, centres, math.cos(angle_rad), math.sin(angle_rad))
    return out


@njit(cache=True, fastmath=True, parallel=True)
def _turn(out, images, centres, cos, sin):
    n, rows, columns = images.shape
    for v in prange(n):
        for r in range(rows):
            for c in range(columns):
                up, right = r - centres[v, 0], c - centres[v, 1]
                row = min(max(cos * up - sin * right + centres[v, 0], 0.0), rows - 1.001)
                column = min(max(cos * right + sin * up + centres[v, 1], 0.0), columns - 1.001)
                i, j = int(row), int(column)
                f, g = float32(row - i), float32(column - j)
                low = images[v, i, j] + g * (images[v, i, j + 1] - images[v, i, j])
                high = images[v, i + 1, j] + g * (images[v, i + 1, j + 1] - images[v, i + 1, j])
                out[v, r, c] = low + f * (high - low)


@njit(cache=True, fastmath=True, parallel=True)
def products(out, model, measured, weights, centres, rows, margin):
    """out (n, 6, 6): sums over the pixels of weight times the products of six images.

    The first five are the derivatives of ``model`` (n, row, column) with respect to its displacement along rows and
    columns, the logarithm of its scale, its brightness and its roll about ``centres`` (n, 2), the last is measured
    minus model. ``rows`` (n, 2): first and last + 1 row that counts; ``margin`` columns do not count on either side.
    """
    columns = model.shape[2]
    for v in prange(model.shape[0]):
        for r in range(max(rows[v, 0], 1), min(rows[v, 1], model.shape[1] - 1)):
            up = float32(r - centres[v, 0])
            s00 = s01 = s02 = s03 = s04 = s05 = float32(0.0)
            s11 = s12 = s13 = s14 = s15 = float32(0.0)
            s22 = s23 = s24 = s25 = float32(0.0)
            s33 = s34 = s35 = s44 = s45 = s55 = float32(0.0)
            for c in range(max(margin, 1), columns - max(margin, 1)):
                right = float32(c - centres[v, 1])
                w = weights[v, r, c]
                along = float32(0.5) * (model[v, r - 1, c] - model[v, r + 1, c])
                across = float32(0.5) * (model[v, r, c - 1] - model[v, r, c + 1])
                scale = up * along + right * across
                bright = model[v, r, c]
                roll = right * along - up * across
                difference = measured[v, r, c] - bright
                s00 += w * along * along
                s01 += w * along * across
                s02 += w * along * scale
                s03 += w * along * bright
                s04 += w * along * roll
                s05 += w * along * difference
                s11 += w * across * across
                s12 += w * across * scale
                s13 += w * across * bright
                s14 += w * across * roll
                s15 += w * across * difference
                s22 += w * scale * scale
                s23 += w * scale * bright
                s24 += w * scale * roll
                s25 += w * scale * difference
                s33 += w * bright * bright
                s34 += w * bright * roll
                s35 += w * bright * difference
                s44 += w * roll * roll
                s45 += w * roll * difference
                s55 += w * difference * difference
            upper = (s00, s01, s02, s03, s04, s05, s11, s12, s13, s14, s15, s22, s23, s24, s25, s33, s34, s35, s44, s45)
            n = 0
            for i in range(5):
                for j in range(i, 6):
                    out[v, i, j] += upper[n]
                    n += 1
            out[v, 5, 5] += s55
        for i in range(6):
            for j in range(i):
                out[v, i, j] = out[v, j, i]
