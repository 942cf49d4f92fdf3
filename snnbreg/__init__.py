"""snnbreg: sparse spiking neural networks with learned delays, trained by Bregman iterations.

The rooms, in the order the data takes: ``datasets`` (recordings to frames), ``functional`` and
``kernels`` (the equations and their fast twins), ``models`` (networks), ``training`` (the loop),
``optim`` and ``schedulers`` (how parameters move). Importing this package imports none of them.
"""

__version__ = "0.1.0"
