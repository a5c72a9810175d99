"""Networks of images: the forward that shares run, a plain torch one beside it, and what training drops."""

from __future__ import annotations

import torch
import vision
from torch.nn import functional

from privinf.train.augment import Scale
from privinf.train.engine import Drops
from privinf.train.randomness import generator
from privinf.train.vision import Vision, initial

HEADS, HEAD, EPS = vision.HEADS, 4, 1e-5


def plain(w: dict[str, torch.Tensor], images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ViT-Lite as its authors write it, from the same parameters: logits, and rows behind the last norm."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        y = x @ w[f"{name}.weight"]
        return y + w[f"{name}.bias"] if f"{name}.bias" in w else y

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (8,), w[f"{name}.norm.gain"], w[f"{name}.norm.bias"], EPS)

    count = len(images)
    patches = functional.unfold(images, 4, stride=4).transpose(1, 2)
    x = torch.cat((w["embed.class"].expand(count, 1, -1), linear(patches, "embed.patch")), 1)
    x = x + w["embed.position"]
    for i in range(vision.LAYERS):
        attn, ffn = f"layer{i}.attn", f"layer{i}.ffn"
        rows = norm(x, attn)
        q, k, v = (linear(rows, f"{attn}.{p}").view(count, -1, HEADS, HEAD).transpose(1, 2) for p in "qkv")
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = norm(x + linear(mixed, f"{attn}.out"), ffn)
        x = x + linear(functional.gelu(linear(x, f"{ffn}.up")), f"{ffn}.down")
    x = norm(x, "head")
    return linear(x[:, 0], "head"), x


def test_it_is_vit_lite() -> None:
    network = vision.network()
    made = network.run(vision.images())
    logits, rows = plain(dict(network.weights), vision.images())
    torch.testing.assert_close(made.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.features, rows, atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_plain_network() -> None:
    network = vision.network()
    network.run(vision.images()).logits.square().sum().backward()
    w = {name: x.detach().clone().requires_grad_() for name, x in network.weights.items()}
    plain(w, vision.images())[0].square().sum().backward()
    for name, x in network.weights.items():
        torch.testing.assert_close(x.grad, w[name].grad, atol=2e-3, rtol=2e-3, msg=name)


def test_without_features_the_last_layer_has_one_row_and_logits_stay() -> None:
    whole = vision.network()
    quick = Vision(whole.spec, whole.weights, features=False)
    made = quick.run(vision.images())
    torch.testing.assert_close(made.logits, whole.run(vision.images()).logits)
    assert made.features.shape[1] == 1


def test_nothing_is_dropped_without_draws_and_something_with_them() -> None:
    network = vision.network()
    dropping = Vision(network.spec, network.weights, attention_drops=0.3, depth=0.5)
    plainly = network.run(vision.images()).logits
    assert torch.equal(dropping.run(vision.images()).logits, plainly)
    one, same, other = (dropping.run(vision.images(), generator(seed, "test")).logits for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, plainly)


def test_a_dropped_branch_leaves_the_rows_of_its_norm() -> None:
    network = vision.network()
    off = Drops(0.0, {layer.ffn.label: 1 - 1e-9 for layer in network.model.layers})
    dropping = Vision(network.spec, network.weights)
    dropping.drops = off
    w = dict(network.weights)
    for i in range(vision.LAYERS):
        w[f"layer{i}.ffn.down.weight"] = torch.zeros_like(w[f"layer{i}.ffn.down.weight"])
        w[f"layer{i}.ffn.down.bias"] = torch.zeros_like(w[f"layer{i}.ffn.down.bias"])
    made = dropping.run(vision.images(), generator(0, "test"))
    torch.testing.assert_close(made.logits, plain(w, vision.images())[0], atol=1e-4, rtol=1e-4)


def test_depth_grows_from_the_first_layer_to_the_last() -> None:
    model = vision.network().model
    rates = Drops.of(model, 0.0, 0.2).branches
    assert [rates[layer.ffn.label] for layer in model.layers] == [0.0, 0.2]


def test_parameters_begin_by_name_and_seed() -> None:
    one, same, other = initial(vision.spec(), 0), initial(vision.spec(), 0), initial(vision.spec(), 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["layer0.attn.q.weight"], other["layer0.attn.q.weight"])
    assert not torch.equal(one["layer0.attn.q.weight"], one["layer0.attn.k.weight"])
    assert all(x.requires_grad for x in one.values())


def test_a_scale_is_a_mean_and_a_deviation() -> None:
    made = Scale((0.5,) * 3, (0.25,) * 3).of(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    assert made.flatten().tolist() == [2.0] * 3
