"""Layers and networks: parameters and composition over the equations of ``functional``."""

from .delayed import DelayedRecurrentLIF
from .delays import clamp_delays_, delayed_layers, hard_delays, round_delays_
from .dropout import HeldDropout
from .layers import Readout, SpikingLayer
from .lif import LIF, LeakyIntegrator
from .network import SpikingNetwork, Synapses

__all__ = [
    "LIF",
    "DelayedRecurrentLIF",
    "HeldDropout",
    "LeakyIntegrator",
    "Readout",
    "SpikingLayer",
    "SpikingNetwork",
    "Synapses",
    "clamp_delays_",
    "delayed_layers",
    "hard_delays",
    "round_delays_",
]
