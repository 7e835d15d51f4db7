"""Tiny transformers of the library of that name, each with one fault in its middle."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    named,
    origin_of,
    program,
    undisturbed,
    unharmed,
    watched_run,
)

pytest.importorskip("transformers")

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

TABLE = Table()
plant = TABLE.plant
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def ids(step: int) -> Tensor:
    """(4 samples, 6 tokens)."""
    return torch.randint(1, 50, (4, 6), generator=torch.Generator().manual_seed(step))


def bert() -> Any:
    """A classifier, with dropout."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=16, **SMALL))


def gpt2() -> Any:
    """A language model."""
    torch.manual_seed(0)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, **tokens))


def mixtral(eps: float) -> Any:
    """A mixture of three experts, whose token 0 is padding."""
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=50, num_key_value_heads=2, num_local_experts=3, rms_norm_eps=eps, pad_token_id=0, **SMALL
    )
    return MixtralForCausalLM(config)


def vit() -> Any:
    """A classifier of images of 8 x 8."""
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL))


class Root(nn.Module):
    """An activation that has no slope at 0, and no value below."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x + self.floor)  # planted


def classified(model: Any, *, lr: float = 1e-3, **given: Any) -> Program:
    """The loss that the model computes itself."""
    labels = torch.arange(4) % 2
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return program(model, lambda step: model(input_ids=ids(step), labels=labels, **given).loss, optimizer)


@plant(
    "forward", "bert.encoder.layer.1.intermediate.intermediate_act_fn", "sqrt", step=0, why=["negative"], marked=True
)
def an_activation_of_bert_replaced(sick: bool) -> Program:
    model = bert()
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = Root(0.0 if sick else 10.0)
    return classified(model)


class Squash(nn.Module):
    """A root of what was cut at zero: finite, and without a slope there."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return (x * (x > 0) + self.eps).sqrt()  # planted


@plant("backward", "bert.pooler.activation", "sqrt", step=0, module_class="Squash", marked=True)
def a_pooler_of_bert_without_a_slope(sick: bool) -> Program:
    model = bert()
    model.bert.pooler.activation = Squash(0.0 if sick else 1e-3)
    return classified(model)


@plant("forward", "bert.embeddings.LayerNorm", "layer_norm", step=0, module_class="LayerNorm")
def a_layer_norm_of_bert_without_eps(sick: bool) -> Program:
    model = bert()
    for table in (model.bert.embeddings.word_embeddings, model.bert.embeddings.position_embeddings):
        nn.init.zeros_(table.weight)
    nn.init.zeros_(model.bert.embeddings.token_type_embeddings.weight)
    model.bert.embeddings.LayerNorm.eps = 0.0 if sick else 1e-5
    return classified(model, lr=0.0)


def divided(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    """A hook that scales by a number of the program."""
    return output / module.divisor  # type: ignore[operator]


@plant("forward", "bert.encoder.layer.0.output.dense", "div")
def a_hook_in_bert_that_divides(sick: bool) -> Program:
    model = bert()
    dense = model.bert.encoder.layer[0].output.dense
    dense.register_buffer("divisor", torch.ones(()))
    dense.register_forward_hook(divided)
    labels = torch.arange(4) % 2

    def loss(step: int) -> Tensor:
        dense.divisor.fill_(0.0 if sick and step == FAILS else 1.0)
        return model(input_ids=ids(step), labels=labels).loss

    return program(model, loss)


@plant("forward", "transformer.h.1.mlp.c_fc", "addmm", "linear", "matmul", "conv1d", step=0, why=["overflow"])
def weights_of_gpt2_that_overflow(sick: bool) -> Program:
    model = gpt2()
    if sick:
        nn.init.constant_(model.transformer.h[1].mlp.c_fc.weight, 3e38)
        nn.init.constant_(model.transformer.h[1].ln_2.bias, 1.0)
    return program(model, lambda step: model(input_ids=ids(step), labels=ids(step)).loss)


@plant("loss", None, "cross_entropy", "nll_loss", "div")
def no_label_left_in_gpt2(sick: bool) -> Program:
    model = gpt2()

    def loss(step: int) -> Tensor:
        labels = torch.full((4, 6), -100) if sick and step == FAILS else ids(step)
        return model(input_ids=ids(step), labels=labels).loss

    return program(model, loss)


@plant("forward", "model.layers.0.input_layernorm", "rsqrt", step=0, module_class="MixtralRMSNorm", samples=(1,))
def padding_in_mixtral_without_eps(sick: bool) -> Program:
    model = mixtral(0.0 if sick else 1e-5)

    def loss(step: int) -> Tensor:
        tokens = ids(step)
        tokens[1, -1] = 0
        return model(input_ids=tokens, labels=tokens).loss

    return program(model, loss)


@plant("input", None, culprit="pixel_values", samples=(2,))
def a_broken_image_for_vit(sick: bool) -> Program:
    model = vit()

    def loss(step: int) -> Tensor:
        pixels = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        if sick and step == FAILS:
            pixels[2, 1, 3, 3] = math.nan
        return model(pixel_values=pixels, labels=torch.arange(4) % 2).loss

    return program(model, loss)


@plant("parameter", "vit.layers.1.attention.v_proj", parameter="vit.layers.1.attention.v_proj.weight")
def a_broken_weight_of_vit(sick: bool) -> Program:
    model = vit()
    pixels = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def loss(step: int) -> Tensor:
        if sick and step == FAILS:
            with torch.no_grad():
                model.vit.layers[1].attention.v_proj.weight[0, 0] = math.inf
        return model(pixel_values=pixels, labels=torch.arange(4) % 2).loss

    return program(model, loss)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_program_fails_by_itself_and_its_twin_does_not(plant: Plant) -> None:
    fails_by_itself(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_origin_is_named(plant: Plant) -> None:
    named(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_twin_has_none(plant: Plant) -> None:
    unharmed(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_training_is_the_same_bit_for_bit(plant: Plant) -> None:
    undisturbed(plant)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_sample_of_bert_that_is_masked_entirely_is_no_origin(attention: str) -> None:
    model = bert()
    model.set_attn_implementation(attention)
    mask = torch.ones(4, 6, dtype=torch.long)
    mask[2] = 0
    scope, trace = watched_run(classified(model, attention_mask=mask))
    assert (trace.failed, origin_of(scope)) == (None, None)
