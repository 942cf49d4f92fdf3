"""Training without gradients: alternating direction steps with closed-form updates.

``equations`` has the constraints and the Lagrangian, ``blocks`` and ``published`` its updates,
``weights`` that of the weights, ``variables`` what persists, ``method`` the class that trains.
"""

from snnbreg.admm.method import ADMM

__all__ = ["ADMM"]
