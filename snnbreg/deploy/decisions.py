"""From the outputs of a deployed network to a class.

With floats the sums over time are those of float64. An integer network decides in whole numbers,
its softmax too: 2^-z by a table of 256 entries and shifts, the shares as multiples of 2^-16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from snnbreg.deploy.network import Array, DeployedNetwork

TABLE_BITS = 8
SHARE_BITS = 16
POWER_BITS = 24
POWERS = np.array(
    [round(2 ** (POWER_BITS - i / 2**TABLE_BITS)) for i in range(2**TABLE_BITS)], np.int64
)
"""2^24 times 2^(-i/256), i = 0 .. 255."""


def exponent_factor(network: DeployedNetwork) -> int:
    """What turns a difference of two outputs into 256ths of a power of two, times 2^16."""
    return round(network.output_scale / math.log(2.0) * 2 ** (TABLE_BITS + 16))


def decide(network: DeployedNetwork, outputs: Array) -> tuple[Array, Array]:
    """The class of a recording and what it is the largest of.

    Args:
        network: says how, see ``DECISIONS``.
        outputs: (T, K) of one recording.

    Returns:
        The class, a scalar array, or (T,) where every step has one; the scores, (K,) or (T, K),
        float64 or int64.
    """
    scores: Any
    if network.decision == "softmax_sum":
        shares = integer_shares(network, outputs) if network.integer else softmax(outputs)
        scores = shares.sum(0)
    else:
        wide = outputs.astype(np.int64 if network.integer else np.float64)
        scores = {"sum": wide.sum(0), "last": wide[-1], "step": wide}[network.decision]
    return np.asarray(scores.argmax(-1)), scores


def score_unit(network: DeployedNetwork) -> float:
    """What one unit of a score is worth."""
    if not network.integer:
        return 1.0
    return 2.0**-SHARE_BITS if network.decision == "softmax_sum" else network.output_scale


def softmax(outputs: Array) -> Array:
    """Along the last axis, float64."""
    wide = outputs.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return shares


def integer_shares(network: DeployedNetwork, outputs: Array) -> Array:
    """The softmax of whole outputs (T, K) in whole numbers, multiples of 2^-16, int64.

    An exponent of 2^-24 or less is none.

    Example:
        Outputs 1.0 apart have shares of 1 : e.

        >>> network = DeployedNetwork([], None, 1, 1, 0.5, "soft", "linear",
        ...     "softmax_sum_cross_entropy", bits=8, output_scale=0.01)
        >>> (integer_shares(network, np.array([[300, 200]])) / 2**16).round(3)
        array([[0.731, 0.269]])
    """
    wide = outputs.astype(np.int64)
    below = np.minimum(wide.max(-1, keepdims=True) - wide, 2**31 - 1)
    z = (below * exponent_factor(network)) >> 16
    powers = POWERS[z & (2**TABLE_BITS - 1)] >> np.minimum(z >> TABLE_BITS, 63)
    shares: Array = (powers << SHARE_BITS) // powers.sum(-1, keepdims=True)
    return shares
