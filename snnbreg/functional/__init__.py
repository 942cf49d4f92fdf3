"""The equations as pure functions on tensors: surrogates, LIF, delay kernel, delayed synapses.

Needs only torch. ``delayed_recurrence``, ``delayed_linear``, ``linear`` and ``lif`` here are the
reference: short and readable. The engines of ``snnbreg.kernels`` compute the same functions faster.
"""

from .batch_norm import Add, batch_norm, column_sums, track_
from .carried import Carried, link_of, unpack
from .delay import check_finite, delay_kernel, half_width, kernel_length, readable
from .feedforward import (
    check_delayed_linear,
    check_linear,
    delayed_linear,
    feedforward_kernel,
    filter_events,
    linear,
)
from .lif import (
    RESETS,
    LIFParameters,
    check_current,
    continued_lif,
    leaky_integrator,
    lif,
    lif_parameters,
    lif_step,
)
from .recurrence import check_recurrence, continued_recurrence, delayed_recurrence
from .surrogates import (
    SURROGATES,
    Surrogate,
    atan_slope,
    spike,
    surrogate_slope,
    triangle_slope,
)

__all__ = [
    "RESETS",
    "SURROGATES",
    "Add",
    "Carried",
    "LIFParameters",
    "Surrogate",
    "atan_slope",
    "batch_norm",
    "check_current",
    "check_delayed_linear",
    "check_finite",
    "check_linear",
    "check_recurrence",
    "column_sums",
    "continued_lif",
    "continued_recurrence",
    "delay_kernel",
    "delayed_linear",
    "delayed_recurrence",
    "feedforward_kernel",
    "filter_events",
    "half_width",
    "kernel_length",
    "leaky_integrator",
    "lif",
    "lif_parameters",
    "lif_step",
    "linear",
    "link_of",
    "readable",
    "spike",
    "surrogate_slope",
    "track_",
    "triangle_slope",
    "unpack",
]
