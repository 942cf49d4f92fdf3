"""Run folders to tables, figures and a report; the only package that imports matplotlib.

Tables and comparisons work without matplotlib; figures say what to install.
"""

from snnbreg.analysis.compare import Comparison, compare
from snnbreg.analysis.confusion import confusion_matrix
from snnbreg.analysis.curves import (
    accuracy_against_density,
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    firing_rates,
)
from snnbreg.analysis.gallery import FIGURES, TABLES, draw, tables, write_figures, write_tables
from snnbreg.analysis.groups import Group, group_runs, newest, select
from snnbreg.analysis.page import report, report_tables, write_report
from snnbreg.analysis.pairs import Paired, paired_difference, paired_table
from snnbreg.analysis.states import (
    connectivity,
    delay_histograms,
    density_per_layer,
    dual_distances,
    firing_rates_per_layer,
)
from snnbreg.analysis.studies import Sweep, baseline, datasets, main_sweep, sparsest_within, sweeps
from snnbreg.analysis.study_tables import (
    lambda_table,
    network_table,
    summary_sentence,
    table1,
    table2,
)
from snnbreg.analysis.tables import Column, Interval, Measure, Table
from snnbreg.runs import Run, read_run, read_runs

__all__ = [
    "FIGURES",
    "TABLES",
    "Column",
    "Comparison",
    "Group",
    "Interval",
    "Measure",
    "Paired",
    "Run",
    "Sweep",
    "Table",
    "accuracy_against_density",
    "baseline",
    "compare",
    "confusion_matrix",
    "connectivity",
    "datasets",
    "delay_histograms",
    "density_per_layer",
    "draw",
    "dual_distances",
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "firing_rates",
    "firing_rates_per_layer",
    "group_runs",
    "lambda_table",
    "main_sweep",
    "network_table",
    "newest",
    "paired_difference",
    "paired_table",
    "read_run",
    "read_runs",
    "report",
    "report_tables",
    "select",
    "sparsest_within",
    "summary_sentence",
    "sweeps",
    "table1",
    "table2",
    "tables",
    "write_figures",
    "write_report",
    "write_tables",
]
