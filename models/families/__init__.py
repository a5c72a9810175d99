"""Families: a file each says what a family's files are called and what they mean; nobody else knows its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from privinf.models.source.reading import Config, Keys
from privinf.models.source.tensors import Tensor
from privinf.models.spec import ModelSpec, Task
from privinf.protocols.registry import Registry

NONE = re.compile(r"(?!)")


@dataclass(frozen=True)
class Family:
    """One family.

    keys: that its config.json may have. classes: of transformers, and what each is asked; the first of a task is the
    one that we name. bare: the class without a head. prefix: before the names of all tensors but a head's.
    read: what a configuration says whose keys are checked, given its path and what its class is asked.
    write: the keys that say the same again. tensors: our names, and where each lies in the file.
    ignored: names of stored buffers that nothing reads; counted: of one that must hold 0, 1, 2, ...
    processor: of images, whose defaults hold where preprocessor_config.json names no class.
    """

    keys: Keys
    classes: Mapping[str, Task]
    bare: str
    prefix: str
    read: Callable[[Config, Path, Task], ModelSpec]
    write: Callable[[ModelSpec], dict[str, object]]
    tensors: Callable[[ModelSpec], Iterator[tuple[str, Tensor]]]
    ignored: re.Pattern[str] = NONE
    counted: str = ""
    processor: str = ""

    def architecture(self, task: Task) -> str:
        """The class that does this."""
        return next(name for name, does in self.classes.items() if does == task)


FAMILIES: Registry[Family] = Registry("privinf.models.families", "model_type")
