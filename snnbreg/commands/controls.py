"""What learned delays are worth: a network beside controls with as many parameters.

Queant et al. 2025 (arXiv 2509.24852) compare delays on recurrent synapses with delays on
feed-forward ones and with none. Here every control is as wide as it takes to have as many
parameters as the data set's own network; all are trained by Adam with the same settings.
"""

from __future__ import annotations

import numpy as np

from snnbreg import assembly
from snnbreg.assembly.configs import composed
from snnbreg.commands.width import counts, overrides_of, sizes_of, with_parameters

PLAIN = ["model.delays=none", "model.learn_spread=false"]
CONTROLS: dict[str, list[str]] = {
    "learned": [],  # one per sender of the recurrence: DelRec
    "both": ["model.feedforward_delays=synaptic"],  # and one per synapse between layers
    "feedforward": [*PLAIN, "model.recurrent=false", "model.feedforward_delays=synaptic"],  # DCLS
    "fixed": ["model.delays=fixed", "model.learn_spread=false", "model.sigma=0"],
    "common": ["model.delays=common"],
    "one_step": [*PLAIN, "trainer.grad_clip=1"],  # recurrence without delays is clipped there
    "no_recurrence": [*PLAIN, "model.recurrent=false"],
    "fewer_spikes": ["trainer.penalties=[{name: spike_count, weight: 0.05}]"],
}
"""The controls, by what they have instead of the network's own delays."""


def control_settings(own: list[str], common: list[str]) -> list[list[str]]:
    """The overrides of the network and of every control, with their widths.

    Args:
        own: overrides of the data set's network and training.
        common: overrides that all runs share; the data have to be there, since they say how many
            channels and classes there are.

    Raises:
        ValueError: a network of this kind has no delays to compare.
    """
    config = assembly.check(composed([*own, *common]))
    model = config["model"]
    if model.get("delays", "none") == "none" or not np.any(model["recurrent"]):
        raise ValueError(
            f"model={model['name']} has no recurrent delays: choose a data set whose "
            "network has, such as spoken_digits, arabic_commands, shd or ssc"
        )
    splits, sizes = assembly.build_splits(config), sizes_of(config)
    _, parameters = counts(config, splits, sizes)
    planned = []
    for control in CONTROLS.values():
        changed = assembly.check(composed([*own, *control, *common]))
        found = with_parameters(changed, splits, parameters)
        planned.append([*own, *control, *(overrides_of(found) if found != sizes else [])])
    return planned
