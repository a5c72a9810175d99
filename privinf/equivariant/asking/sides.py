"""Opens the client's directory of a covered model, for whatever it is asked."""

from __future__ import annotations

from pathlib import Path

from privinf.equivariant.asking.images import ImageSide
from privinf.equivariant.asking.prompts import PromptSide
from privinf.equivariant.asking.texts import TextSide
from privinf.equivariant.key import KeyAbout

Side = TextSide | ImageSide | PromptSide


def side_of(folder: Path, about: KeyAbout) -> Side:
    """What turns texts, images or prompts into requests.

    Raises:
        ModelError: tokenizer or configuration is missing, damaged, or lacks what the model needs.
        IntegrityError: they are not of the model that the key is for.
    """
    if about.task == "generate":
        return PromptSide(folder, about)
    return TextSide(folder, about) if about.vocab else ImageSide(folder, about)
