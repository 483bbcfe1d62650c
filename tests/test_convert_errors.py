"""from_torch and to_torch of what they cannot convert as it is: an error that names it, nothing lost in silence."""

import numpy
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize, prune

import fastbp
from fastbp import nn


class OwnSequential(torch.nn.Sequential):
    pass


@pytest.mark.parametrize("kind", [torch.nn.Softmin, torch.nn.Softmax2d, torch.nn.RReLU, OwnSequential])
def test_a_torch_module_that_we_do_not_have_is_named(kind):
    with pytest.raises(TypeError, match=rf"from_torch converts Linear, .*ReLU.*got {kind.__name__}"):
        fastbp.from_torch(torch.nn.Sequential(torch.nn.Linear(3, 2), kind()))


def test_a_module_that_torch_does_not_have_is_named():
    class Own(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"to_torch converts Linear, .*ReLU.*got Own"):
        fastbp.to_torch(nn.Sequential(Own()))


def with_other(name, value):
    """A torch network whose second layer got an attribute set."""

    def build():
        layer = torch.nn.Linear(3, 2)
        setattr(layer, name, value(layer))
        return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sequential(layer))

    return build


def hooked(register):
    """A torch network whose second layer got a hook."""

    def build():
        layer = torch.nn.Linear(3, 2)
        register(layer)
        return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sequential(layer))

    return build


def doubled(*arguments):
    return 2 * arguments[-1]


def doubled_gradients(module, *gradients):
    return tuple(2 * gradient for gradient in gradients[0])


HOOKS = {
    "forward": lambda layer: layer.register_forward_hook(doubled),
    "forward with keywords": lambda layer: layer.register_forward_hook(doubled, with_kwargs=True),
    "before forward": lambda layer: layer.register_forward_pre_hook(doubled),
    "backward": lambda layer: layer.register_full_backward_hook(doubled_gradients),
    "before backward": lambda layer: layer.register_full_backward_pre_hook(doubled_gradients),
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_module_with_a_hook_is_refused(kind):
    """A hook may change what the module computes."""
    with pytest.raises(TypeError, match=r"from_torch .*got Linear at '1\.0' with .*hook.*; remove"):
        fastbp.from_torch(hooked(HOOKS[kind])())


@pytest.mark.parametrize("kind", [torch.nn.Sequential, torch.nn.Tanh])
def test_a_hook_is_refused_on_every_kind_of_module(kind):
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), kind())
    module[1].register_forward_hook(doubled)
    with pytest.raises(TypeError, match=rf"got {kind.__name__} at '1' with .*doubled"):
        fastbp.from_torch(module)
    module = kind()
    module.register_forward_hook(doubled)
    with pytest.raises(TypeError, match=rf"got {kind.__name__} with .*doubled"):
        fastbp.from_torch(module)


def test_a_hook_that_was_removed_is_no_hindrance():
    layer = torch.nn.Linear(3, 2)
    layer.register_forward_hook(doubled).remove()
    assert fastbp.from_torch(layer).in_features == 3


@pytest.mark.parametrize("name", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_parameter_with_a_hook_on_its_gradient_is_refused(name):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    handle = getattr(module[0].weight, name)(doubled)
    with pytest.raises(TypeError, match=r"'0\.weight' with .*hook"):
        fastbp.from_torch(module)
    handle.remove()
    fastbp.from_torch(module)


@pytest.mark.filterwarnings("ignore:.*(weight_norm|spectral_norm).*:FutureWarning")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_the_older_norms_of_weights_are_refused_by_their_hooks(name):
    module = getattr(torch.nn.utils, name)(torch.nn.Linear(3, 2))
    with pytest.raises(TypeError, match=r"got Linear with .*hook.*(WeightNorm|SpectralNorm)"):
        fastbp.from_torch(module)


class Symmetric(torch.nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


PARAMETRIZED = {
    "weight_norm": (parametrizations.weight_norm, "weight"),
    "spectral_norm": (parametrizations.spectral_norm, "weight"),
    "orthogonal": (parametrizations.orthogonal, "weight"),
    "own": (lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()), "weight"),
    "bias": (lambda layer: parametrize.register_parametrization(layer, "bias", torch.nn.ReLU()), "bias"),
}


@pytest.mark.parametrize("kind", PARAMETRIZED)
def test_a_parametrized_layer_is_refused_with_its_remedy(kind):
    register, name = PARAMETRIZED[kind]
    module = torch.nn.Sequential(torch.nn.ReLU(), register(torch.nn.Linear(3, 3)))
    with pytest.raises(TypeError, match=rf"Linear at '1' .*parametrized {name}.*remove_parametrizations"):
        fastbp.from_torch(module)
    parametrize.remove_parametrizations(module[1], name)
    fastbp.from_torch(module)


OTHERS = {
    "an own forward": (with_other("forward", lambda layer: lambda x: 2 * x), "forward"),
    "a parameter": (with_other("scale", lambda layer: torch.nn.Parameter(torch.ones(2))), "scale"),
    "a second name for its weight": (with_other("other", lambda layer: layer.weight), "other"),
    "a module": (with_other("norm", lambda layer: torch.nn.ReLU()), "norm"),
    "a buffer": (hooked(lambda layer: layer.register_buffer("mask", torch.ones(2))), "mask"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_torch_module_with_parts_of_the_users_is_refused(case):
    build, name = OTHERS[case]
    with pytest.raises(TypeError, match=rf"from_torch .*got Linear at '1\.0' with {name} of its own"):
        fastbp.from_torch(build())


def test_a_torch_sequential_with_a_parameter_of_its_own_is_refused():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    module.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(TypeError, match=r"from_torch .*got Sequential with scale of its own"):
        fastbp.from_torch(module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_refused_by_its_name(dtype):
    with pytest.raises(TypeError, match=rf"float32 or float64.*got {str(dtype)[6:]} in '1\.weight'.*\.float\(\)"):
        fastbp.from_torch(torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(3, 2).to(dtype)))


def test_a_layer_of_two_dtypes_is_refused():
    layer = torch.nn.Linear(3, 2)
    layer.bias = torch.nn.Parameter(layer.bias.detach().double())
    with pytest.raises(TypeError, match=r"float32.*float64"):
        fastbp.from_torch(layer)


def test_a_tensor_in_the_place_of_a_parameter_is_refused():
    layer = torch.nn.Linear(3, 2)
    del layer.weight
    layer.weight = torch.ones(2, 3, requires_grad=True) * 2
    with pytest.raises(TypeError, match=r"from_torch copies parameters, got a Tensor as 'weight'"):
        fastbp.from_torch(layer)


class OwnTanh(nn.Tanh):
    pass


class OwnChain(nn.Sequential):
    pass


@pytest.mark.parametrize("kind", [OwnTanh, OwnChain])
def test_a_subclass_of_the_library_is_refused_by_to_torch(kind):
    with pytest.raises(TypeError, match=rf"to_torch converts Linear, .*ReLU.*got {kind.__name__}"):
        fastbp.to_torch(nn.Sequential(nn.Linear(3, 3), kind()))


@pytest.mark.parametrize("name", ["forward", "backward", "predict"])
@pytest.mark.parametrize("place", ["", "0", "1", "1.0"])
def test_a_model_with_methods_of_the_users_is_refused_by_to_torch(name, place):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh()))
    module = dict(model.named_modules())[place]
    setattr(module, name, lambda array: array)
    where = f" at '{place}'" if place else ""
    with pytest.raises(TypeError, match=rf"to_torch .*got {type(module).__name__}{where} with {name} of its own"):
        fastbp.to_torch(model)
    delattr(module, name)
    fastbp.to_torch(model)


@pytest.mark.parametrize("place", ["0", "1.0"])
def test_a_model_with_parameters_that_torch_would_not_have_is_refused(place):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh()))
    dict(model.named_modules())[place].scale = nn.Parameter(numpy.ones(3, numpy.float32))
    with pytest.raises(TypeError, match=rf"to_torch .*{place}\.scale"):
        fastbp.to_torch(model)
