import subprocess
import sys

import pytest

from snnbreg import functional
from snnbreg.kernels import ENGINES, get_engine


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "triton"])
def test_every_engine_offers_the_layers(name):
    engine = get_engine(name, "cpu")
    assert callable(engine.delayed_recurrence)
    assert callable(engine.lif)


def test_the_reference_is_the_readable_form():
    assert get_engine("reference").delayed_recurrence is functional.delayed_recurrence


def test_an_unknown_engine_is_refused_with_the_valid_names():
    with pytest.raises(ValueError, match=r"engine='gpu' is unknown: choose one of .*reference"):
        get_engine("gpu")


def test_auto_takes_the_compiled_engine_on_the_cpu_and_imports_numba_only_then():
    code = (
        "import sys; from snnbreg.kernels import get_engine;"
        "get_engine('auto', 'meta'), get_engine('reference');"
        "before = 'numba' in sys.modules;"
        "print(before, get_engine('auto', 'cpu').__name__, 'numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "snnbreg.kernels.cpu", "True"], result.stderr


def test_without_numba_auto_is_the_reference_and_cpu_says_what_to_do():
    code = (
        "import sys; sys.modules['numba'] = None;"  # importing it fails
        "from snnbreg.kernels import get_engine;"
        "print(get_engine('auto', 'cpu').__name__); get_engine('cpu', 'cpu')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["snnbreg.functional"], result.stderr
    assert "ValueError: engine='cpu' needs numba" in result.stderr


def test_the_cpu_engine_refuses_other_devices():
    assert get_engine("auto", "meta") is functional
    with pytest.raises(ValueError, match="engine='cpu' cannot compute on 'meta'"):
        get_engine("cpu", "meta")
