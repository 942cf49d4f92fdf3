"""Build the dashboard of configs/wandb_dashboard.yaml in Weights & Biases, as a new view.

python scripts/wandb_dashboard.py --project P [--entity E] [--group SWEEP]
python scripts/wandb_dashboard.py --project P --print  # what would be sent; no network, no account
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from snnbreg import assembly
from snnbreg.training import dashboard

PANELS = Path(__file__).parents[1] / "configs" / "wandb_dashboard.yaml"


def main() -> None:
    """Save the view, or print what would be saved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", default="snnbreg", help="default: snnbreg, as logger.project")
    parser.add_argument("--entity", default="", help="user or team; default: the account's own")
    parser.add_argument("--group", help="show this sweep alone: the name of its folder")
    parser.add_argument("--print", action="store_true", dest="printed",
                        help="print the specification as JSON and save nothing")  # fmt: skip
    options = parser.parse_args()
    description = yaml.safe_load(PANELS.read_text(encoding="utf-8"))
    view = dashboard.workspace(description, options.project, options.entity, options.group)
    if options.printed:
        print(json.dumps(dashboard.specification(view), indent=2))
    else:
        print(dashboard.save(view))


if __name__ == "__main__":
    assembly.run(main)
