"""The equations as pure functions on tensors: surrogates, LIF, delay kernel, delayed recurrence.

Needs only torch. ``delayed_recurrence`` and ``lif`` here are the reference: short and readable. The
engines of ``snnbreg.kernels`` compute the same functions faster.
"""

from .delay import delay_kernel, half_width, kernel_length
from .lif import (
    RESETS,
    LIFParameters,
    check_current,
    leaky_integrator,
    lif,
    lif_parameters,
    lif_step,
)
from .recurrence import check_recurrence, delayed_recurrence
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
    "LIFParameters",
    "Surrogate",
    "atan_slope",
    "check_current",
    "check_recurrence",
    "delay_kernel",
    "delayed_recurrence",
    "half_width",
    "kernel_length",
    "leaky_integrator",
    "lif",
    "lif_parameters",
    "lif_step",
    "spike",
    "surrogate_slope",
    "triangle_slope",
]
