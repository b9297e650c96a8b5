"""A step on a GPU, recorded and replayed, against the same step launched kernel by kernel."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.pdes.burgers import Burgers
from pinntk.residual.loss import BlockedLoss, Way
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.replayed import Replayed
from pinntk.residual.residuals import Batch, Residuals

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def case(device: str) -> tuple[Residuals, list[Mapping[str, Batch]]]:
    pde = Burgers()
    torch.manual_seed(0)
    network = Network(NetworkSettings(width=20), pde.coordinates, pde.lower, pde.upper).double().to(device)
    functions = Residuals(pde, network)
    settings = PointSettings(interior=300, initial=50, boundary=40)
    draws = [sample(settings, pde.coordinates, pde.lower, pde.upper, pde.regions(), seed=0, draw=k) for k in range(2)]
    return functions, [
        functions.prepare({name: torch.as_tensor(x).double().to(device) for name, x in drawn.items()})
        for drawn in draws
    ]


def gradient(loss: BlockedLoss, batches: Mapping[str, Batch], weights: Tensor) -> tuple[Tensor, Tensor]:
    loss.residuals.network.zero_grad(set_to_none=True)
    losses = loss.backward(batches, weights)
    return losses, torch.cat([p.grad.flatten() for p in loss.parameters if p.grad is not None])


def test_a_batch_is_made_of_its_tensors() -> None:
    functions, (batches, _) = case("cpu")
    for batch in batches.values():
        copy = batch.map(Tensor.clone)
        assert len(copy.tensors()) == len(batch.tensors()) >= 2
        assert all(torch.equal(x, y) and x is not y for x, y in zip(copy.tensors(), batch.tensors(), strict=True))
    found = functions({name: batch.map(Tensor.clone) for name, batch in batches.items()})
    assert all(torch.equal(r, found[name]) for name, r in functions(batches).items())


def test_on_a_processor_nothing_is_recorded() -> None:
    calls: list[int] = []
    _, (batches, _) = case("cpu")

    def function(batches: Mapping[str, Batch]) -> tuple[Tensor, ...]:
        calls.append(len(batches))
        return (torch.zeros(1),)

    replayed = Replayed(function, [])
    for _ in range(3):
        replayed(batches)
    assert len(calls) == 3


@gpu
@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_replayed_equals_launched(way: Way) -> None:
    functions, draws = case("cuda")
    loss = BlockedLoss(functions, "mean", way=way)
    plain = BlockedLoss(functions, "mean", way=way)
    plain._replayed_loss.recorded = plain._replayed_terms.recorded = False
    theta = functions.network.vector()
    for k, factor in enumerate((1.0, 2.0, 3.0)):
        weights = factor * torch.arange(1, 1 + len(functions.names), dtype=torch.float64, device="cuda")
        functions.network.assign(theta * (1 + 0.1 * k))
        batches = draws[k % 2]
        for found, expected in (
            *zip(gradient(loss, batches, weights), gradient(plain, batches, weights), strict=True),
            *zip(loss.by_term(batches), plain.by_term(batches), strict=True),
        ):
            assert torch.equal(found, expected)
    assert loss._replayed_loss.recorded
    assert len(loss._replayed_loss._recordings) == 1


@gpu
def test_what_cannot_be_recorded_runs_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, (batches, _) = case("cuda")
    replayed = Replayed(lambda batches, x: (x * float(batches["interior"].points.sum()),), [])
    x = torch.ones(1, dtype=torch.float64, device="cuda")
    expected = batches["interior"].points.sum()
    for _ in range(2):
        assert torch.allclose(replayed(batches, x)[0], expected)
    assert "CUDA graph" in capsys.readouterr().err
    assert not replayed.recorded
    assert float((x + 1).sum()) == 2.0  # the device is as it was
