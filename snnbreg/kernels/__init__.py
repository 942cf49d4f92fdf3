"""Engines: fast implementations of ``snnbreg.functional``, chosen by ``get_engine``."""

from .select import ENGINES, Engine, check_engine, get_engine

__all__ = ["ENGINES", "Engine", "check_engine", "get_engine"]
