"""From a trained network to a chip: sparse weights, whole delays, programs, and their proof."""

from snnbreg.deploy.ccode import write_program
from snnbreg.deploy.convert import Conversion, convert
from snnbreg.deploy.file import NAME, read_network, write_network
from snnbreg.deploy.finetune import RoundedWeights, finetune
from snnbreg.deploy.integers import calibrate, quantize
from snnbreg.deploy.network import DeployedNetwork, Layer, Synapses
from snnbreg.deploy.proof import Batch, Proof, prove, trained_answers, whole_counts
from snnbreg.deploy.samples import Sample, write_samples
from snnbreg.deploy.simulator import Answer, Simulator, raster

__all__ = [
    "NAME",
    "Answer",
    "Batch",
    "Conversion",
    "DeployedNetwork",
    "Layer",
    "Proof",
    "RoundedWeights",
    "Sample",
    "Simulator",
    "Synapses",
    "calibrate",
    "convert",
    "finetune",
    "prove",
    "quantize",
    "raster",
    "read_network",
    "trained_answers",
    "whole_counts",
    "write_network",
    "write_program",
    "write_samples",
]
