import subprocess
import sys

import pytest
import snntorch.surrogate
import torch

from snnbreg.functional import spike, surrogate_slope
from snnbreg.models.surrogates import SNNTORCH_SURROGATES, resolve_surrogate


@pytest.mark.parametrize("name", SNNTORCH_SURROGATES)
def test_surrogates_of_snntorch_by_name(name):
    function = resolve_surrogate(f"snntorch:{name}")
    x = torch.tensor([-0.6, -0.1, 0.2, 0.9], requires_grad=True)
    torch.manual_seed(0)  # SSO draws its gradient
    (expected,) = torch.autograd.grad(getattr(snntorch.surrogate, name)()(x).sum(), x)
    torch.manual_seed(0)
    assert torch.equal(surrogate_slope(x, function), expected)
    assert spike(x, function).tolist() == [0, 0, 1, 1]


def test_our_own_names_and_functions_pass_through():
    assert resolve_surrogate("atan") == "atan"
    assert resolve_surrogate(torch.sigmoid) is torch.sigmoid


@pytest.mark.parametrize("name", ["sigmoid", "snntorch:LSO", "snntorch:", "snntorch:nn"])
def test_unknown_names_are_refused_with_the_valid_ones(name):
    with pytest.raises(ValueError, match=f"'{name}' is unknown: .*triangle.*snntorch:fast_sigmoid"):
        resolve_surrogate(name)


def test_importing_the_models_needs_torch_alone():
    code = (
        "import sys, snnbreg.models; "
        "heavy = {'hydra', 'omegaconf', 'tonic', 'wandb', 'matplotlib', 'snntorch', 'numba', "
        "'triton', 'h5py'}; print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
