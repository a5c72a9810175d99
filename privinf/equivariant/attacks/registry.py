"""The attacks by name, with what each attacker holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from privinf.equivariant.attacks.body import body
from privinf.equivariant.attacks.free_seeds import free_seeds
from privinf.equivariant.attacks.frequency import frequency
from privinf.equivariant.attacks.invariants import invariants
from privinf.equivariant.attacks.inversion import inversion
from privinf.equivariant.attacks.known_plaintext import known_plaintext
from privinf.equivariant.attacks.products import weights
from privinf.equivariant.attacks.view import Findings, Leak, View
from privinf.errors import InputError


def _activations(view: View, leak: Leak) -> Findings:
    """torch is loaded by this attack alone."""
    from privinf.equivariant.attacks.activations import activations

    return activations(view, leak)


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        label: of the literature's list.
        holds: what the attacker has, in one sentence.
        leaks: it is told some tokens; others get none.
    """

    name: str
    label: str
    holds: str
    run: Callable[[View, Leak], Findings] = field(repr=False)
    leaks: bool = False


# What each attacker has.
HOLDS = {
    "weights": "The public model and the server's weights; at session, where the server has no embedding,"
    " also the rows that clients send.",
    "invariants": "The public model and the server's embedding table; at session the rows that clients send"
    " instead.",
    "body": "The public model and the weights of the server's first layer, then any covered row; at noise"
    " also all layers and the head, and, where frequent tokens come first, public text of the clients' kind.",
    "known-plaintext": "The public embedding and covered rows; which row stands for which of some frequent"
    " tokens, at session of tokens of the same session, or only for the special tokens that every text"
    " begins with.",
    "free-seeds": "The public model and the server's tables and biases, whose order everybody knows.",
    "vocabulary": "The public model, the values that the server computes inside its first layer on a prompt,"
    " and public text, which says what to try first; at noise also the first layer's weights, and the text"
    " counts as evidence where what the model expects does.",
    "frequency": "Symbols as they pass by, at session the rows that clients send in all their sessions, and"
    " public text of some kind; no weights.",
    "inversion": "The public embedding, and for half of the different tokens that occur, at session of those"
    " of one session, which covered row stands for which.",
}
ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("weights", "A1", HOLDS["weights"], weights),
        Attack("invariants", "A2", HOLDS["invariants"], invariants),
        Attack("body", "A2", HOLDS["body"], body),
        Attack("known-plaintext", "A3", HOLDS["known-plaintext"], known_plaintext, leaks=True),
        Attack("free-seeds", "A4", HOLDS["free-seeds"], free_seeds),
        Attack("vocabulary", "A5", HOLDS["vocabulary"], _activations),
        Attack("frequency", "A6", HOLDS["frequency"], frequency),
        Attack("inversion", "A7", HOLDS["inversion"], inversion, leaks=True),
    )
}


def chosen(names: Iterable[str] | None) -> list[Attack]:
    """The attacks of these names; all without names."""
    wanted = list(ATTACKS) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in ATTACKS]:
        raise InputError(f"{unknown[0]!r} is not an attack; choose one of {', '.join(ATTACKS)}")
    return [ATTACKS[name] for name in wanted]
