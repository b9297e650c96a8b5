"""Self-scaled Broyden: the update against the Broyden family's formula for the Hessian, and the method around it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import PDES
from objectives import FunctionObjective, quadratic, random, rosenbrock, symmetric
from torch import Tensor
from training import fit, make_of, parameters, whole_and_resumed

from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.optim.objective import Point
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings, broyden_update, coefficients
from pinntk.optim.updated import PENDING, Update, UpdatedMatrix
from pinntk.residual.points import PointSettings

FEW = PointSettings(interior=20, initial=6, boundary=4)


class Counted(FunctionObjective):
    """An objective with a term besides its loss; counts evaluations."""

    def __init__(self, objective: FunctionObjective) -> None:
        super().__init__(objective.function, objective.theta)
        self.objective, self.evaluated = objective, 0

    def parameters(self) -> Tensor:
        return self.objective.parameters()

    def assign(self, theta: Tensor) -> None:
        self.objective.assign(theta)

    def gradient(self) -> tuple[Tensor, Tensor]:
        self.evaluated += 1
        loss, gradient = self.objective.gradient()
        return torch.cat([loss, 2 * loss]), gradient


def optimizer(objective: FunctionObjective, **settings: Any) -> SSBroyden:
    return SSBroyden(Counted(objective), SSBroydenSettings.model_validate(settings))


# The update, against the publication

PLACES = """
 2.0000000000000000e+00 -1.0000000000000000e+00  1.0000000000000000e+00 -1.5000000000000000e+00
 1.6748603277550833e+00 -9.7832402185033884e-01  8.8542697263750558e-01 -5.5090181387555259e-01
 1.4644011057195372e-01 -8.1013134805332454e-01 -1.2963788760001693e-01 -7.8611531897676934e-01
 3.2866092498664945e-01 -2.3207022844717107e-01 -4.1645543317687189e-01 -5.9268231781056613e-01
-1.3965898220329287e-02  4.1047951289474749e-01  5.2814430623614816e-01 -2.8050339947681013e-01
 4.0614387226636417e-01 -1.1855543029156990e+00 -7.0513135811252181e-02  1.8790582610349932e-01
 3.5939345253512645e-01 -8.4483563738144740e-01 -6.4896028673507161e-02  1.3791638344640381e-01
 1.7980276227821990e-01 -9.1687189427963278e-02  8.1477482343194768e-03  3.0550618905269278e-03
 1.3290232953255490e-01 -1.7138770616264315e-02  1.7296476026742941e-03 -3.1038859940174489e-03
"""
INVERSE = {
    4: """
 0.1751975509662701  -0.0782280839110854  -0.05030887506790759  0.01348910364519944
-0.0782280839110854   0.8260701481738663  -0.01126870731227677 -0.06620478160221724
-0.05030887506790759 -0.01126870731227677  0.1227371890573818  -0.00461850365175546
 0.01348910364519944 -0.06620478160221724 -0.00461850365175545  0.03408384452696168
""",
    8: """
 0.4745431978601004  -0.1435049575592663  -0.07625905379741364  0.01737694456255964
-0.1435049575592663   0.44897493587002596 -0.02469654614626731  0.01674247450275897
-0.07625905379741364 -0.02469654614626731  0.1875777329729701  -0.00784345509236141
 0.01737694456255964  0.01674247450275897 -0.0078434550923614   0.03458751260901248
""",
}
"""What the code of Urban, Stefanou and Pons (modified_optimize.py, ``_minimize_bfgs``, method_bfgs="SSBroyden2",
hess_inv0=I, gtol=0) finds for ``f(x) = x^T A x / 2 + sum q_i x_i^4 / 4``, A = diag(1, 2, 8, 40) + 1/2 everywhere and
q = (3, 0, 1, 5): its places, and H after four and eight iterations."""


def numbers(text: str) -> Tensor:
    return torch.tensor([[float(x) for x in line.split()] for line in text.split("\n") if line], dtype=torch.float64)


def made_of(s: Tensor, y: Tensor, Bs: Tensor, Hy: Tensor) -> Update:
    update = broyden_update(s, y, Bs, Hy)
    assert update is not None
    return update


@pytest.mark.parametrize("iterations", INVERSE)
def test_the_inverse_is_that_of_the_published_code(iterations: int) -> None:
    places, A = numbers(PLACES), torch.diag(torch.tensor([1.0, 2.0, 8.0, 40.0])).double() + 0.5
    slopes = places @ A + torch.tensor([3.0, 0.0, 1.0, 5.0]) * places**3
    H = UpdatedMatrix(torch.eye(4, dtype=torch.float64))
    for i in range(iterations):
        s, y = places[i + 1] - places[i], slopes[i + 1] - slopes[i]
        H.add(made_of(s, y, torch.linalg.solve(H.dense(), s), H @ y))
    torch.testing.assert_close(H.dense(), numbers(INVERSE[iterations]), rtol=1e-9, atol=1e-12)


def of_the_hessian(B: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, str]:
    """The next B by the published definitions: Broyden's class as BFGS and DFP of tau B, mixed; and where theta is."""
    ys, size = float(y @ s), len(s)
    b, h = float(s @ B @ s) / ys, float(y @ torch.linalg.solve(B, y)) / ys
    a = b * h - 1
    rho_minus, rho_plus = min(1.0, h * (1 - math.sqrt(a / (1 + a)))), min(1.0, 1 / b)
    low, free, high = (rho_minus - 1) / a, (1 - b) / b, 1 / rho_minus
    theta = min(max(low, free), high)
    sigma = 1 + a * theta
    root = sigma ** (1 / (1 - size))
    tau = rho_plus * min(root, 1 / theta) if theta > 0 else min(rho_plus * root, sigma)
    scaled, rank_one = tau * B, torch.outer(y, y) / ys
    left = torch.eye(size, dtype=B.dtype) - torch.outer(y, s) / ys
    bfgs = scaled - torch.outer(scaled @ s, scaled @ s) / (s @ scaled @ s) + rank_one
    dfp = left @ scaled @ left.T + rank_one
    return (1 - theta) * bfgs + theta * dfp, "low" if free < low else "high" if free > high else "between"


def test_the_update_is_the_inverse_of_the_update_of_the_hessian() -> None:
    size, met = 5, set()
    for seed in range(40):
        s = random(size, seed=seed + 50)
        B = symmetric([0.5, 1.0, 2.0, 4.0, 9.0], seed=seed) * 3.0 ** (
            seed % 5 - 2
        )  # below and above the true curvature
        y = symmetric([1.0, 1.5, 2.0, 3.0, 5.0], seed=seed + 20) @ s
        H = UpdatedMatrix(torch.linalg.inv(B))
        H.add(made_of(s, y, B @ s, H @ y))
        expected, where = of_the_hessian(B, s, y)
        met.add(where)
        torch.testing.assert_close(H.dense(), torch.linalg.inv(expected), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(H @ y, s, rtol=1e-9, atol=1e-12)
        assert float(torch.linalg.eigvalsh(H.dense())[0]) > 0
    assert met == {"low", "between", "high"}


@pytest.mark.parametrize("fourth", [0.0, 1.0])  # a quadratic function; one of fourth order
@pytest.mark.parametrize("seed", range(3))
def test_every_step_updates_as_a_dense_hessian_does(fourth: float, seed: int) -> None:
    A = symmetric([0.1, 1.0, 3.0, 10.0, 50.0, 200.0], seed=seed)
    objective = FunctionObjective(lambda x: x @ A @ x / 2 + fourth * ((A @ x) ** 4).sum() / 4, random(6, seed=seed + 9))
    made, B = optimizer(objective), None
    theta, slope = objective.parameters(), objective.gradient()[1]
    for _ in range(12):
        made.step()
        after = objective.parameters()
        s, y = after - theta, objective.gradient()[1] - slope
        B = torch.eye(6, dtype=torch.float64) * float(y @ y / (y @ s)) if B is None else B
        B, _ = of_the_hessian(B, s, y)
        assert made.inverse is not None
        torch.testing.assert_close(made.inverse.dense() @ B, torch.eye(6).double(), rtol=0, atol=1e-6)
        theta, slope = after, slope + y
    assert made.resets == 0


def chain(x: Tensor) -> Tensor:
    """Rosenbrock's function of many variables: hundreds of steps."""
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def updated_densely(H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The dense formula of the class's docstring, with ``H^-1 s`` by a solver."""
    ys, Hy = y @ s, H @ y
    phi, tau = coefficients(s @ np.linalg.solve(H, s) / ys, y @ Hy / ys, len(s))
    v = np.sqrt(y @ Hy) * (s / ys - Hy / (y @ Hy))
    bracket = H - np.outer(Hy, Hy) / (y @ Hy) + phi * np.outer(v, v)
    return np.asarray(bracket / tau + np.outer(s, s) / ys)


def test_long_chains_of_updates_are_those_of_a_dense_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 100 steps goes along the dense matrix's direction, over two resets and `PENDING` updates in a row."""
    size, resets = 20, (5, 8 + PENDING)
    objective = FunctionObjective(chain, random(size, seed=3))
    made, H, known = optimizer(objective), None, 0
    searched = SSBroyden._search
    for n in range(100):
        theta, slope = objective.parameters().numpy(), objective.gradient()[1].numpy()
        if n in resets:
            monkeypatch.setattr(SSBroyden, "_search", lambda *_: None)
            made.step()
            monkeypatch.setattr(SSBroyden, "_search", searched)
            assert made.inverse is None
            H = None
            continue
        made.step()
        s, y = objective.parameters().numpy() - theta, objective.gradient()[1].numpy() - slope
        if H is None:
            H = np.eye(size) * (y @ s / (y @ y))
        else:
            direction = -made.step_length * (H @ slope)
            np.testing.assert_allclose(s, direction, rtol=0, atol=1e-9 * np.abs(direction).max())
        H = updated_densely(H, s, y)
        assert made.inverse is not None
        np.testing.assert_allclose(made.inverse.dense(), H, rtol=0, atol=1e-9 * np.abs(H).max())
        known = max(known, made.inverse.pending)
    assert (made.resets, known) == (2, PENDING - 1)


def test_one_product_with_the_inverse_in_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[Tensor] = []
    product = UpdatedMatrix.__matmul__

    def counted(H: UpdatedMatrix, v: Tensor) -> Tensor:
        products.append(v)
        return product(H, v)

    monkeypatch.setattr(UpdatedMatrix, "__matmul__", counted)
    made = optimizer(FunctionObjective(chain, random(20, seed=3)))
    for _ in range(40):
        made.step()
    assert len(products) == 40
    made.renew()  # another gradient: the one product that the next step begins with
    made.step()
    assert len(products) == 42


def test_where_the_slope_has_not_grown_there_is_no_update() -> None:
    made = optimizer(FunctionObjective(chain, random(20, seed=3)))
    for _ in range(5):
        made.step()
    now, H = made._now, made.inverse
    assert now is not None
    assert H is not None
    dense = H.dense()
    made._learn(now, Point(now.theta - 0.1 * now.gradient, now.losses, 2 * now.gradient), H @ now.gradient)
    assert torch.equal(H.dense(), dense)
    made.step()  # from ``now``, along this H and not along what was known of the refused place
    torch.testing.assert_close(
        made.objective.parameters() - now.theta, -made.step_length * (dense @ now.gradient), rtol=1e-9, atol=1e-12
    )


def test_a_checkpoint_with_the_dense_inverse_goes_on() -> None:
    whole = optimizer(FunctionObjective(chain, random(20, seed=3)))
    for _ in range(25):
        whole.step()
    assert whole.inverse is not None
    state = {**whole.state_dict(), "inverse": whole.inverse.dense()}
    del state["product"]
    resumed = optimizer(FunctionObjective(chain, whole.objective.parameters()))
    resumed.load_state_dict(state)
    for made in (whole, resumed):
        for _ in range(3):
            made.step()
    torch.testing.assert_close(resumed.objective.parameters(), whole.objective.parameters(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cut", [1, 3, PENDING - 1, PENDING, PENDING + 5, 2 * PENDING + 1])
def test_updates_pend_over_a_checkpoint(cut: int) -> None:
    """Bit for bit, whatever of the updates was pending."""
    whole = optimizer(FunctionObjective(chain, random(20, seed=3)))
    for _ in range(cut):
        whole.step()
    resumed = optimizer(FunctionObjective(chain, whole.objective.parameters()))
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(2 * PENDING):
        whole.step()
        resumed.step()
        assert torch.equal(resumed.objective.parameters(), whole.objective.parameters())
    assert whole.inverse is not None
    assert resumed.inverse is not None
    assert torch.equal(resumed.inverse.dense(), whole.inverse.dense())


@pytest.mark.parametrize(
    ("b", "h", "expected"),
    [
        (1.0, 2.0, 1.0),  # theta = 0, sigma = 1
        (2.0, 1.0, 0.5),  # theta = -1/2, sigma = 1/2 = rho+
        (1.0, 10.0, 1.0),
        (0.9, 50.0, (53 / 9) ** (-1 / 1999)),  # theta = 1/9, sigma = 1 + 44/9: 0.999
        (3.0, 1e18, 1 / 6),  # rho- = 1 / (b (1 + c)) = 1/6 = sigma, below rho+; h (1 - c) is 0 in floating point
    ],
)
def test_the_scale_by_hand(b: float, h: float, expected: float) -> None:
    assert coefficients(b, h, size=2000)[1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("b", [0.2, 1.0, 4.0])
def test_where_s_and_Hy_are_parallel_the_scale_has_its_limit(b: float) -> None:
    near = coefficients(b, (1 + 1e-10) / b, size=50)[1]
    for a in (0.0, -1e-15):
        phi, tau = coefficients(b, (1 + a) / b, size=50)
        assert math.isfinite(phi)
        assert tau == pytest.approx(near, rel=1e-8)
        assert tau == pytest.approx(min(1, 1 / b), rel=1e-8)
    assert coefficients(b, 1 / b, size=1)[1] == pytest.approx(min(1, 1 / b))
    assert coefficients(1e200, 1e200, size=50) == (1.0, 1.0)


# The method around it


def test_it_finds_minima() -> None:
    for objective, place in ((rosenbrock(), torch.ones(2)), (quadratic(symmetric([1e3, 1.0, 1e-2]), random(3)), 0)):
        made = optimizer(objective)
        for _ in range(200):
            made.step()
            if made.reason:
                break
        expected = torch.zeros(3) if isinstance(place, int) else place
        torch.testing.assert_close(objective.theta, expected.double(), rtol=0, atol=1e-6)


def test_no_place_is_evaluated_twice_and_no_step_leads_up() -> None:
    objective = rosenbrock()
    made = optimizer(objective)
    losses = [float(made.step()[0]) for _ in range(20)]
    assert losses == sorted(losses, reverse=True)
    counted = made.objective
    assert isinstance(counted, Counted)
    places = {tuple(x.tolist()) for x in objective.assigned}
    assert counted.evaluated <= len(places) + 1


def test_where_the_loss_ends_the_search_goes_back() -> None:
    def function(x: Tensor) -> Tensor:
        return (x[0] - 3) ** 2 + torch.where(x[0] > 1, torch.full_like(x[0], torch.nan), torch.zeros_like(x[0]))

    objective = FunctionObjective(function, torch.zeros(1, dtype=torch.float64))
    made = optimizer(objective)
    losses = [float(made.step()[0]) for _ in range(30)]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses == sorted(losses, reverse=True)
    assert 0 < float(objective.theta[0]) <= 1


def test_it_says_why_it_is_stuck() -> None:
    start = torch.ones(2, dtype=torch.float64)
    flat = optimizer(FunctionObjective(lambda x: 1 + 0 * x.sum(), start))
    flat.step()
    assert flat.reason == "the line search finds no lower loss"
    broken = optimizer(FunctionObjective(lambda x: torch.nan * x.sum(), start))
    broken.step()
    assert broken.reason == "the loss or its gradient is not finite"
    assert torch.equal(broken.objective.parameters(), start)


def test_a_useless_inverse_is_given_up_before_the_search_is() -> None:
    objective = quadratic(symmetric([1.0, 2.0]), random(2))
    made = optimizer(objective)
    made.inverse = UpdatedMatrix(-torch.eye(2).double())  # leads up
    before = objective.parameters()
    made.step()
    assert made.inverse is None
    assert made.resets == 1
    assert not made.reason
    assert torch.equal(objective.theta, before)
    made.step()
    assert float(objective.loss()) < float(quadratic(symmetric([1.0, 2.0]), before).loss())


def test_after_a_reset_it_goes_on_at_the_scale_it_had() -> None:
    objective = quadratic(symmetric([1e9, 2e9, 5e9]), random(3))
    made = optimizer(objective, max_trials=5)  # too few to come down from a step of the gradient's own length
    for _ in range(3):
        made.step()
    assert not made.reason
    made.inverse = None
    before = float(objective.loss())
    made.step()
    assert not made.reason
    assert float(objective.loss()) < before


def made(name: str = "burgers", adam: int = 10, steps: int = 20, points: PointSettings = FEW, **more: Any) -> Any:
    phases = {"adam": {"steps": adam}, "ssbroyden": {"steps": steps, **more.pop("settings", {})}}
    defaults: dict[str, Any] = {"width": 7, "depth": 1, "log_every": 5, "weights": {"initial": 3.0}}
    return make_of(SSBroydenMethod, PDES[name], points, **{**defaults, **phases, **more})


@pytest.mark.parametrize("by_residual", [0.0, 0.5])
@pytest.mark.parametrize("cut", [4, 10, 11, 16, 17, 18, 29])
def test_cut_and_resumed_it_is_the_same(
    cut: int, by_residual: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = PointSettings(interior=20, initial=6, boundary=4, by_residual=by_residual)
    whole_and_resumed(lambda: made(points=points, settings={"resample_every": 7}), cut, tmp_path, monkeypatch)


def test_it_gets_much_further_than_adam() -> None:
    method, adam = made("poisson1d", adam=20, steps=100, weights={}), made("poisson1d", adam=120, steps=0, weights={})
    fit(method)
    fit(adam)
    assert method.losses()["loss"] < 1e-3 * adam.losses()["loss"]
    assert parameters(method).isfinite().all()
