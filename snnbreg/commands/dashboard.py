"""Build the dashboard of configs/wandb_dashboard.yaml in Weights & Biases, as a new view."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import yaml

from snnbreg.assembly import config_folder
from snnbreg.training import dashboard


def run(options: Namespace) -> None:
    """Save the view, or print what would be saved."""
    panels = Path(options.panels or config_folder() / "wandb_dashboard.yaml")
    description = yaml.safe_load(panels.read_text(encoding="utf-8"))
    view = dashboard.workspace(description, options.project, options.entity, options.group)
    if options.print:
        print(json.dumps(dashboard.specification(view), indent=2))
    else:
        print(dashboard.save(view))
