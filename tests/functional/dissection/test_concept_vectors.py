import torch

from lightning_interp.functional.dissection.concept_vectors import Net2Vec


def vectors():
    n = torch.tensor([0.5, torch.nan])
    return Net2Vec(
        layer="conv",
        names=("red", "eye"),
        categories=("color", "part"),
        top_units=(1, 3),
        levels=torch.tensor([0.0, 1.0, 2.0]),
        weights=torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 4.0]]),
        bias=torch.tensor([-0.5, 0.0]),
        cut=torch.tensor([0.0, 1.0]),
        iou_by_size=torch.stack([n, n + 0.1]),
        unit=torch.tensor([1, 2]),
        unit_iou=n,
        chance_iou=n / 10,
        p_value=n.double(),
        adjusted_p=n.double(),
        n_images=torch.tensor([4, 0]),
    )


def test_evidence_is_the_sum_of_active_units_above_the_cut():
    activation = torch.tensor([[0.5, 1.0, 3.0], [1.0, 1.5, 2.0]]).view(2, 3, 1, 1)
    evidence = vectors().evidence(activation.expand(2, 3, 4, 5))
    assert evidence.shape == (2, 2, 4, 5)
    assert evidence[:, :, 2, 3].tolist() == [[0.5, 3.0], [2.5, -2.0]]


def test_a_row_per_concept():
    table = vectors().to_dataframe()
    assert table["concept"].tolist() == ["red", "eye"]
    assert table["n_images"].tolist() == [4, 0]
    assert table.loc[0, ["iou", "iou_top_1", "iou_top_3", "unit_iou"]].round(3).tolist() == [0.6, 0.5, 0.6, 0.5]
    assert table.loc[1, ["iou", "unit_iou", "p_value"]].isna().all()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    vectors().save(tmp_path / "vectors.safetensors")
    again = Net2Vec.load(tmp_path / "vectors.safetensors")
    assert again.to_dataframe().equals(vectors().to_dataframe())
    assert torch.equal(again.weights, vectors().weights)
    assert again.top_units == (1, 3)
