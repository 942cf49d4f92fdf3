import pytest

from snnbreg import functional
from snnbreg.kernels import ENGINES, get_engine


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_offers_the_layers(name):
    engine = get_engine(name, "cpu")
    assert callable(engine.delayed_recurrence)
    assert callable(engine.lif)


def test_the_reference_is_the_readable_form():
    assert get_engine("reference").delayed_recurrence is functional.delayed_recurrence


def test_an_unknown_engine_is_refused_with_the_valid_names():
    with pytest.raises(ValueError, match=r"engine='gpu' is unknown: choose one of .*reference"):
        get_engine("gpu")
