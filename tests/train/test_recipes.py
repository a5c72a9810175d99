"""Recipes: those that ship, settings by name and type, and what is refused by which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from privinf.errors import ConfigError, FileError, OptionError
from privinf.train.recipes import differences, document, names, override, read


@pytest.mark.parametrize("name", names())
def test_every_recipe_that_ships_can_be_read(name: str) -> None:
    assert document(read(name))["model"]["family"] == "vit_lite"


def test_the_papers_recipes() -> None:
    cifar, tiny = read("paper-cifar10"), read("paper-tiny-imagenet")
    assert (cifar.optimisation.rate, cifar.optimisation.epochs, cifar.augmentation.mix_until) == (
        5.5e-4,
        600,
        175,
    )
    assert (tiny.model.layers, tiny.model.heads, tiny.model.width, tiny.model.ffn) == (9, 12, 192, 384)
    assert (tiny.augmentation.crop, tiny.augmentation.mix_until) == (0.08, 0)


def test_settings_by_name_and_type() -> None:
    told = ["seed=7", "optimisation.rate = 1", "model.attention=scaling", "choosing.decay=false"]
    recipe = read("small-cifar10", told)
    assert (recipe.seed, recipe.optimisation.rate) == (7, 1.0)
    assert (recipe.model.attention, recipe.choosing.decay) == ("scaling", False)
    assert differences(document(recipe), document(read("small-cifar10"))) == [
        "choosing.decay",
        "model.attention",
        "optimisation.rate",
        "seed",
    ]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optimisation.rat=1", "optimisation.rat is no option"),
        ("optimizer.rate=1", "optimizer is no option"),
        ("optimisation.rate=fast", "optimisation.rate must be a number, not 'fast'"),
        ("optimisation.rate=nan", "optimisation.rate must be a number"),
        ("optimisation.epochs=1.5", "optimisation.epochs must be a whole number"),
        ("optimisation.epochs=true", "optimisation.epochs must be a whole number"),
        ("optimisation.epochs=0", "from 1 to 10000"),
        ("optimisation.warmup=14", "less than optimisation.epochs"),
        ("model.heads=5", "multiple of model.heads"),
        ("model.attention=sharp", "one of softmax, relu_softmax"),
        ("model=1", "model is a section"),
        ("seed.part=1", "seed must be a whole number"),
        ("seed", "--set seed: write it as"),
    ],
)
def test_a_setting_that_is_refused(setting: str, words: str) -> None:
    with pytest.raises((ConfigError, OptionError)) as caught:
        override(read("small-cifar10"), [setting])
    assert words in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[optimisation]\nepochs = 20\n")
    with pytest.raises(ConfigError, match="model is missing"):
        read(str(file))
    file.write_text('[model]\nfamily = "vit_lite"\n[optimisation]\nepochs = 20\n')
    assert read(str(file)).optimisation.epochs == 20
    file.write_text("[optimisation\n")
    with pytest.raises(ConfigError, match="not TOML"):
        read(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(str(file))
    with pytest.raises(FileError, match=r"none\.toml"):
        read(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="unknown: choose one of paper-cifar10"):
        read("nothing")
