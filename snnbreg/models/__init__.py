"""Layers and networks: parameters and composition over the equations of ``functional``."""

from .delay import Delay, clamp_delays_, delayed_layers, deployed, hard_delays, round_delays_
from .delayed import DelayedRecurrentLIF
from .delayed_linear import DelayedLinear
from .dropout import HeldDropout
from .layers import Readout, SpikingLayer
from .lif import LIF, LeakyIntegrator
from .network import SpikingNetwork, Synapses
from .static import MLP, ConvNet, ResNet, StaticNetwork

__all__ = [
    "LIF",
    "MLP",
    "ConvNet",
    "Delay",
    "DelayedLinear",
    "DelayedRecurrentLIF",
    "HeldDropout",
    "LeakyIntegrator",
    "Readout",
    "ResNet",
    "SpikingLayer",
    "SpikingNetwork",
    "StaticNetwork",
    "Synapses",
    "clamp_delays_",
    "delayed_layers",
    "deployed",
    "hard_delays",
    "round_delays_",
]
