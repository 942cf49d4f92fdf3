"""The loop around a network: tasks, methods, evaluation, run folders, loggers and the trainer.

Nothing here knows a network, a data set or an optimizer by name: the trainer receives objects, any
``nn.Module`` among them, and uses more of a network where it offers more (see ``network``).
"""

from snnbreg.runs import RunFolder
from snnbreg.training.columns import COLUMNS
from snnbreg.training.evaluation import EVALUATIONS, evaluate
from snnbreg.training.loggers import Logger, TensorboardLogger, WandbLogger
from snnbreg.training.methods import DivergedError, GradientSteps, Method
from snnbreg.training.summary import chosen_score, summarise, summary_table
from snnbreg.training.tasks import TASKS, Score, Task
from snnbreg.training.trainer import Trainer

__all__ = [
    "COLUMNS",
    "EVALUATIONS",
    "TASKS",
    "DivergedError",
    "GradientSteps",
    "Logger",
    "Method",
    "RunFolder",
    "Score",
    "Task",
    "TensorboardLogger",
    "Trainer",
    "WandbLogger",
    "chosen_score",
    "evaluate",
    "summarise",
    "summary_table",
]
