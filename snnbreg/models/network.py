"""Networks of LIF layers, by their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from ..functional import Surrogate, check_current
from .batch_norm import BatchNorm
from .delay import clamp_delays_, delayed_layers, hard_delays, round_delays_
from .delayed import DelayedRecurrentLIF
from .delayed_linear import DelayedLinear
from .dropout import HeldDropout
from .layers import DROPOUTS_ON, Readout, SpikingLayer
from .lif import LIF, LeakyIntegrator
from .linear import Linear
from .segments import in_segments, twice

NORMS = ("none", "batch")
WEIGHT_INITS = ("default", "kaiming")
READOUTS = ("linear", "leaky", "spiking")


class Synapses(NamedTuple):
    """One weight matrix between populations, for regularisers and for counting operations."""

    name: str
    """The parameter's name in the network."""
    weight: Tensor
    """(receivers, senders)."""
    senders: str
    """``"input"`` or the name of a spiking layer."""


class PlainLIF(NamedTuple):
    """A network that is nothing but weights between layers of equal LIF neurons."""

    weights: list[Tensor]
    """By layer, (receivers, senders), the parameters themselves."""
    leak: float
    """Of all membranes, the readout's too."""
    threshold: float
    """Of the hidden neurons; their reset is soft."""


class SpikingNetwork(nn.Module):
    """Hidden layers of LIF neurons, each recurrent with delays or not, and a readout.

    Args:
        inputs: C, channels of a frame.
        outputs: K, classes.
        hidden: neurons per hidden layer.
        recurrent: which hidden layers are recurrent, or one value for all.
        delays: of the recurrent synapses: ``"axonal"`` (one per sender), ``"synaptic"`` (one per
            weight), ``"common"`` (one for the layer), all learned; ``"fixed"`` (one per sender,
            drawn and kept), ``"none"``.
        learn_spread: whether each sender learns how wide its delay kernel is.
        delay_init: ``"half_normal"`` |N(0, delay_scale^2)|, ``"uniform"`` on ``delay_range`` or
            ``"constant"``, ``delay_scale``; for recurrent and feed-forward delays alike.
        delay_scale: in steps.
        delay_range: lowest and highest in steps.
        sigma: spread of the delay kernels in steps.
        tau: membrane time constant in steps, also of the readout; the leak is 1 - 1/tau.
        threshold: a neuron fires when its membrane reaches it.
        reset: ``"soft"`` or ``"hard"``.
        detach_reset: whether the reset passes no gradient to the spike.
        surrogate: ``"triangle"``, ``"atan"`` or ``"snntorch:NAME"``.
        alpha: steepness of ``"atan"``.
        bias: whether the feed-forward synapses have one.
        norm: ``"batch"`` normalises each current over all steps and samples, ``"none"``.
        dropout: of the hidden layers, held over time.
        dropout_on: ``"current"`` (before the neurons) or ``"spikes"`` (after them).
        recurrent_dropout: of the recurrent currents, held over time.
        weight_init: of the feed-forward weights: ``"default"`` U(+-1/sqrt(fan_in)),
            ``"kaiming"`` U(+-sqrt(6/fan_in)). Biases are U(+-1/sqrt(fan_in)) either way.
        readout: ``"linear"``, ``"leaky"`` (membranes that never fire) or ``"spiking"``.
        engine: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``, see ``kernels.get_engine``.
        feedforward_delays: of the synapses into the hidden layers, the input's included: a kind
            as for ``delays``, or one per hidden layer. The readout's have none.
        segments: of time, each computed again in the backward pass instead of being kept: less
            memory for more time, see ``segments``. While ``"batch"`` norms train, whose statistics
            need all steps, it is the layers that are computed again.

    Shape:
        frames (T, B, C) -> outputs (T, B, K).

    torch's tools, on the CPU: ``torch.compile(fullgraph=True)`` and ``torch.export`` put the
    engine's operators into their graph and give the bits of the network itself; sigma is a number
    of the state, so that annealing it compiles nothing again, and segments need
    ``fullgraph=False``. ``torch.func.grad`` and ``vmap`` work outside of compiled functions, but
    not with segments or ``engine="reference"``; ``vmap`` calls an operator once per entry. Under
    ``torch.autocast`` the products of feed-forward weights are half precision, while neurons and
    recurrent synapses compute in float32: no membrane is rounded.

    Raises:
        ValueError: for a setting out of range; the message lists the valid ones.

    Example:
        >>> import torch
        >>> network = SpikingNetwork(inputs=5, outputs=3, hidden=(8, 8), recurrent=(False, True))
        >>> network(torch.rand(7, 2, 5)).shape
        torch.Size([7, 2, 3])
        >>> for name, _, senders in network.synapses():
        ...     print(name, "from", senders)
        layers.0.linear.weight from input
        layers.1.linear.weight from layers.0
        layers.1.neuron.weight from layers.1
        readout.linear.weight from layers.1

    Reference:
        Queant et al. 2025, arXiv 2509.24852, and its public code: its three networks are
        ``SpikingNetwork(140, 20, (256, 256), (False, True), ...)`` (SHD),
        ``(140, 35, (256, 256, 256), ...)`` (SSC) and ``(1, 10, (64, 212, 212), ...)`` (PSMNIST).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        recurrent: bool | Sequence[bool] = True,
        delays: str = "axonal",
        learn_spread: bool = False,
        delay_init: str = "half_normal",
        delay_scale: float = 12.0,
        delay_range: tuple[float, float] = (10.0, 30.0),
        sigma: float = 10.0,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "soft",
        detach_reset: bool = False,
        surrogate: str | Surrogate = "triangle",
        alpha: float = 5.0,
        bias: bool = True,
        norm: str = "none",
        dropout: float = 0.1,
        dropout_on: str = "current",
        recurrent_dropout: float = 0.3,
        weight_init: str = "default",
        readout: str = "linear",
        engine: str = "auto",
        feedforward_delays: str | Sequence[str] = "none",
        segments: int = 1,
    ) -> None:
        super().__init__()
        if segments < 1:
            raise ValueError(f"segments={segments} must be at least 1.")
        flags = _per_layer("recurrent", recurrent, bool, hidden)
        kinds = _per_layer("feedforward_delays", feedforward_delays, str, hidden)
        _check_sizes(inputs, outputs, hidden)
        for option, value, valid in (
            ("norm", norm, NORMS),
            ("dropout_on", dropout_on, DROPOUTS_ON),
            ("weight_init", weight_init, WEIGHT_INITS),
            ("readout", readout, READOUTS),
        ):
            if value not in valid:
                raise ValueError(f"{option}={value!r} is unknown: choose one of {list(valid)}.")
        neuron: dict[str, Any] = dict(
            tau=tau,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            alpha=alpha,
            engine=engine,
        )
        kernel: dict[str, Any] = dict(
            sigma=sigma, delay_init=delay_init, delay_scale=delay_scale, delay_range=delay_range
        )
        recurrence: dict[str, Any] = dict(
            delays=delays,
            # a spread without delays is refused, unless the feed-forward synapses have them
            learn_spread=learn_spread and (delays != "none" or set(kinds) == {"none"}),
            dropout=recurrent_dropout,
            **kernel,
        )
        delayed: dict[str, Any] = dict(learn_spread=learn_spread, engine=engine, **kernel)
        self.layers = nn.ModuleList(
            SpikingLayer(
                _linear(senders, receivers, bias, weight_init, engine, kind, delayed),
                DelayedRecurrentLIF(receivers, **neuron, **recurrence) if flag else LIF(**neuron),
                BatchNorm(receivers, engine) if norm == "batch" else nn.Identity(),
                HeldDropout(dropout),
                dropout_on,
            )
            for senders, receivers, flag, kind in zip(
                [inputs, *hidden], hidden, flags, kinds, strict=False
            )
        )
        end: nn.Module = nn.Identity()
        if readout == "leaky":
            end = LeakyIntegrator(tau)
        elif readout == "spiking":
            end = LIF(**neuron)
        readout_linear = cast(Linear, _linear(hidden[-1], outputs, bias, weight_init, engine))
        self.readout = Readout(readout_linear, end)
        self.inputs, self.segments, self.norm = inputs, segments, norm

    def forward(self, frames: Tensor) -> Tensor:
        """Outputs of every step, (T, B, K), from frames (T, B, C)."""
        check_current(frames, self.inputs, "frames")
        if self.segments == 1:
            return self._steps(frames)
        if self.norm == "batch" and self.training:
            return self._steps(frames, twice)
        return in_segments(self, self._steps, frames, self.segments)

    def _steps(
        self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor] = nn.Module.__call__
    ) -> Tensor:
        """Any number of steps."""
        for layer in self.layers:
            x = run(layer, x)
        return run(self.readout, x)

    @property
    def sigma(self) -> float:
        """Spread of all delay kernels in steps; 0.0 where no layer has delays.

        Setting it reaches every delayed layer, and does nothing where there is none.
        """
        layers = list(delayed_layers(self).values())
        return layers[0].sigma if layers else 0.0

    @sigma.setter
    def sigma(self, value: float) -> None:
        for layer in delayed_layers(self).values():
            layer.sigma = value

    def hard_delays(self, sigma: float | None = None) -> AbstractContextManager[None]:
        """Whole delays inside the context, see ``snnbreg.models.delay.hard_delays``."""
        return hard_delays(self, sigma)

    def round_delays_(self) -> None:
        """Round all delays to whole steps >= 0, in place, as the published validation does."""
        round_delays_(self)

    def clamp_delays_(self) -> None:
        """Set negative delays to zero, in place."""
        clamp_delays_(self)

    def delays(self) -> dict[str, Tensor]:
        """The delays in steps, detached, by layer.

        ``layers.0`` are those of its recurrence, ``layers.0.linear`` of its feed-forward synapses.
        """
        return {
            name.removesuffix(".neuron"): layer.delay.detach()
            for name, layer in delayed_layers(self).items()
        }

    def spiking_layers(self) -> dict[str, nn.Module]:
        """The hidden neurons by layer name; each returns its spikes, (T, B, N)."""
        return {name: layer.neuron for name, layer in self._hidden().items()}

    def synapses(self) -> list[Synapses]:
        """All weight matrices in the order of the data: what a regulariser acts on."""
        found, senders = [], "input"
        for name, layer in self._hidden().items():
            found.append(Synapses(f"{name}.linear.weight", layer.linear.weight, senders))
            if isinstance(layer.neuron, DelayedRecurrentLIF):
                found.append(Synapses(f"{name}.neuron.weight", layer.neuron.weight, name))
            senders = name
        found.append(Synapses("readout.linear.weight", self.readout.linear.weight, senders))
        return found

    def plain_lif(self) -> PlainLIF:
        """The weights and what the neurons share, for methods that rest on these equations alone.

        Raises:
            ValueError: the network is more than that; the message says which settings to change.
        """
        layers = list(self._hidden().values())
        linears = [layer.linear for layer in layers] + [self.readout.linear]
        wrong = {
            "recurrent=false": any(not isinstance(layer.neuron, LIF) for layer in layers),
            "feedforward_delays=none": any(isinstance(x, DelayedLinear) for x in linears),
            "bias=false": any(getattr(x, "bias", None) is not None for x in linears),
            "norm=none": any(not isinstance(layer.norm, nn.Identity) for layer in layers),
            "dropout=0": any(layer.dropout.p > 0 for layer in layers),
            "readout=leaky": not isinstance(self.readout.neuron, LeakyIntegrator),
            "reset=soft": any(
                isinstance(layer.neuron, LIF) and layer.neuron.lif.reset != "soft"
                for layer in layers
            ),
        }
        if any(wrong.values()):
            change = ", ".join(setting for setting, needed in wrong.items() if needed)
            raise ValueError(f"A network of plain LIF neurons needs {change} (model=lif has them)")
        lif = cast(LIF, layers[0].neuron).lif
        return PlainLIF([x.weight for x in linears], lif.leak, lif.threshold)

    def _hidden(self) -> dict[str, SpikingLayer]:
        return {f"layers.{i}": cast(SpikingLayer, layer) for i, layer in enumerate(self.layers)}


def _linear(
    senders: int,
    receivers: int,
    bias: bool,
    init: str,
    engine: str,
    delays: str = "none",
    delayed: Mapping[str, Any] | None = None,
) -> Linear | DelayedLinear:
    linear: Linear | DelayedLinear
    if delays == "none":
        linear = Linear(senders, receivers, bias, engine)
    else:
        linear = DelayedLinear(senders, receivers, bias, delays, **(delayed or {}))
    if init == "kaiming":
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
    return linear


def _per_layer(name: str, value: Any, kind: type, hidden: Sequence[int]) -> list[Any]:
    """One value per hidden layer."""
    values = [value] * len(hidden) if isinstance(value, kind) else list(value)
    if len(values) != len(hidden):
        raise ValueError(
            f"{name}={tuple(values)} has {len(values)} values for {len(hidden)} hidden layers: "
            "give one per layer, or a single one for all."
        )
    return values


def _check_sizes(inputs: int, outputs: int, hidden: Sequence[int]) -> None:
    if len(hidden) < 1 or min(inputs, outputs, *hidden) < 1:
        raise ValueError(
            f"inputs={inputs}, outputs={outputs}, hidden={tuple(hidden)}: expected at least one "
            "hidden layer and at least one neuron everywhere."
        )
