"""Whether lambda is within reach of the learning rates.

From a dense start, ``v_0 = theta_0 / delta + lam sign(theta_0)``, a weight vanishes at
``v = lam sign`` and appears with the other sign only after v has moved by 2 lam more. If no v can
move that far in the whole run, the run does not depend on lam at all. From a sparse start, a zero
weight appears when v has moved by lam: if no v can, the zeros stay.

The lambda in question: Windhager et al.: LBI for sparse spiking networks (2026), arXiv 2603.16462.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer

from snnbreg.optim.adabreg import AdaBreg
from snnbreg.optim.regularizers import get_regularizer


def unreachable_lam(optimizer: Optimizer, lr_sums: Sequence[float]) -> list[str]:
    """Warnings for groups of an AdaBreg whose lam is beyond the reach of their learning rate.

    An AdaBreg step moves v by about lr at most, so the sum of lr over all steps bounds its drift;
    the real drift of a network is far smaller, since gradients change sign. The reach of LinBreg
    depends on the gradients and gets no warning; neither does the nuclear norm, of whose singular
    values the drift of single entries says little.

    Args:
        optimizer: any optimizer before its first step; only AdaBreg is judged. Whether a group
            starts sparse is read off its weights: with zeros among them, of any of its layers.
        lr_sums: the sum of the learning rate over all steps of the run, one per group.

    Returns:
        One message for each group, to be shown to the user; empty if lam is within reach.

    Example:
        >>> import torch
        >>> optimizer = AdaBreg([torch.nn.Parameter(torch.ones(2))], lam=10.0)
        >>> print(unreachable_lam(optimizer, lr_sums=[4.0])[0])
        lam = 10 of parameter group 0 is out of reach: all steps together move v by at most 4. The \
run is the same for every lam above 2. Lower lam or raise lr or the number of epochs.
    """
    if not isinstance(optimizer, AdaBreg):
        return []
    messages = []
    for index, (group, reach) in enumerate(zip(optimizer.param_groups, lr_sums, strict=True)):
        dense = all(bool((param != 0).all()) for param in group["params"])
        limit = reach / 2 if dense else reach
        judged = get_regularizer(group["regularizer"]).makes_zeros
        if group["regularizer"] == "none" or not judged or group["lam"] <= limit:
            continue
        effect = (
            f"The run is the same for every lam above {limit:.3g}."
            if dense
            else "Weights that start at zero stay there."
        )
        messages.append(
            f"lam = {group['lam']:g} of parameter group {index} is out of reach: all steps "
            f"together move v by at most {reach:.3g}. {effect} "
            "Lower lam or raise lr or the number of epochs."
        )
    return messages
