"""PyTorch's own samples: each gives torch's numbers, or an error of ours that says what is not supported."""

import pytest
from torch_samples import MODULES, OPTIMISERS, outcomes_of

SGD = "SGD computes parameter -= lr * grad and does not support "
ADAM = "Adam computes the step of its paper and does not support "

NOT_SUPPORTED = {
    ("Adam", "amsgrad"): ADAM + "amsgrad=True",
    ("Adam", "maximize"): ADAM + "maximize=True",
    ("SGD", "tensor lr"): "SGD takes lr as a number, got tensor(0.0010); take the number out with .item()",
    ("SGD", "non-zero weight_decay"): SGD + "weight_decay=0.5",
    ("SGD", "momentum"): SGD + "momentum=0.9",
    ("SGD", "maximize"): SGD + "weight_decay=0.1, maximize=True",
    ("SGD", "dampening"): SGD + "momentum=0.9, dampening=0.5",
    ("SGD", "weight_decay w/ momentum"): SGD + "momentum=0.9, weight_decay=0.1",
    ("SGD", "nesterov"): SGD + "momentum=0.9, nesterov=True, weight_decay=0.1",
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
