"""Where the config files are."""

from __future__ import annotations

from pathlib import Path

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
