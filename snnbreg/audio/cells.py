"""From the membrane's velocity to spikes: hair cells, nerve fibres and bushy cells, compiled.

*Hair cells* (Meddis 1986, 1988, J. Acoust. Soc. Am. 79, 702 and 83, 1056): transmitter moves
between a pool q, the cleft c and a store w. The velocity opens the membrane; what lies in the
cleft is the probability that a nerve fibre fires in a step.

*Fibres*: 40 per hair cell, which fire independently and then rest for a millisecond.

*Bushy cells* (Cramer et al. 2020, arXiv 1910.07407): the 40 fibres of a channel meet in one leaky
integrate-and-fire neuron with an exponential synaptic current. Its spikes are the channel's.

Drawing 40 random numbers per step and channel would take most of the time. Here the chance of a
release is added up instead until it exceeds an exponential random number: the time to the next
release of any of n equal fibres, each with the hazard -log(1 - p) in a step of probability p, is
exponential in n times the hazard. That is the same process with one random number per release.

Legend: T steps, L channels side by side (the compiler turns loops over them into vectors).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from snnbreg.audio.arrays import Array

RATE = 24_000
"""Steps per second: half the sound's sample rate."""
FIBRES = 40
REST = RATE // 1000
"""Steps from a spike of a fibre or a bushy cell to the earliest next one: a millisecond."""
# Hair cell: amounts relative to the pool, rates in 1/s, the drive in units of the velocity.
REPLENISH, OPEN, LOSS, RECOVER, REPROCESS = 5.05, 2000.0, 2500.0, 6580.0, 66.3
RESTING_DRIVE, HALF_OPEN, FIRING = 5.0, 300.0, 50_000.0
# Bushy cell: time constants in s, the current of a fibre's spike for a threshold of 1.
TAU_MEMBRANE, TAU_SYNAPSE, WEIGHT = 1e-3, 5e-4, 13e3 / FIBRES
_TILE = 96  # steps between two stages of a bushy cell, so that what they hand on stays near
_FAST = {"nnan", "ninf", "nsz", "contract", "arcp"}


def _compiled(function):  # type: ignore[no-untyped-def]
    """Compile a function at its first call; the machine code is kept on disk where possible."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": _FAST}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder it can write
        return numba.njit(**options)(function)


@_compiled
def hair_cells(velocity: Array, firing: Array) -> None:
    """Let hair cells answer to the membrane; they start at rest.

    Args:
        velocity: float32 (L, T or more).
        firing: float32 (T, L), filled: the probability that a fibre fires in a step.
    """
    steps, lanes = firing.shape
    dt, zero, one = np.float32(1.0 / RATE), np.float32(0), np.float32(1)
    leak = OPEN * RESTING_DRIVE / (RESTING_DRIVE + HALF_OPEN)
    cleft = REPLENISH * leak / (LOSS * leak + REPLENISH * (LOSS + RECOVER))
    q = np.full(lanes, cleft * (LOSS + RECOVER) / leak, np.float32)
    c = np.full(lanes, cleft, np.float32)
    w = np.full(lanes, cleft * RECOVER / REPROCESS, np.float32)
    resting, half = np.float32(RESTING_DRIVE), np.float32(HALF_OPEN)
    opening, replenish = dt * np.float32(OPEN), dt * np.float32(REPLENISH)
    gone, recover = dt * np.float32(LOSS + RECOVER), dt * np.float32(RECOVER)
    reprocess, chance = dt * np.float32(REPROCESS), dt * np.float32(FIRING)
    turned = np.empty((_TILE, lanes), np.float32)
    for start in range(0, steps, _TILE):
        length = min(_TILE, steps - start)
        for lane in range(lanes):
            for t in range(length):
                turned[t, lane] = velocity[lane, start + t]
        for t in range(length):
            for lane in range(lanes):
                pool, held, store = q[lane], c[lane], w[lane]
                drive = max(turned[t, lane] + resting, zero)
                ejected = opening * drive / (drive + half) * pool
                back = reprocess * store
                fresh = replenish * max(one - pool, zero)
                q[lane] = max(pool + fresh - ejected + back, zero)
                c[lane] = max(held + ejected - gone * held, zero)
                w[lane] = max(store + recover * held - back, zero)
                firing[start + t, lane] = c[lane] * chance


@_compiled
def bushy_cells(firing: Array, seeds: Array, times: Array, counts: Array) -> None:
    """Let fibres and bushy cells fire.

    Args:
        firing: float32 (T, L): probability that a fibre fires in a step, at most a half (hair
            cells give less).
        seeds: uint64 (L,), of the fibres of each channel.
        times: int32 (L, T // REST + 2), filled: the steps at which a channel's cell spikes.
        counts: int64 (L,), filled: how many.
    """
    steps, lanes = firing.shape
    fired = np.zeros((REST + _TILE, lanes), np.float32)  # by step, from REST before the tile
    hazard, spiked = np.empty((_TILE, lanes), np.float32), np.empty((_TILE + 1, lanes), np.float32)
    states, left = seeds.copy(), np.empty(lanes)
    ready = np.full(lanes, np.float64(FIBRES))
    current, v, wait = np.zeros((3, lanes), np.float32)
    counts[:] = 0
    for lane in range(lanes):
        left[lane] = _exponential(states[lane])
    for start in range(0, steps, _TILE):
        length = min(_TILE, steps - start)
        _hazards(firing[start : start + length], hazard)
        _release(hazard, length, fired, ready, left, states)
        _integrate(fired, length, current, v, wait, spiked)
        for lane in range(lanes):
            if spiked[length, lane] > 0:
                for t in range(length):
                    if spiked[t, lane] > 0:
                        times[lane, counts[lane]] = start + t - 1
                        counts[lane] += 1
        fired[:REST] = fired[length : length + REST].copy()


@_compiled
def _hazards(firing: Array, hazard: Array) -> None:
    """-log(1 - p) = 2 artanh(p / (2 - p)) by its series: to 1e-5 for p up to a half."""
    two, third, fifth, seventh = (
        np.float32(2),
        np.float32(1 / 3),
        np.float32(0.2),
        np.float32(1 / 7),
    )
    for t in range(firing.shape[0]):
        for lane in range(firing.shape[1]):
            s = firing[t, lane] / (two - firing[t, lane])
            square = s * s
            hazard[t, lane] = two * s + two * s * square * (
                third + square * (fifth + square * seventh)
            )


@_compiled
def _release(
    hazard: Array, length: int, fired: Array, ready: Array, left: Array, states: Array
) -> None:
    """How many fibres fire in each step; those that do are not ready for ``REST`` steps.

    Args:
        hazard: (T, L).
        length: steps.
        fired: (REST + T, L): those of the REST steps before, and filled from there.
        ready: (L,) fibres that may fire.
        left: (L,) exponential random numbers less what was added up.
        states: (L,) of the random numbers.
    """
    share = np.zeros(FIBRES + 1)  # what is left of an excess after one of n fibres has fired
    for n in range(1, FIBRES + 1):
        share[n] = (n - 1) / n
    for lane in range(hazard.shape[1]):
        rest, n, state = left[lane], ready[lane], states[lane]
        for t in range(length):
            n += fired[t, lane]
            rest -= n * hazard[t, lane]
            now = 0.0
            while rest < 0.0:
                state += np.uint64(0x9E3779B97F4A7C15)
                rest = _exponential(state) + rest * share[int(n)]
                n -= 1.0
                now += 1.0
            fired[REST + t, lane] = now
        left[lane], ready[lane], states[lane] = rest, n, state


@_compiled
def _exponential(state: np.uint64) -> float:
    """A random number of exponential distribution and mean 1 (SplitMix64, Steele et al. 2014)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = (z ^ (z >> np.uint64(31))) >> np.uint64(11)
    return -math.log((float(z) + 1.0) * 2.0**-53)


@_compiled
def _integrate(
    fired: Array, length: int, current: Array, v: Array, wait: Array, spiked: Array
) -> None:
    """The bushy cells: they spike a step after they reach the threshold.

    Args:
        fired: (REST + T, L), read from REST.
        length: steps.
        current: (L,) synaptic current.
        v: (L,) membrane potential, at most the threshold; 0 in a cell that rests.
        wait: (L,) steps for which the cell still rests.
        spiked: (T + 1, L), filled: 1 in the step after that of a spike; the last row counts them.
    """
    synapse = np.float32(math.exp(-1.0 / RATE / TAU_SYNAPSE))
    membrane = np.float32(math.exp(-1.0 / RATE / TAU_MEMBRANE))
    weight, zero, one = np.float32(WEIGHT / RATE), np.float32(0), np.float32(1)
    rest = np.float32(REST)
    spiked[length] = zero
    for t in range(length):
        for lane in range(len(v)):
            spike = one if v[lane] >= one else zero
            resting = max(wait[lane], rest * spike)
            synaptic = current[lane] * synapse + fired[REST + t, lane]
            moved = min(v[lane] * membrane + synaptic * weight, one)
            v[lane] = moved if resting <= zero else zero
            wait[lane] = max(resting - one, zero)
            current[lane] = synaptic
            spiked[t, lane] = spike
            spiked[length, lane] += spike
