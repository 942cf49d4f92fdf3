"""The loop around a network: objectives, evaluation, checkpoints, loggers and the trainer.

Nothing here knows a network, a data set or an optimizer by name: the trainer receives objects and
uses what any network of :mod:`snnbreg.models` exposes (``sigma``, ``hard_delays``, ``synapses``,
``spiking_layers``, ``delays``).
"""

from snnbreg.runs import RunFolder
from snnbreg.training.evaluation import EVALUATIONS, evaluate
from snnbreg.training.loggers import Logger, TensorboardLogger, WandbLogger
from snnbreg.training.network import Network
from snnbreg.training.objectives import OBJECTIVES, Objective
from snnbreg.training.summary import chosen_accuracy, summarise, summary_table
from snnbreg.training.trainer import Trainer

__all__ = [
    "EVALUATIONS",
    "OBJECTIVES",
    "Logger",
    "Network",
    "Objective",
    "RunFolder",
    "TensorboardLogger",
    "Trainer",
    "WandbLogger",
    "chosen_accuracy",
    "evaluate",
    "summarise",
    "summary_table",
]
