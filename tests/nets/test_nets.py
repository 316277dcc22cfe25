"""Networks: what every one of them promises, and the numbers their papers print."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from faceloss.errors import BadInput
from faceloss.nets import build, names
from faceloss.nets.mobilefacenet import StridedDepthwise
from faceloss.nets.net import Net, halved
from faceloss.nets.prelu import PReLU

torch.set_num_threads(1)

# The cheapest input of each network that still exercises every layer: the tests below are about structure.
TINY = {"iresnet18": 32, "iresnet50": 32, "mobilefacenet": 32, "resnet18": 32, "small": 32}
FROZEN = {"iresnet18": {"head.3.weight"}, "iresnet50": {"head.3.weight"}}


def tiny(name: str, dim: int = 8, seed: int = 0) -> Net:
    return build(name, dim=dim, seed=seed, input_size=TINY[name])


def images(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def multiplications(net: nn.Module, size: int) -> int:
    """Multiply-accumulates of convolutions and fully-connected layers for one image."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += module.weight[0].numel() * output[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(images(1, size))
    return total


def test_every_network_is_tested_here() -> None:
    assert names() == tuple(sorted(TINY))


def test_names_does_not_import_torch() -> None:
    code = "import sys, faceloss.nets as n; assert 'small' in n.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "size"),
    [("small", 64), ("resnet18", 96), ("iresnet18", 112), ("mobilefacenet", 112), ("iresnet50", 112)],
)
def test_default_input_size_is_the_papers(name: str, size: int) -> None:
    net = build(name).eval()
    assert net.input_size == size
    with torch.no_grad():
        assert net(images(1, size)).shape == (1, 128)


@pytest.mark.parametrize("name", names())
def test_shape_and_scale_of_the_embedding(name: str) -> None:
    net = tiny(name, dim=24)
    embeddings = net(images(6, TINY[name]))
    assert embeddings.shape == (6, 24)
    assert embeddings.dtype == torch.float32
    norms = embeddings.detach().norm(dim=1)
    assert (norms > 0.5).all()
    assert (norms < 50).all()
    assert norms.std() > 1e-3, "a raw embedding is not normalized"


@pytest.mark.parametrize("name", names())
def test_gradient_reaches_every_parameter(name: str) -> None:
    net = tiny(name)
    embeddings = net(images(6, TINY[name]))
    target = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1))
    loss = (embeddings * target).sum()
    assert loss.detach().abs() > 1e-3
    loss.backward()
    frozen = {key for key, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == FROZEN.get(name, set())
    for key, parameter in net.named_parameters():
        if key not in frozen:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", names())
def test_evaluation_is_deterministic_and_per_image(name: str) -> None:
    size = TINY[name]
    net = tiny(name)
    with torch.no_grad():
        net(images(8, size, seed=3))  # running statistics are no longer those of a fresh network
        net.eval()
        batch = images(4, size)
        first = net(batch)
        assert torch.equal(first, net(batch))
        alone = torch.cat([net(image[None]) for image in batch])
    assert (first[0] - first[1]).abs().max() > 1e-3
    torch.testing.assert_close(alone, first, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", names())
def test_low_precision_and_channels_last(name: str) -> None:
    size = TINY[name]
    net = tiny(name, dim=32)
    batch = images(8, size)
    full = net(batch)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        low = net(batch.contiguous(memory_format=torch.channels_last))
    assert low.dtype == torch.float32
    assert not torch.equal(low, full), "autocast did nothing"
    centered = [part.detach() - part.detach().mean(0) for part in (low, full)]
    assert torch.nn.functional.cosine_similarity(*centered).min() > 0.95
    low.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", names())
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    before = torch.get_rng_state()
    one, again, other = tiny(name, seed=1), tiny(name, seed=1), tiny(name, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for key, weight in one.state_dict().items():
        assert torch.equal(weight, again.state_dict()[key]), key
    assert any(not torch.equal(w, other.state_dict()[key]) for key, w in one.state_dict().items())


@pytest.mark.parametrize("name", names())
def test_state_round_trip(name: str) -> None:
    size = TINY[name]
    net, copy = tiny(name, seed=1), tiny(name, seed=2)
    with torch.no_grad():
        net(images(8, size, seed=3))
        before = copy.eval()(images(2, size))
        copy.load_state_dict(net.state_dict())
        after = copy(images(2, size))
        assert not torch.equal(before, after)
        assert torch.equal(net.eval()(images(2, size)), after)


@pytest.mark.parametrize("name", names())
def test_other_shapes_are_refused_in_a_sentence(name: str) -> None:
    size = TINY[name]
    net = tiny(name).eval()
    for bad in (images(1, size + 2), images(1, size)[0], images(1, size)[:, :1]):
        with pytest.raises(BadInput, match=rf"\[batch, 3, {size}, {size}\].*but was given"):
            net(bad)
    with pytest.raises(BadInput, match=r"uint8; convert pixels with \(pixels - 127\.5\) / 127\.5"):
        net(torch.zeros(1, 3, size, size, dtype=torch.uint8))


def test_unknown_names_and_values_are_refused_in_a_sentence() -> None:
    with pytest.raises(BadInput, match="did you mean 'small'"):
        build("smal")
    with pytest.raises(BadInput, match="option of the network small named 'widht'; did you mean 'width'"):
        build("small", widht=8)
    with pytest.raises(BadInput, match="dim must be a whole number of at least 1, but 0 was given"):
        build("small", dim=0)
    with pytest.raises(BadInput, match="width must be a whole number"):
        build("small", width=1.5)
    with pytest.raises(BadInput, match="input_size must be a whole number of at least 32"):
        build("resnet18", input_size=16)


@pytest.mark.parametrize(
    ("name", "dim", "published"),
    [
        ("iresnet18", 512, 24.0e6),  # arcface_torch
        ("iresnet50", 512, 43.6e6),  # arcface_torch
        ("mobilefacenet", 128, 0.99e6),  # Chen et al. 2018, section 3
    ],
)
def test_published_parameter_counts(name: str, dim: int, published: float) -> None:
    net = build(name, dim=dim)
    assert parameters(net) == pytest.approx(published, rel=0.015)


def test_resnet18_trunk_has_the_papers_parameters_and_cost() -> None:
    net = build("resnet18", input_size=224)
    assert parameters(net.trunk) == 11_176_512  # 11.69 M less the 1,000-class layer's 513,000
    assert multiplications(net.trunk, 224) == pytest.approx(1.8e9, rel=0.02)  # He et al. 2016, table 1


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("iresnet18", 2.62e9),  # arcface_torch's figure for r18 at 112x112
        ("mobilefacenet", 0.221e9),  # Chen et al. 2018, section 3: "221 million MAdds"
    ],
)
def test_published_cost(name: str, published: float) -> None:
    net = build(name, dim=512 if name == "iresnet18" else 128)
    assert multiplications(net, 112) == pytest.approx(published, rel=0.03)


def test_input_size_carries_through_odd_sides() -> None:
    assert [halved(size, 4) for size in (64, 96, 112, 113)] == [4, 6, 7, 8]
    for name, size in (("small", 50), ("iresnet18", 35), ("mobilefacenet", 35), ("resnet18", 35)):
        with torch.no_grad():
            assert build(name, dim=4, input_size=size).eval()(images(1, size)).shape == (1, 4)


def test_small_width_and_blocks_change_the_network() -> None:
    sizes = [parameters(build("small", width=w, blocks=b)) for w, b in ((8, 1), (16, 1), (16, 2))]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prelu_is_pytorchs(dtype: torch.dtype) -> None:
    ours, theirs = PReLU(5), nn.PReLU(5)
    x = images(4, 8).repeat(1, 2, 1, 1)[:, :5].to(dtype).contiguous(memory_format=torch.channels_last)
    x[0, 0, 0, 0] = 0.0  # takes the slope, as in PyTorch
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert (x > 0).any()
    assert (x < 0).any()
    found = []
    for module in (ours, theirs):
        with torch.no_grad():
            module.weight.copy_(torch.linspace(-0.2, 0.6, 5))
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = module(leaf)
        out.backward(grad)
        found.append((out, leaf.grad, module.weight.grad))
    (value, of_x, of_slope), (value_too, of_x_too, of_slope_too) = found
    assert value.dtype == dtype
    assert torch.equal(value, value_too)
    assert torch.equal(of_x, of_x_too)
    # PyTorch adds products rounded to bfloat16 up in another order and rounds the sum; ours stays float32.
    torch.testing.assert_close(of_slope, of_slope_too, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)


def test_prelu_can_be_differentiated_twice() -> None:
    prelu = PReLU(3).double()
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert x.abs().min() > 1e-3, "off the kink"
    leaf = x.requires_grad_()
    assert torch.autograd.gradcheck(prelu, leaf)
    assert torch.autograd.gradcheck(
        lambda slope: torch.func.functional_call(prelu, {"weight": slope}, leaf), prelu.weight
    )
    assert torch.autograd.gradgradcheck(prelu, leaf)


def test_strided_depthwise_convolutions_stay_in_float32_on_a_cpu() -> None:
    net = tiny("mobilefacenet")
    strided = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.stride != (1, 1)]
    assert len(strided) == 3
    assert all(isinstance(convolution, StridedDepthwise) for convolution in strided)
    x = torch.randn(2, strided[0].in_channels, 6, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = nn.functional.conv2d(x.float(), strided[0].weight, None, 2, 1, 1, strided[0].groups)
    with torch.autocast("cpu", torch.bfloat16):
        out = strided[0](x)
    assert torch.equal(out, exact.bfloat16())
    assert not torch.equal(strided[0].weight, strided[0].weight.bfloat16().float()), "else bfloat16 would agree too"
