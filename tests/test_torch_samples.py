"""PyTorch's own samples: each gives torch's numbers, or an error of ours that says what is not supported."""

import pytest
from torch_samples import MODULES, OPTIMISERS, outcomes_of

NOT_SUPPORTED = {
    ("Adagrad", "Tensor lr"): "Adagrad takes lr as a number, got tensor(0.0010); take the number out with .item()",
    ("SGD", "tensor lr"): "SGD takes lr as a number, got tensor(0.0010); take the number out with .item()",
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean'")  # torch's advice on KLDivLoss
@pytest.mark.parametrize("name", sorted({*MODULES, *OPTIMISERS}))
def test_every_sample_of_torch_equals_torch_or_says_what_is_not_supported(name, dtype):
    outcomes = outcomes_of(name, dtype)
    refused = {(name, outcome.sample): outcome.result for outcome in outcomes if outcome.result != "equal"}
    assert refused == {key: error for key, error in NOT_SUPPORTED.items() if key[0] == name}
    assert len(refused) < len(outcomes)


def test_the_samples_cover_every_module_and_optimiser():
    assert {"Linear", "ReLU", "Tanh", "Sigmoid", "GELU", "MSELoss", "CrossEntropyLoss"} <= set(MODULES)
    assert {"SGD", "Adam"} <= set(OPTIMISERS)
