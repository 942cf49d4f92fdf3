"""Runs a deployed network event by event, one recording at a time.

A spike walks its sender's lists of weights; what arrives later waits in a ring of lists. A layer is
run over all its steps before the next one, since layers only feed forward. Within a step the sums
have one order: the bias, then feed-forward lists, then recurrent lists, each in the order in which
they were sent; C programs made from the same file add in the same order, and their floats are equal
bit for bit.

The equations stand in ``network``; those of integers in ``integers``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from snnbreg.deploy.decisions import decide
from snnbreg.deploy.network import Array, DeployedNetwork, Layer, Synapses

SHIFT = 15
"""Integer leaks and gains are multiples of 2^-15."""

_compiled: Callable[[Callable[..., Any]], Any] = numba.njit(
    cache=True, nogil=True, error_model="numpy"
)


class Events(NamedTuple):
    """What a population sends: those of step t are entries pointer[t] .. pointer[t + 1] - 1."""

    pointer: Array
    """(T + 1,)."""
    sender: Array
    """(events,), ascending within a step."""
    value: Array
    """(events,), 1 for a spike; float32 or int32."""


class Answer(NamedTuple):
    """What a network says to one recording."""

    outputs: Array
    """(T, K), float32 or, of an integer network, int32."""
    spikes: list[Events]
    """Of the hidden layers."""
    membranes: list[Array]
    """H of the hidden layers, (T, N) each, where they were asked for."""
    classes: Array
    """The class, a scalar array, or one per step, (T,)."""
    scores: Array
    """(K,), what the class is the largest of; (T, K) where each step has a class."""


class Lists(NamedTuple):
    """Synapses in the types of the compiled loops, see ``Synapses``."""

    lists: Array
    delay: Array
    pointer: Array
    receiver: Array
    weight: Array


class Neurons(NamedTuple):
    """What the neurons of a layer do, in the types of the compiled loops."""

    bias: Array
    threshold: Array
    leak: Any
    fraction: int
    gain: Array
    """(N,) int64, or empty."""
    hard: bool
    fires: bool


class Simulator:
    """Runs a network.

    Args:
        network: as :func:`~snnbreg.deploy.read_network` or ``convert`` return it.

    Raises:
        ValueError: a network whose sums could overflow its integers.
    """

    def __init__(self, network: DeployedNetwork) -> None:
        self.network = network
        number = np.int32 if network.integer else np.float32
        layers = network.all_layers()
        self._tables = [_tables(layer, number) for layer in layers]
        self._number = number
        self._leak = round(network.leak * 2**SHIFT) if network.integer else np.float32(network.leak)

    def run(self, counts: Array, membranes: bool = False) -> Answer:
        """Show it one recording.

        Args:
            counts: (steps, C), whole numbers from 0 to ``input_max``; at most T steps.
            membranes: whether to keep them.

        Raises:
            ValueError: another shape, or counts that are out of range.
        """
        events = self.events(counts)
        steps = len(counts)
        network = self.network
        spikes, traces = [], []
        for layer, tables in zip(network.layers, self._tables, strict=False):
            sent, trace = self._run_layer(events, steps, layer, tables, "hidden", membranes)
            events = Events(*sent)
            spikes.append(events)
            traces.append(trace)
        kind = network.readout_kind
        sent, outputs = self._run_layer(
            events, steps, network.readout, self._tables[-1], kind, kind != "spiking"
        )
        if kind == "spiking":
            outputs = raster(Events(*sent), network.classes).astype(self._number)
        return Answer(outputs, spikes, traces if membranes else [], *decide(network, outputs))

    def events(self, counts: Array) -> Events:
        """A recording as events.

        Raises:
            ValueError: another shape, or counts that are out of range.
        """
        network = self.network
        if counts.ndim != 2 or counts.shape[1] != network.inputs or not len(counts):
            raise ValueError(f"counts are {counts.shape}: expected (T, {network.inputs})")
        if len(counts) > network.steps:
            raise ValueError(
                f"The recording has {len(counts)} steps: the network was exported for "
                f"{network.steps} at most"
            )
        if counts.dtype != np.uint8:
            if not np.array_equal(counts, counts.astype(np.uint8)):
                raise ValueError("counts must be whole numbers from 0 to 255")
            counts = counts.astype(np.uint8)
        if counts.max() > network.input_max:
            raise ValueError(f"A count is {counts.max()}: at most {network.input_max} are allowed")
        step, sender = np.nonzero(counts)
        pointer = np.searchsorted(step, np.arange(len(counts) + 1))
        value = counts[step, sender].astype(self._number)
        if not network.integer and network.input_scale != 1.0:
            value *= np.float32(network.input_scale)
        return Events(pointer, sender, value)

    def _run_layer(
        self, events: Events, steps: int, layer: Layer, tables: Any, kind: str, keep: bool
    ) -> tuple[Any, Array]:
        network = self.network
        leak = 0 if kind == "linear" else self._leak  # linear: o = I, nothing is kept
        neurons = Neurons(
            layer.bias,
            layer.threshold,
            self._number(leak),
            network.fraction,
            np.zeros(0, np.int64) if layer.gain is None else layer.gain.astype(np.int64),
            network.reset == "hard",
            kind in ("hidden", "spiking"),
        )
        trace = np.zeros((steps if keep else 0, layer.neurons), self._number)
        run = _run_integers if network.integer else _run_floats
        sent = run(steps, events, *tables, neurons, trace)
        return sent, trace


def raster(events: Events, neurons: int) -> Array:
    """Spikes as zeros and ones, (T, N) uint8."""
    steps = len(events.pointer) - 1
    spikes = np.zeros((steps, neurons), np.uint8)
    spikes[np.repeat(np.arange(steps), np.diff(events.pointer)), events.sender] = 1
    return spikes


def _tables(layer: Layer, number: Any) -> tuple[Lists, Lists]:
    """Both matrices; without recurrence one without senders."""
    recurrent = layer.recurrent
    if recurrent is None:
        none = np.zeros(0, np.int64)
        start = np.zeros(1, np.int64)
        recurrent = Synapses(layer.neurons, start, none, start, none, none)
    return _lists(layer.feedforward, number), _lists(recurrent, number)


def _lists(synapses: Synapses, number: Any) -> Lists:
    arrays = (synapses.lists, synapses.delay, synapses.pointer, synapses.receiver)
    lists, delay, pointer, receiver = (array.astype(np.int64) for array in arrays)
    return Lists(lists, delay, pointer, receiver, synapses.weight.astype(number))


class Ring(NamedTuple):
    """Lists on their way: those that arrive in step t are in slot t modulo the number of slots."""

    waiting: Array
    """(slots, lists); of slot s the first filled[s] count."""
    value: Array
    """(slots, lists), of the events."""
    filled: Array
    """(slots,)."""


@_compiled
def _ring(synapses: Lists, like: Array) -> Ring:
    longest = 0
    for d in synapses.delay:
        longest = max(longest, d)
    shape = (longest + 1, max(len(synapses.delay), 1))
    return Ring(
        np.zeros(shape, np.int32), np.zeros(shape, like.dtype), np.zeros(shape[0], np.int64)
    )


@_compiled
def _send(ring: Ring, synapses: Lists, t: int, sender: int, value: Any) -> None:
    """Put the lists of an event where they arrive, in step t and later."""
    for a in range(synapses.lists[sender], synapses.lists[sender + 1]):
        slot = (t + synapses.delay[a]) % len(ring.filled)
        place = ring.filled[slot]
        ring.waiting[slot, place] = a
        ring.value[slot, place] = value
        ring.filled[slot] = place + 1


@_compiled
def _arrive(ring: Ring, synapses: Lists, t: int, current: Array) -> None:
    """Add the lists that arrive in step t, and empty their slot."""
    slot = t % len(ring.filled)
    for k in range(ring.filled[slot]):
        a, value = ring.waiting[slot, k], ring.value[slot, k]
        for entry in range(synapses.pointer[a], synapses.pointer[a + 1]):
            current[synapses.receiver[entry]] += value * synapses.weight[entry]
    ring.filled[slot] = 0


@_compiled
def _run_floats(
    steps: int, events: Events, w: Lists, u: Lists, neurons: Neurons, trace: Array
) -> tuple[Array, Array, Array]:
    """One layer over all steps; returns its spikes as ``Events`` and fills the trace with H."""
    count, threshold = len(neurons.bias), neurons.threshold
    v, current = np.zeros(count, np.float32), np.zeros(count, np.float32)
    arriving, recurrent = _ring(w, events.value), _ring(u, events.value)
    pointer = np.zeros(steps + 1, np.int64)
    sent, total = np.zeros(steps * count if neurons.fires else 0, np.int64), 0
    for t in range(steps):
        current[:] = neurons.bias
        for k in range(events.pointer[t], events.pointer[t + 1]):
            _send(arriving, w, t, events.sender[k], events.value[k])
        _arrive(arriving, w, t, current)
        _arrive(recurrent, u, t, current)
        for i in range(count):
            h = neurons.leak * v[i] + current[i]
            if len(trace) > 0:
                trace[t, i] = h
            if neurons.fires and h >= threshold[i]:
                h = np.float32(0.0) if neurons.hard else h - threshold[i]
                sent[total] = i
                total += 1
            v[i] = h
        if len(u.lists) > 1:
            for k in range(pointer[t], total):
                _send(recurrent, u, t + 1, sent[k], np.float32(1.0))
        pointer[t + 1] = total
    return pointer, sent[:total].copy(), np.ones(total, np.float32)


@_compiled
def _run_integers(
    steps: int, events: Events, w: Lists, u: Lists, neurons: Neurons, trace: Array
) -> tuple[Array, Array, Array]:
    """As ``_run_floats``, in whole numbers, which fit int32: see ``integers.check_range``."""
    count, threshold, gain = len(neurons.bias), neurons.threshold, neurons.gain
    v = np.zeros(count, np.int32)
    current, current_u = np.zeros(count, np.int32), np.zeros(count, np.int32)
    arriving, recurrent = _ring(w, events.value), _ring(u, events.value)
    pointer = np.zeros(steps + 1, np.int64)
    sent, total = np.zeros(steps * count if neurons.fires else 0, np.int64), 0
    for t in range(steps):
        current[:] = 0
        current_u[:] = 0
        for k in range(events.pointer[t], events.pointer[t + 1]):
            _send(arriving, w, t, events.sender[k], events.value[k])
        _arrive(arriving, w, t, current)
        _arrive(recurrent, u, t, current_u)
        for i in range(count):
            h = (np.int64(v[i]) * np.int64(neurons.leak)) >> SHIFT
            if len(gain) > 0:
                h += (np.int64(current[i]) * gain[i]) >> SHIFT
            else:
                h += np.int64(current[i]) << neurons.fraction
            h += (np.int64(current_u[i]) << neurons.fraction) + neurons.bias[i]
            if len(trace) > 0:
                trace[t, i] = h
            if neurons.fires and h >= threshold[i]:
                h = 0 if neurons.hard else h - threshold[i]
                sent[total] = i
                total += 1
            v[i] = h
        if len(u.lists) > 1:
            for k in range(pointer[t], total):
                _send(recurrent, u, t + 1, sent[k], np.int32(1))
        pointer[t + 1] = total
    return pointer, sent[:total].copy(), np.ones(total, np.int32)
