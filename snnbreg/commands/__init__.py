"""What the commands of :mod:`snnbreg.cli` do: ``run(options)`` of the module of that name."""
