"""Values as functions of the step: on any field of parameter groups, and sigma."""

from snnbreg.schedulers.controller import DensityController
from snnbreg.schedulers.factory import make_scheduler
from snnbreg.schedulers.schedule import Schedule, Scheduler
from snnbreg.schedulers.torch_schedule import TorchSchedule
from snnbreg.schedulers.values import annealed_sigma

__all__ = [
    "DensityController",
    "Schedule",
    "Scheduler",
    "TorchSchedule",
    "annealed_sigma",
    "make_scheduler",
]
