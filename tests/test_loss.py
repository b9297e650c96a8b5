"""The loss in blocks against the loss in one piece; how points are split."""

import pytest
import torch
from jacobians import PDES, POINTS, batches_of, dense_jacobian, residuals_of
from torch import Tensor

from pinntk.residual.loss import BlockedLoss
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Batch, Normalization, Residuals, term_losses

WEIGHTS = [0.7, 0.0, 3.0, 1.9]
problems = pytest.mark.parametrize("name", PDES)
normalizations = pytest.mark.parametrize("normalization", ["sum", "mean"])


def weights_for(residuals: Residuals) -> Tensor:
    return torch.tensor(WEIGHTS[: len(residuals.names)], dtype=torch.float64)


def gradient(residuals: Residuals) -> Tensor:
    grads = [p.grad for p in residuals.network.parameters()]
    return torch.cat([g.flatten() for g in grads if g is not None])


def in_one(
    residuals: Residuals, batches: dict[str, Batch], weights: Tensor, normalization: Normalization
) -> tuple[Tensor, Tensor]:
    """Losses of the terms and the gradient of their weighted sum, by the definitions."""
    found = residuals(batches).values()
    losses = torch.stack([r.square().sum() / 2 if normalization == "sum" else r.square().sum() / len(r) for r in found])
    parts = torch.autograd.grad((weights * losses).sum(), list(residuals.network.parameters()))
    return losses.detach(), torch.cat([part.flatten() for part in parts])


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def watch(monkeypatch: pytest.MonkeyPatch) -> list[list[Batch]]:
    """The blocks of every split from now on."""
    made: list[list[Batch]] = []
    split = Batch.split

    def watched(self: Batch, count: int, *, pairs: bool) -> list[Batch]:
        made.append(split(self, count, pairs=pairs))
        return made[-1]

    monkeypatch.setattr(Batch, "split", watched)
    return made


@pytest.mark.parametrize("elements", [10**9, 30, 1])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@normalizations
@problems
def test_blocks_make_the_loss_and_its_gradient(
    name: str, normalization: Normalization, parametrization: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", elements)
    splits = watch(monkeypatch)
    residuals = residuals_of(PDES[name], depth=2, parametrization=parametrization)
    batches, weights = batches_of(PDES[name], residuals), weights_for(residuals)
    losses = BlockedLoss(residuals, normalization, way="plain").backward(batches, weights)
    expected, slope = in_one(residuals, batches, weights, normalization)
    assert not losses.requires_grad
    assert_close(losses, expected)
    assert_close(gradient(residuals), slope)

    blocks = dict(zip(batches, splits, strict=True))
    sizes = [len(block.points) for block in blocks["interior"]]
    assert sum(sizes) == 7
    if elements == 30:
        assert 1 < len(sizes) < 7
        assert max(sizes) == min(sizes) + 1  # uneven
    else:
        assert len(sizes) == (1 if elements > 30 else 7)
    for block in blocks.get("periodic", []):  # pairs stay together
        lower, upper = block.points.chunk(2)
        assert torch.equal(lower[:, 1], upper[:, 1])
        assert (upper[:, 0] - lower[:, 0] == PDES[name].upper[0]).all()


@pytest.mark.parametrize("elements", [10**9, 30, 1])
@normalizations
@problems
def test_losses_traces_and_gradients_by_term(
    name: str, normalization: Normalization, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", elements)
    residuals = residuals_of(PDES[name], depth=2, parametrization="ntk")
    batches = batches_of(PDES[name], residuals)
    losses, traces, gradients = BlockedLoss(residuals, normalization, way="plain").by_term(batches)
    assert all(p.grad is None for p in residuals.network.parameters())
    rows = dense_jacobian(residuals, batches).split([len(r) for r in residuals(batches).values()])
    squares = [part.square().sum(1) for part in rows]  # the kernel's diagonal
    assert_close(traces, torch.stack([s.mean() if normalization == "mean" else s.sum() for s in squares]))
    assert losses.shape == traces.shape == gradients.shape[:1] == (len(residuals.names),)
    for i, one in enumerate(torch.eye(len(losses), dtype=torch.float64)):
        expected, slope = in_one(residuals, batches, one, normalization)
        assert_close(losses[i], expected[i])
        assert_close(gradients[i], slope)


@normalizations
def test_the_gradient_is_added_to_what_is_there(normalization: Normalization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", 60)
    pde = PDES["convection"]
    residuals = residuals_of(pde)
    batches, weights = batches_of(pde, residuals), weights_for(residuals)
    blocked = BlockedLoss(residuals, normalization, way="plain")
    for p in residuals.network.parameters():
        p.grad = torch.full_like(p, 0.25)
    losses = [blocked.backward(batches, weights) for _ in range(2)]
    _, slope = in_one(residuals, batches, weights, normalization)
    assert torch.equal(*losses)
    assert_close(gradient(residuals), 2 * slope + 0.25)


def test_weights_may_change_from_one_step_to_the_next() -> None:
    pde = PDES["wave"]
    residuals = residuals_of(pde)
    batches = batches_of(pde, residuals)
    blocked = BlockedLoss(residuals, "mean", way="plain")
    for numbers in ([1.0, 2.0, 3.0, 4.0], [0.0] * 4, [0.0, 0.0, 0.0, 1.0]):
        weights = torch.tensor(numbers, dtype=torch.float64)
        residuals.network.zero_grad()
        losses = blocked.backward(batches, weights)
        expected, slope = in_one(residuals, batches, weights, "mean")
        assert_close(losses, expected)  # unweighted
        assert_close(gradient(residuals), slope)


@normalizations
def test_other_batches_make_other_blocks(normalization: Normalization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", 60)
    pde = PDES["reaction"]
    residuals = residuals_of(pde)
    weights = weights_for(residuals)
    more = PointSettings(interior=11, initial=4, boundary=5)
    blocked = BlockedLoss(residuals, normalization, way="plain")
    splits = watch(monkeypatch)
    made = [batches_of(pde, residuals, points, draw) for points, draw in ((POINTS, 0), (POINTS, 1), (more, 0))]
    for i, batches in enumerate(made):
        for _ in range(2):  # the second time with the blocks of the first
            residuals.network.zero_grad()
            losses = blocked.backward(batches, weights)
            expected, slope = in_one(residuals, batches, weights, normalization)
            assert_close(losses, expected)
            assert_close(gradient(residuals), slope)
        assert len(splits) == 3 * (i + 1)


@pytest.mark.slow  # the compiler takes its time
@pytest.mark.parametrize(("name", "normalization"), [("burgers", "sum"), ("reaction", "mean")])
def test_compiled_it_is_the_same(name: str, normalization: Normalization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", 60)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    residuals = residuals_of(PDES[name], depth=1)
    batches, weights = batches_of(PDES[name], residuals), weights_for(residuals)
    blocked = BlockedLoss(residuals, normalization, way="compiled")
    losses = blocked.backward(batches, weights)
    expected, slope = in_one(residuals, batches, weights, normalization)
    assert_close(losses, expected, 1e-10)
    assert_close(gradient(residuals), slope, 1e-10)
    again, traces, gradients = blocked.by_term(batches)
    assert_close(again, expected, 1e-10)
    assert_close(weights @ gradients, slope, 1e-10)
    assert_close(traces, BlockedLoss(residuals, normalization, way="plain").by_term(batches)[1], 1e-10)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]


# How points are split


def rows_of(blocks: list[Batch]) -> list[list[float]]:
    return [row for block in blocks for row in block.points.tolist()]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7, 8, 100])
@problems
def test_every_point_is_in_one_block(name: str, count: int) -> None:
    residuals = residuals_of(PDES[name])
    for region, batch in batches_of(PDES[name], residuals).items():
        if region == "periodic":
            continue
        blocks = batch.split(count)
        assert rows_of(blocks) == batch.points.tolist()
        assert len(blocks) == min(max(count, 1), len(batch.points))
        sizes = [len(block.points) for block in blocks]
        assert max(sizes) - min(sizes) <= 1
        # What belongs to a point goes with it: the residuals of the blocks are those of the whole.
        whole = residuals.of_region(region, batch)
        parts = [residuals.of_region(region, block) for block in blocks]
        for term, r in whole.items():
            assert torch.allclose(torch.cat([part[term] for part in parts]), r, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 7, 100])
@pytest.mark.parametrize("name", ["convection", "reaction"])
def test_pairs_stay_pairs(name: str, count: int) -> None:
    residuals = residuals_of(PDES[name])
    batch = batches_of(PDES[name], residuals)["periodic"]
    blocks = batch.split(count, pairs=True)
    assert len(blocks) == min(count, 6)
    halves = [[block.points.chunk(2)[i] for block in blocks] for i in (0, 1)]
    for half, expected in zip(halves, batch.points.chunk(2), strict=True):
        assert torch.equal(torch.cat(half), expected)
    assert all(torch.equal(lower[:, 1], upper[:, 1]) for lower, upper in zip(*halves, strict=True))
    r = torch.cat([residuals.of_region("periodic", block)["periodic"] for block in blocks])
    assert torch.allclose(r, residuals.of_region("periodic", batch)["periodic"], rtol=0, atol=1e-14)


def test_regions_together_are_the_residuals() -> None:
    residuals = residuals_of(PDES["wave"])
    batches = batches_of(PDES["wave"], residuals)
    whole = residuals(batches)
    assert list(residuals.of_region("initial", batches["initial"])) == ["initial", "velocity"]
    for region, batch in batches.items():
        for term, r in residuals.of_region(region, batch).items():
            assert torch.equal(r, whole[term])
    losses = term_losses(list(whole.values()), "mean")
    assert losses.shape == (4,)
