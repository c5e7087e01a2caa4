import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lightning_interp.functional.dissection.cells import ConceptCells
from lightning_interp.functional.dissection.probes import fit_probes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(n=3000):
    """Concept 0 depends on units 0 and 1 (often active) and 2 (rarely), concept 1 on nothing."""
    active = (torch.rand(n, 5, generator=generator()) < torch.tensor([0.3, 0.3, 0.02, 0.3, 0.3])).byte()
    logits = active.float() @ torch.tensor([3.0, 2.0, 2.0, 0.0, 0.0]) - 3.5
    present = (torch.rand(n, generator=generator(1)) < logits.sigmoid()).half()
    noise = (torch.rand(n, generator=generator(2)) < 0.2).half()
    return ConceptCells(active, torch.stack([present, noise], 1), torch.ones(n, 1).half())


def fit(cells, *, allowed=None, concept=(0, 1), seed=0, **options):
    concept = torch.tensor(concept)
    n_units = cells.active.shape[1]
    allowed = torch.ones(len(concept), n_units, dtype=torch.bool) if allowed is None else allowed
    options = {"epochs": 60, "lr": 0.3, "momentum": 0.9, **options}
    return fit_probes(cells, allowed, concept, torch.zeros_like(concept), generator=generator(seed), **options)


def test_it_finds_what_balanced_logistic_regression_finds():
    cells = problem()
    weights, bias = fit(cells)
    for row in range(2):
        model = LogisticRegression(C=1e6, class_weight="balanced").fit(
            cells.active.numpy(), cells.present[:, row].numpy()
        )
        assert weights[row].tolist() == pytest.approx(model.coef_[0].tolist(), abs=0.1)
        assert float(bias[row]) == pytest.approx(float(model.intercept_[0]), abs=0.1)


def test_a_share_of_pixels_counts_as_so_many_pixels():
    """A position with a share of 1/4 is four positions, of which one shows the concept."""
    shares = torch.randint(0, 5, (600,), generator=generator())
    active = (torch.rand(600, 3, generator=generator(1)) < 0.2 + 0.15 * shares[:, None]).byte()
    coarse = ConceptCells(active, (shares / 4).half()[:, None], torch.ones(600, 1).half())
    fine = (torch.arange(4) < shares[:, None]).flatten()
    repeated = ConceptCells(active.repeat_interleave(4, 0), fine.half()[:, None], torch.ones(2400, 1).half())
    one, other = fit(coarse, concept=[0], epochs=300), fit(repeated, concept=[0], epochs=150)
    assert one[0][0].tolist() == pytest.approx(other[0][0].tolist(), abs=0.05)
    assert float(one[1]) == pytest.approx(float(other[1]), abs=0.05)


def test_positions_that_are_not_annotated_teach_nothing():
    cells = problem(400)
    strange = ConceptCells(torch.ones(400, 5).byte(), torch.zeros(400, 2).half(), torch.zeros(400, 1).half())
    one, other = fit(cells, epochs=300), fit(ConceptCells.cat([cells, strange]), epochs=300)
    assert one[0].flatten().tolist() == pytest.approx(other[0].flatten().tolist(), abs=0.1)


def test_units_that_are_not_allowed_have_no_weight():
    allowed = torch.tensor([[True, False, True, False, False], [False] * 5])
    weights, _ = fit(problem(400), allowed=allowed, concept=[0, 0], epochs=5)
    assert torch.equal(weights != 0, allowed)


def test_the_seed_decides_and_the_global_state_does_not():
    cells, state = problem(5000), torch.get_rng_state()
    one, two, other = (fit(cells, seed=seed, epochs=1) for seed in (0, 0, 1))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(fit(cells, epochs=1)[0], one[0])


def test_a_concept_that_is_nowhere_or_everywhere_has_no_vector():
    cells = problem(100)
    flat = ConceptCells(cells.active, torch.tensor([[0.0, 1.0]] * 100).half(), cells.annotated)
    weights, bias = fit(flat, epochs=2)
    assert (weights.abs().sum(), bias.abs().sum()) == (0, 0)
