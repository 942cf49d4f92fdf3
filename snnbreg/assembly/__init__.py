"""From a config to the objects of a run: the only package that knows Hydra and OmegaConf."""

from snnbreg.assembly.again import run_dir, to_continue
from snnbreg.assembly.cli import explain, reported, run, swept_folders
from snnbreg.assembly.configs import config_folder
from snnbreg.assembly.fitting import fit
from snnbreg.assembly.load import TrainedRun, load_run, load_start, trained_network, with_options
from snnbreg.assembly.methods import build_optimizers
from snnbreg.assembly.names import unknown_option
from snnbreg.assembly.objects import (
    build_dataset,
    build_device,
    build_loader,
    build_network,
    build_splits,
    build_task,
    build_trainer,
    count_parameters,
    logging_to,
    using_threads,
)
from snnbreg.assembly.resume import check_shown, settle
from snnbreg.assembly.schema import check
from snnbreg.assembly.sweeps import code_version, run_name
from snnbreg.assembly.torchrun import in_turn, joined

__all__ = [
    "TrainedRun",
    "build_dataset",
    "build_device",
    "build_loader",
    "build_network",
    "build_optimizers",
    "build_splits",
    "build_task",
    "build_trainer",
    "check",
    "check_shown",
    "code_version",
    "config_folder",
    "count_parameters",
    "explain",
    "fit",
    "in_turn",
    "joined",
    "load_run",
    "load_start",
    "logging_to",
    "reported",
    "run",
    "run_dir",
    "run_name",
    "settle",
    "swept_folders",
    "to_continue",
    "trained_network",
    "unknown_option",
    "using_threads",
    "with_options",
]
