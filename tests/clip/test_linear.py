import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medscan.clip import linear as module
from medscan.clip.linear import (
    Linear,
    SelfAttention,
    apply_linear,
    multiplying_in_bf16,
    speed_up,
)

X = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN was asked."""
    if module._ONEDNN is None:
        pytest.skip("this PyTorch has no oneDNN")
    seen, real = [], module._ONEDNN

    def counted(*arguments):
        seen.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, "_ONEDNN", counted)
    return seen


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return nn.MultiheadAttention(16, 2, batch_first=True).eval()


def quickened(plain: nn.MultiheadAttention) -> SelfAttention:
    other = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    other.load_state_dict(plain.state_dict())
    speed_up(other)
    assert isinstance(other, SelfAttention)
    return other


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_a_linear_layer(calls, bias):
    layer = Linear(16, 5, bias=bias)
    with torch.inference_mode():
        for x in (X, X[0, 0], X.transpose(0, 1), X[:, ::2], X[:0]):
            assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-6)
        turned = torch.randn(16, 5)
        assert torch.allclose(apply_linear(X, turned.mT), X @ turned, atol=1e-5)
    assert len(calls) == 6


def test_without_onednn_it_is_pytorchs_own(monkeypatch):
    monkeypatch.setattr(module, "_ONEDNN", None)
    layer = Linear(16, 5)
    with torch.inference_mode():
        assert torch.equal(layer(X), F.linear(X, layer.weight, layer.bias))


def test_gradients_are_pytorchs_own(calls):
    layer, x = Linear(16, 5), X.clone().requires_grad_()
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert torch.allclose(x.grad, layer.weight.detach().sum(0).expand_as(x), atol=1e-6)
    assert not calls


def test_weights_follow_the_precision_of_what_they_are_given(calls):
    layer = Linear(16, 5)
    with torch.inference_mode():
        assert layer(X.bfloat16()).dtype == torch.bfloat16
        assert torch.allclose(layer(X.bfloat16()).float(), layer(X), atol=0.05)
    assert layer.weight.dtype == torch.float32


def test_weights_of_less_precision_are_no_mistake():
    layer = Linear(16, 5).bfloat16()
    with torch.inference_mode():
        wanted = F.linear(X, layer.weight.float(), layer.bias.float())
        assert torch.allclose(layer(X), wanted, atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_pytorchs_own(calls, attention, masked):
    mask = torch.full((7, 7), float("-inf")).triu(1) if masked else None
    other = quickened(attention)
    with torch.inference_mode():
        wanted, _ = attention(X, X, X, need_weights=False, attn_mask=mask)
        found, weights = other(X, X, X, need_weights=False, attn_mask=mask)
    assert weights is None
    assert torch.allclose(found, wanted, atol=1e-6)
    assert len(calls) == 2


def test_what_is_no_plain_self_attention_is_left_to_pytorch(calls, attention):
    other, tokens = quickened(attention), X[:, :3].contiguous()
    with torch.inference_mode():
        for arguments, options in (
            ((tokens, X, X), {"need_weights": False}),
            ((X, X, X), {}),
            ((X, X, X), {"need_weights": False, "key_padding_mask": X[..., 0] > 0}),
            ((X,), {"key": X, "value": X, "need_weights": False}),
        ):
            wanted = attention(*arguments, **options)
            for a, b in zip(other(*arguments, **options), wanted, strict=True):
                assert (a is None and b is None) or torch.equal(a, b)
    found, _ = other(X, X, X, need_weights=False)
    assert found.requires_grad
    assert not calls


def test_a_tower_is_quickened_and_keeps_its_tensors(calls, backbone, backbone_folder):
    import open_clip

    plain = open_clip.create_model(f"local-dir:{backbone_folder}")
    assert list(backbone.model.state_dict()) == list(plain.state_dict())
    with torch.inference_mode():
        backbone.features(torch.rand(1, 3, 64, 64), (4,))
    assert len(calls) == 16  # four blocks of two products in attention and two after it


def test_a_layer_that_learns_in_bfloat16_keeps_gradients_in_single_precision(calls):
    layer, plain, exact = Linear(16, 5), X.clone().requires_grad_(), X.clone().requires_grad_()
    with multiplying_in_bf16(wanted=True):
        found = layer(plain)
        assert torch.equal(layer(X.bfloat16()).float(), found)
    wanted = layer(exact)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).abs().max() < 0.02
    found.square().sum().backward()
    assert plain.grad.dtype == layer.weight.grad.dtype == torch.float32
    rough, layer.weight.grad = layer.weight.grad.clone(), None
    wanted.square().sum().backward()
    assert torch.allclose(plain.grad, exact.grad, atol=0.05)
    assert torch.allclose(rough, layer.weight.grad, rtol=0.02, atol=0.1)
    assert not calls


def test_layers_multiply_in_bfloat16_only_where_it_is_wanted():
    layer = Linear(16, 5)
    wanted = layer(X)
    with multiplying_in_bf16(wanted=False):
        assert torch.equal(layer(X), wanted)
    with pytest.raises(ValueError), multiplying_in_bf16(wanted=True):
        raise ValueError
    assert torch.equal(layer(X), wanted)
