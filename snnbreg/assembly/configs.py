"""Where the config files are, and what they and a command line amount to."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import snnbreg


def config_folder() -> Path:
    """The folder of ``config.yaml`` and its groups.

    They lie inside the package where it was installed from a wheel, and beside it in the
    repository, which an editable install uses too.

    Raises:
        FileNotFoundError: they are in neither place.
    """
    package = Path(snnbreg.__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(f"The installation of snnbreg in {package} lacks its folder configs")


def shown(arguments: Sequence[str]) -> DictConfig | None:
    """The config that Hydra's ``--cfg job`` is about to print, not yet checked; None without it.

    Args:
        arguments: of the command line.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("--cfg", "-c"), ("--config-dir", "-cd"), ("--package", "-p")):
        parser.add_argument(*names)
    options, rest = parser.parse_known_args(list(arguments))
    if options.cfg not in ("job", "all"):
        return None
    overrides = [word for word in rest if not word.startswith("-")]
    if options.config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{Path(options.config_dir).resolve()}']")
    return composed(overrides)


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config that ``snnbreg train`` makes of these overrides, not yet checked."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", list(overrides))
