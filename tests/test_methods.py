"""The base of the methods, and Adam: against bare loops, cut anywhere, and with losses that blow up."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from training import POINTS, fit, loss_terms, make, parameters, stop_at

from pinntk.callbacks import TimedCheckpoint
from pinntk.methods import NonFiniteLoss
from pinntk.methods.adam import AdamMethod
from pinntk.network import Network, NetworkSettings
from pinntk.network.fused import NotFused
from pinntk.pdes.base import Term
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.residual.points import PointSettings, sample


def test_weights_of_unknown_terms_are_named() -> None:
    settings = AdamMethod.Settings(weights={"initial": 2.0})
    with pytest.raises(ValueError, match=r"method\.weights\.initial: poisson1d .* residual, boundary"):
        AdamMethod.check(Poisson1D(), settings, None)
    AdamMethod.check(Burgers(), settings, None)


# A loop without Lightning, blocks, histories or batches kept between steps.


def bare_loop(steps: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Adam on mean (u_xx + (2 pi)^2 sin 2 pi x)^2 + 3 (u(0)^2 + u(1)^2)/2, new points every 7 steps."""
    pde, rate = Poisson1D(a=2), 0.01
    network = Network(NetworkSettings(width=8, depth=2), ("x",), (0.0,), (1.0,), seed=seed, dtype=dtype)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.8, 0.99), fused=True)
    streams = AdamMethod(pde, NetworkSettings(), POINTS, AdamMethod.Settings()).residuals.streams_of
    for n in range(steps):
        drawn = sample(POINTS, ("x",), (0.0,), (1.0,), ("interior", "boundary"), seed=seed, draw=n // 7)
        x, ends = (torch.from_numpy(drawn[region]).to(dtype) for region in ("interior", "boundary"))
        u_xx = network.streams(x, streams["interior"])["u_xx"]
        residual = u_xx + (2 * math.pi) ** 2 * torch.sin(2 * math.pi * x[:, 0])
        loss = residual.square().mean() + 3 * network(ends).square().mean()
        optimizer.param_groups[0]["lr"] = rate * 0.5 ** (n // 20)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


LOOP: dict[str, Any] = {
    "weights": {"boundary": 3.0},
    "adam": {
        "learning_rate": 0.01,
        "betas": [0.8, 0.99],
        "schedule": {"kind": "exponential", "decay": 0.5, "every": 20},
    },
}


@pytest.mark.parametrize("log_every", [1, 25, 1000])
def test_adam_is_the_bare_loop(log_every: int) -> None:
    method = make(**LOOP, log_every=log_every)
    fit(method)
    assert method.finished
    assert method.iteration == method.function_evaluations == 60
    # To rounding: the gradient is not recorded but written out.
    torch.testing.assert_close(parameters(method), bare_loop(60), rtol=1e-9, atol=1e-11)
    assert (parameters(method) - bare_loop(59)).abs().max() > 1e-5


def test_float32_is_the_bare_loop() -> None:
    method = make(**LOOP, precision="32-true")
    fit(method, precision="32-true")
    assert parameters(method).dtype == torch.float32
    torch.testing.assert_close(parameters(method), bare_loop(60, torch.float32), rtol=1e-3, atol=1e-4)


def test_adam_steps_by_its_formula() -> None:
    """Kingma and Ba's recursion on gradients of the loss by automatic differentiation, in plain numpy."""
    method = make(**LOOP, steps=9)
    oracle = make(**LOOP, steps=9)
    fit(method)
    theta = parameters(oracle).numpy().copy()
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for n in range(9):
        oracle.iteration = n
        torch.nn.utils.vector_to_parameters(torch.from_numpy(theta.copy()), oracle.network.parameters())
        residual, boundary = loss_terms(oracle)
        found = torch.autograd.grad(residual + 3 * boundary, list(oracle.network.parameters()))
        g = torch.cat([part.flatten() for part in found]).numpy()
        m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g**2
        corrected_m, corrected_v = m / (1 - 0.8 ** (n + 1)), v / (1 - 0.99 ** (n + 1))
        theta -= 0.01 * corrected_m / (np.sqrt(corrected_v) + 1e-8)
    assert np.abs(parameters(method).numpy() - theta).max() < 1e-12


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_losses_by_hand(normalization: str) -> None:
    method = make(normalization=normalization, weights={"residual": 0.5, "boundary": 3.0})
    batches = method.batches()
    x = batches["interior"].points.clone().requires_grad_()
    (u_x,) = torch.autograd.grad(method.network(x).sum(), x, create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x)
    residual = (u_xx + (2 * math.pi) ** 2 * torch.sin(2 * math.pi * x)).detach()
    ends = method.network(torch.tensor([[0.0], [1.0]], dtype=torch.float64)).detach()
    factor = (0.5, 0.5) if normalization == "sum" else (1 / 30, 1 / 2)
    expected = [float(f * r.square().sum()) for f, r in zip(factor, (residual, ends), strict=True)]
    losses = method.losses()
    assert list(losses) == ["loss", "residual", "boundary"]
    assert [losses["residual"], losses["boundary"]] == pytest.approx(expected, rel=1e-12)
    assert losses["loss"] == pytest.approx(0.5 * expected[0] + 3 * expected[1], rel=1e-12)


def test_prediction_on_many_points_is_the_network() -> None:
    method = make(Heat2D(), width=5)
    points = np.random.default_rng(0).uniform(0, 1, (20_001, 3))
    points.flags.writeable = False  # as from a memory-mapped file
    u = method.network.predict(points)
    assert u.dtype == np.float64
    assert np.array_equal(u, method.network(torch.tensor(points)).detach().numpy())
    assert make(Heat2D(), precision="32-true").network.predict(points).dtype == np.float64
    assert method.network.predict(points[:0]).shape == (0,)
    assert method.parameters_count == (3 * 5 + 5) + (5 * 5 + 5) + (5 + 1)


# Points and draws


def test_points_are_drawn_again_when_due() -> None:
    method = make(points=PointSettings(interior=5, boundary=2, resample_every=3))
    seen = []
    for method.iteration in range(8):
        seen.append(method.batches()["interior"].points)
    equal = [[bool(torch.equal(a, b)) for b in seen] for a in seen]
    assert equal == [[i // 3 == j // 3 for j in range(8)] for i in range(8)]
    fixed = make(points=PointSettings(interior=5, boundary=2))
    first = fixed.batches()["interior"].points
    fixed.iteration = 10_000
    assert fixed.batches()["interior"].points is first


# Runs that are cut


@pytest.mark.parametrize("precision", ["64-true", "32-true"])
@pytest.mark.parametrize("cuts", [[1], [24], [25], [26], [37], [59], [60], [10, 11, 49], [50, 56]], ids=str)
def test_a_cut_run_ends_where_an_uninterrupted_one_does(
    cuts: list[int], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(**LOOP, precision=precision)
    fit(whole, precision=precision)
    path, resume = tmp_path / "last.ckpt", None
    spent = 0.0
    for cut in cuts:
        part = make(**LOOP, precision=precision)
        stop_at(part, cut, monkeypatch)
        fit(part, [TimedCheckpoint(path, 1e9)], resume=resume, precision=precision)
        assert part.iteration == part.function_evaluations == cut
        resume = path
        assert part.seconds_per_phase["adam"] > spent
        spent = part.seconds_per_phase["adam"]
    last = make(**LOOP, precision=precision, seed=99)  # what it starts with must not matter,
    last.seed = last.collocation.seed = 0  # but for the draws of points
    fit(last, resume=resume, precision=precision)
    assert last.iteration == last.function_evaluations == 60
    assert torch.equal(parameters(last), parameters(whole))
    assert last.latest == whole.latest
    assert last.losses() == whole.losses()
    assert last.seconds_per_phase["adam"] >= spent


def test_a_run_of_no_steps_leaves_the_network_alone() -> None:
    method = make(steps=0)
    before = parameters(method)
    fit(method)
    assert method.finished
    assert torch.equal(parameters(method), before)


def test_blocks_end_at_multiples_of_log_every(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
            assert isinstance(pl_module, AdamMethod)
            ends.append(pl_module.iteration)

    fit(make(), [Watch()])
    assert ends == [25, 50, 60]


# Losses that are not finite


class Breaking(Poisson1D):
    """Poisson's equation with a term that is no longer finite from one evaluation on."""

    def terms(self) -> tuple[Term, ...]:
        residual, boundary = super().terms()
        calls = iter(range(10**6))

        def broken(values: dict[str, Tensor]) -> Tensor:
            return values["u"] * (float("nan") if next(calls) >= 17 else 1.0)

        return residual, Term(boundary.name, boundary.region, boundary.streams, broken)


@pytest.mark.parametrize("log_every", [1, 10, 17, 18, 1000])
def test_a_loss_that_is_not_finite_is_named(log_every: int) -> None:
    method = make(Breaking(a=2), log_every=log_every)
    with pytest.raises(NonFiniteLoss, match="'boundary' is not finite at iteration 17") as error:
        fit(method)
    assert error.value.iteration == 17
    assert error.value.term == "boundary"


def test_divergence_is_found_in_its_block() -> None:
    method = make(adam={"learning_rate": 1e200}, log_every=25)
    with pytest.raises(NonFiniteLoss) as error:
        fit(method)
    assert error.value.iteration == 1  # the first step is of the size of the learning rate
    assert error.value.term in ("residual", "boundary")
    assert method.iteration <= 25


def test_a_total_that_overflows_alone_is_called_loss() -> None:
    with pytest.raises(NonFiniteLoss) as error:
        fit(make(weights={"residual": 1e307, "boundary": 1e307}))
    assert (error.value.iteration, error.value.term) == (0, "loss")


@pytest.mark.slow
def test_compiled_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses as without compiling, and the same parameters bit for bit when cut."""
    histories: dict[bool, list[float]] = {False: [], True: []}

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
            assert isinstance(pl_module, AdamMethod)
            histories[pl_module.way == "fused_compiled"] += pl_module.latest.values()

    def burgers(compile: bool) -> AdamMethod:
        points = PointSettings(interior=200, initial=20, boundary=20, resample_every=10)
        return make(Burgers(), points, compile=compile, width=20, log_every=5)

    whole = burgers(True)
    for method in (whole, burgers(False)):
        fit(method, [Keep()])
    assert len(histories[False]) == 12 * 4
    assert histories[True] == pytest.approx(histories[False], rel=1e-10)
    assert histories[True] != histories[False]  # rounding differs, or nothing was compiled

    cut = burgers(True)
    stop_at(cut, 37, monkeypatch)
    fit(cut, [TimedCheckpoint(tmp_path / "last.ckpt", 1e9)])
    resumed = burgers(True)
    fit(resumed, resume=tmp_path / "last.ckpt")
    assert torch.equal(parameters(resumed), parameters(whole))


@pytest.mark.slow
def test_every_run_of_a_sweep_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise NotFused("not here")

    monkeypatch.setattr("pinntk.residual.loss.kernels", none)
    # Two regions, so two versions of the same function; a run that found the other's would need more.
    limits = torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True)
    with limits:
        for width in (8, 9):
            fit(make(compile=True, width=width, steps=3))


def test_a_wide_network_predicts_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(width=8)
    points = np.linspace(0, 1, 23)[:, None]
    expected = method.network.predict(points)
    for elements in (40, 7):  # five points; less than one
        monkeypatch.setattr("pinntk.network.network.PREDICT_ELEMENTS", elements)
        np.testing.assert_allclose(method.network.predict(points), expected, rtol=0, atol=1e-14)
