"""The README's own loop: what it says comes out of it."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_loop_of_ones_own_learns_digits_with_a_tenth_of_the_weights(capsys):
    text = README.read_text(encoding="utf-8").split("## Use the parts")[1]
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert len(code.splitlines()) < 40
    assert "epochs, digits = 30" in code
    assert "hidden=[128, 128]" in code
    short = code.replace("epochs, digits = 30", "epochs, digits = 8")
    exec(short.replace("hidden=[128, 128]", "hidden=[64, 64]"), {"__name__": "readme"})
    last = capsys.readouterr().out.strip().splitlines()[-1]
    epoch, accuracy, density = re.fullmatch(r"(\d+) accuracy (\S+)  density (\S+)", last).groups()
    assert epoch == "7"
    assert float(accuracy) > 0.35  # chance is 0.1
    assert 0.095 < float(density) <= 0.1 + 1e-3
