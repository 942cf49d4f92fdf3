import itertools
import math

import pytest
import torch

from snnbreg.functional import delayed_recurrence, half_width, lif, lif_parameters, spike


class LiteralSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, surrogate, alpha):
        ctx.save_for_backward(x)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return torch.where(x >= 0, 1.0, 0.0).to(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if ctx.surrogate == "triangle":
            slope = torch.clamp(1 - torch.abs(x), min=0)
        else:
            slope = ctx.alpha / 2 / (1 + (math.pi / 2 * ctx.alpha * x) ** 2)
        return grad * slope, None, None


def literal_recurrence(current, weight, delay, sigma, spread, mask, settings):
    """The published algorithm written out: W times every slot of a buffer of future currents."""
    tau, threshold, reset, detach_reset, surrogate, alpha = settings
    T, B, N = current.shape
    s = torch.full((N,), 1.0 + sigma).to(current)
    if spread is not None:
        s = 1 + 2 * sigma * torch.sigmoid(spread)
    L = math.ceil(1 + delay.max().item() + s.max().item()) + 1
    k = torch.arange(L).to(current)
    h = (s[:, None] - (k - (1 + delay[..., None])).abs()).clamp(min=0) / s[:, None] ** 2

    buffer = current.new_zeros(B, N, L)
    pointer = 0
    v = current.new_zeros(B, N)
    trace = []
    for t in range(T):
        r = buffer[:, :, pointer]
        r = r if mask is None else r * mask
        membrane = (1 - 1 / tau) * v + (current[t] + r)
        y = LiteralSpike.apply(membrane - threshold, surrogate, alpha)
        y_reset = y.detach() if detach_reset else y
        v = membrane - threshold * y_reset if reset == "soft" else (1 - y_reset) * membrane
        if delay.ndim == 2:
            sent = torch.einsum("bo,io,iol->bil", y, weight, h)
        else:
            sent = weight @ (y[:, :, None] * h)
        emptied = torch.ones(L).to(current)
        emptied[pointer] = 0
        pointer = (pointer + 1) % L
        slots = (pointer + torch.arange(L - 1)) % L
        buffer = (buffer * emptied).index_add(2, slots, sent[:, :, 1:])  # k = 0 is dropped
        trace.append(y)
    return torch.stack(trace)


def problem(T=25, B=3, N=5, synaptic=False, spread=True, mask=True, reach=6.0, drive=0.9):
    generator = torch.Generator().manual_seed(T + 10 * B + N)
    options = {"generator": generator, "dtype": torch.float64}
    tensors = {
        "current": drive * torch.rand(T, B, N, **options),
        "weight": 0.7 * torch.randn(N, N, **options),
        "delay": reach * torch.rand(*((N, N) if synaptic else (N,)), **options),
        "spread": torch.randn(N, **options) if spread else None,
    }
    dropped = 2.0 * torch.rand(B, N, **options).round() if mask else None
    return tensors, dropped


def run(function, tensors, mask, sigma, settings):
    """Spikes, and the gradients of a random weighting of them."""
    leaves = {k: v if v is None else v.clone().requires_grad_() for k, v in tensors.items()}
    spikes = function(**leaves, mask=mask, sigma=sigma, settings=settings)
    weights = torch.randn(
        spikes.shape, generator=torch.Generator().manual_seed(1), dtype=spikes.dtype
    )
    (spikes * weights).sum().backward()
    grads = {k: v.grad for k, v in leaves.items() if v is not None}
    zeros = {k: torch.zeros_like(leaves[k]) for k in grads}
    return spikes.detach(), {k: zeros[k] if grad is None else grad for k, grad in grads.items()}


def ours(current, weight, delay, spread, mask, sigma, settings):
    width = half_width(torch.tensor(sigma, dtype=current.dtype), spread)
    return delayed_recurrence(current, weight, delay, width, mask, lif_parameters(*settings))


def assert_equal_to_literal(tensors, mask, sigma, settings):
    expected, expected_grads = run(literal_recurrence, tensors, mask, sigma, settings)
    spikes, grads = run(ours, tensors, mask, sigma, settings)
    assert torch.equal(spikes, expected)
    for name, grad in grads.items():
        scale = expected_grads[name].abs().max().item()
        torch.testing.assert_close(
            grad, expected_grads[name], rtol=1e-9, atol=1e-9 * scale, msg=lambda m, n=name: n + m
        )
    return spikes, grads


SETTINGS = list(itertools.product(("soft", "hard"), (False, True), ("triangle", "atan")))


@pytest.mark.parametrize("synaptic", [False, True], ids=["axonal", "synaptic"])
@pytest.mark.parametrize(("reset", "detach", "surrogate"), SETTINGS)
def test_equals_the_published_algorithm(reset, detach, surrogate, synaptic):
    tensors, mask = problem(synaptic=synaptic)
    settings = (1.7, 0.9, reset, detach, surrogate, 5.0)
    spikes, grads = assert_equal_to_literal(tensors, mask, 3.0, settings)
    assert 0.1 < spikes.mean() < 0.9
    assert all(grad.any() for grad in grads.values())


@pytest.mark.parametrize("synaptic", [False, True], ids=["axonal", "synaptic"])
@pytest.mark.parametrize(
    "case",
    [
        {"mask": False},
        {"spread": False},
        {"reach": 80.0},  # most delays are longer than the recording
        {"T": 1},
        {"T": 2},
        {"B": 1, "N": 1},
        {"drive": 0.0},  # nobody fires
        {"drive": 50.0},  # everybody fires
    ],
    ids=str,
)
def test_equals_the_published_algorithm_at_the_edges(case, synaptic):
    tensors, mask = problem(synaptic=synaptic, **case)
    settings = (2.0, 1.0, "soft", False, "triangle", 5.0)
    spikes, _ = assert_equal_to_literal(tensors, mask, 1.5, settings)
    if "drive" in case:
        assert spikes.mean() == (1.0 if case["drive"] else 0.0)


def test_negative_delays_lose_mass_like_the_published_algorithm():
    tensors, mask = problem()
    tensors["delay"][:2] = torch.tensor([-0.4, -3.0])
    settings = (2.0, 1.0, "hard", False, "atan", 5.0)
    assert_equal_to_literal(tensors, mask, 1.5, settings)


def test_hand_computed_trace():
    """Neuron 0 is driven at t = 0; its spike reaches neuron 1 after 1 + 2 steps, half as strong
    one step before and after (s = 2: 1/4, 1/2, 1/4, times 2)."""
    current = torch.zeros(6, 1, 2)
    current[0, 0, 0] = 1.0
    current[3, 0, 1] = 0.25  # with leak 1/2: H = .5 * .5 + 1 + .25 = 1.5, then V = .5
    weight = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    spikes = delayed_recurrence(current, weight, torch.tensor([2.0, 0.0]), torch.tensor(2.0))
    assert spikes[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 0]
    assert spikes[:, 0, 1].tolist() == [0, 0, 0, 1, 0, 0]  # at t = 4: .25 + .5 = .75


def test_without_sigma_the_history_is_gathered():
    torch.manual_seed(0)
    T, N = 30, 6
    current, weight = torch.rand(T, 2, N), torch.randn(N, N)
    delay = torch.tensor([0.0, 1.0, 2.0, 5.0, 11.0, 40.0])
    spikes = delayed_recurrence(current, weight, delay, torch.tensor(1.0))
    v = torch.zeros(2, N)
    past = torch.zeros(T, 2, N)
    for t in range(T):
        z = torch.zeros(2, N)
        for j, d in enumerate(delay.int().tolist()):
            if t - 1 - d >= 0:
                z[:, j] = past[t - 1 - d, :, j]
        h = 0.5 * v + (current[t] + z @ weight.T)
        past[t] = (h >= 1).float()
        v = h - past[t]
    assert torch.equal(spikes, past)


def test_without_weights_it_is_a_feed_forward_layer():
    tensors, _ = problem(T=40, spread=False, drive=1.4)
    settings = lif_parameters(3.0, 1.1, "hard", False, "atan", 4.0)
    current = [tensors["current"].clone().requires_grad_() for _ in range(2)]
    zero = torch.zeros_like(tensors["weight"])
    width = torch.tensor(4.0, dtype=torch.float64)
    pair = (
        delayed_recurrence(current[0], zero, tensors["delay"], width, None, settings),
        lif(current[1], settings),
    )
    assert torch.equal(*pair)
    for spikes in pair:
        (spikes * torch.arange(40.0)[:, None, None]).sum().backward()
    torch.testing.assert_close(current[0].grad, current[1].grad)


def test_a_surrogate_may_be_a_function():
    tensors, mask = problem()
    named = (2.0, 1.0, "soft", False, "atan", 2.0)
    function = (2.0, 1.0, "soft", False, lambda x: spike(x, "atan", 2.0), 5.0)
    spikes, grads = run(ours, tensors, mask, 2.0, named)
    spikes_f, grads_f = run(ours, tensors, mask, 2.0, function)
    assert torch.equal(spikes, spikes_f)
    for name in grads:
        assert torch.equal(grads[name], grads_f[name])


def test_samples_do_not_touch_each_other_and_memory_layout_does_not_matter():
    tensors, mask = problem(B=4)
    settings = (2.0, 1.0, "soft", False, "triangle", 5.0)
    together, _ = run(ours, tensors, mask, 2.0, settings)
    alone = {**tensors, "current": tensors["current"][:, 2:3]}
    assert torch.equal(run(ours, alone, mask[2:3], 2.0, settings)[0], together[:, 2:3])

    current = tensors["current"].transpose(0, 1).contiguous().transpose(0, 1)
    assert not current.is_contiguous()
    current.requires_grad_()
    width = torch.tensor(3.0, dtype=torch.float64)
    args = tensors["weight"], tensors["delay"], width, mask
    spikes = delayed_recurrence(current, *args)
    spikes.sum().backward()  # an expanded gradient
    plain = tensors["current"].clone().requires_grad_()
    (delayed_recurrence(plain, *args) * torch.ones(25, 4, 5)).sum().backward()
    assert torch.equal(current.grad, plain.grad)


def good_arguments():
    return {
        "current": torch.zeros(4, 2, 3),
        "weight": torch.zeros(3, 3),
        "delay": torch.zeros(3),
        "half_width": torch.tensor(1.0),
        "mask": torch.ones(2, 3),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current": torch.zeros(2, 3)}, r"expected \(T, B, 3\)"),
        ({"current": torch.zeros(4, 2, 5)}, r"\(4, 2, 5\): expected \(T, B, 3\)"),
        ({"current": torch.zeros(4, 2, 3).double()}, "weight has the type torch.float32"),
        ({"weight": torch.zeros(3, 4)}, r"weight has the shape \(3, 4\): expected \(3, 3\)"),
        ({"delay": torch.zeros(2)}, r"delay has the shape \(2,\): expected \(3,\) or \(3, 3\)"),
        ({"delay": torch.zeros(3).long()}, "delay has the type torch.int64"),
        ({"delay": torch.tensor([0.0, float("nan"), 0.0])}, "NaN or infinite"),
        ({"half_width": torch.ones(3, 3)}, r"half_width has the shape \(3, 3\)"),
        ({"half_width": torch.tensor(float("inf"))}, "NaN or infinite"),
        ({"weight": torch.full((3, 3), float("nan"))}, "NaN or infinite"),
        ({"mask": torch.ones(3)}, r"mask has the shape \(3,\): expected \(2, 3\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    delayed_recurrence(**good_arguments())
    with pytest.raises(ValueError, match=message):
        delayed_recurrence(**{**good_arguments(), **change})
