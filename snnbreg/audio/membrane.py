"""The basilar membrane: how fast each place of the cochlea moves when a sound arrives.

Shallow-water model of Sieroka, Dosch and Rupp (2006, J. Acoust. Soc. Am. 120, 297) with the
constants of Cramer et al. 2020 (arXiv 1910.07407, appendix), in cgs units. At the place x = 0 ...
3.5 cm from the base the membrane has stiffness ``C0 exp(-ALPHA x) - A``, mass ``M`` and damping
``R0 exp(-ALPHA x / 2)``; at the angular frequency w its impedance, times iw, is

    xi(w, x) = C0 exp(-ALPHA x) - A - M w^2 - i w R0 exp(-ALPHA x / 2)

A wave of wave number ``k(w, x) = w sqrt(RHO / (DEPTH xi))`` travels along it, whose phase is
``G(w, x) = 2 k(w, 0) / ALPHA + integral of k from 0 to x`` and whose pressure is
``p(w, x) = sqrt(G / k) H(G)`` with the Hankel function H of the first kind and order 0. The
membrane's velocity per stimulus is ``2 w / xi * p(w, x) / p(w, 0) * z(w)``, where z is the
impedance at the base.

The velocity has half the sound's sample rate: of the sound's spectrum only the frequencies from 0
to half its rate are transformed back.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import fft, interpolate, special

from snnbreg.audio.arrays import Array

CHANNELS = 700
RATE = 48_000
"""Sample rate of the sound, Hz; that of the membrane's velocity is half of it."""
LENGTH = 3.5  # of the membrane, cm
ALPHA, DEPTH, RHO = 3.0, 0.1, 1.0  # 1/cm, cm, g/cm^3
C0, A, M = 1e9, 3500.0, 0.05  # stiffness g/(cm^2 s^2), its offset, mass g/cm^2
R0 = 0.15 * np.sqrt(C0 * M)
_CUT = 2.3  # frequencies above so many times a place's own one move it by less than 1e-5
_NODES = 400  # of the interpolated response of a place: error below 2e-6 of its maximum


def places(channels: int = CHANNELS) -> Array:
    """Distances x of the channels from the base, (channels,), cm: high tones first."""
    return np.linspace(0.0, LENGTH, channels)


def response(frequency: Array, place: float) -> Array:
    """The membrane's velocity per stimulus.

    Args:
        frequency: Hz, above 0, of any shape.
        place: distance from the base, cm.

    Returns:
        complex, of the same shape.
    """
    w = 2.0 * np.pi * np.asarray(frequency, np.float64)
    taper = np.exp(-ALPHA * place / 2.0)
    return 2.0 * w / _xi(w, taper) * _pressure(w, taper) / _pressure(w, 1.0) * _base(w)


def _xi(w: Array, taper: float) -> Array:
    return C0 * taper**2 - A - M * w**2 - 1j * w * R0 * taper


def _wave_number(w: Array, taper: float) -> Array:
    return w * np.sqrt(RHO / (DEPTH * _xi(w, taper)))


def _phase(w: Array, taper: float) -> Array:
    """G: with the taper as the variable of integration, the integral has a closed form."""
    q = A + M * w**2

    def term(t: float) -> Array:
        return (1j * (2.0 * q + 1j * w * R0 * t) / np.sqrt(q) - 2.0 * np.sqrt(_xi(w, t))) / t

    travelled = -2j * w * np.sqrt(RHO / (DEPTH * q)) / ALPHA * np.log(term(1.0) / term(taper))
    return 2.0 * _wave_number(w, 1.0) / ALPHA + travelled


def _pressure(w: Array, taper: float) -> Array:
    phase = _phase(w, taper)
    return np.sqrt(phase / _wave_number(w, taper)) * special.hankel1(0, phase)


def _base(w: Array) -> Array:
    """z: the impedance at the base; real arguments, so that H of the second kind is exact."""
    argument = 2.0 * w / ALPHA * np.sqrt(2.0 / (DEPTH * C0))
    ratio = special.hankel2(0, argument) / special.hankel2(1, argument)
    return 1j * np.sqrt(2.0 * C0 / DEPTH) * ratio


class _Curve(NamedTuple):
    """The response of a place as a spline.

    Attributes:
        cut: Hz; above it the response counts as 0.
        spline: of ``log(response / frequency)`` as a function of :func:`_position`.
    """

    cut: float
    spline: interpolate.CubicSpline


@lru_cache
def _curves(channels: int) -> list[_Curve]:
    """The response of every place, whose exact form takes microseconds a value."""
    found = []
    for place in places(channels):
        own = np.sqrt((C0 * np.exp(-ALPHA * place) - A) / M) / (2.0 * np.pi)
        cut = min(_CUT * own, RATE / 2)
        position = np.linspace(0.0, 1.0, _NODES)
        frequency = 1.0 + (cut - 1.0) * position**2
        values = np.log(response(frequency, place) / frequency)
        values.imag = np.unwrap(values.imag)
        found.append(_Curve(cut, interpolate.CubicSpline(position, values)))
    return found


@lru_cache(maxsize=3)  # 45 MB for a second
def responses(size: int, channels: int = CHANNELS) -> list[Array]:
    """The response of every channel at the frequencies of a discrete spectrum.

    The frequencies are ``size`` equidistant ones from 1 Hz to half the sound's rate, as in the
    published cochlea: that of the constant component is 1 Hz, not 0.

    Returns:
        For each channel complex64 (K,), K <= size: the first K frequencies; the others are 0.
    """
    frequency = np.linspace(1.0, RATE / 2, size)
    found = []
    for curve in _curves(channels):
        inside = frequency[frequency <= curve.cut]
        position = np.sqrt((inside - 1.0) / (curve.cut - 1.0))
        found.append((np.exp(curve.spline(position)) * inside).astype(np.complex64))
    return found


def spectrum_size(samples: int) -> int:
    """A number of frequencies that is enough for a sound, of few different and fast ones.

    The sound is padded with silence to twice this size; sizes grow by a fifth, so that sounds of
    different length share the responses. A second needs little padding.

    Example:
        >>> spectrum_size(48_000), spectrum_size(40_000), spectrum_size(100)
        (24300, 24300, 1350)
    """
    second = RATE // 2 + 1
    enough = max(samples // 2 + 1, 1200)
    steps = math.ceil(math.log(enough / second) / math.log(1.2))
    return fft.next_fast_len(max(math.ceil(second * 1.2**steps), enough), real=True)


def velocity(spectrum: Array, channels: slice, of: int = CHANNELS) -> Array:
    """Move the membrane.

    Args:
        spectrum: complex (size,), the lower half of a sound's spectrum: ``rfft`` of a sound at
            :data:`RATE` padded to ``2 * size - 2`` samples.
        channels: a range of the channels.
        of: number of channels of the whole membrane.

    Returns:
        float32 (channels in the range, size): velocity at half the sound's rate.
    """
    size = len(spectrum)
    spectrum = 0.5 * spectrum.astype(np.complex64)
    chosen = responses(size, of)[channels]
    # The real part of the inverse transform of a spectrum Y is the transform of Y's Hermitian part:
    # half the sum of Y[k] and the conjugate of Y[size - k].
    hermitian = np.zeros((len(chosen), size // 2 + 1), np.complex64)
    kept = hermitian.shape[1]
    for row, factor in zip(hermitian, chosen, strict=True):
        many = min(len(factor), kept)
        np.multiply(spectrum[:many], factor[:many], out=row[:many])
        row[0] *= 2.0
        if len(factor) > size - kept + 1:  # frequencies above half the output's rate fold back
            high = slice(size - kept + 1, len(factor))
            row[size + 1 - len(factor) :] += (spectrum[high] * factor[high])[::-1].conj()
    return fft.irfft(hermitian, size, axis=1, overwrite_x=True)
