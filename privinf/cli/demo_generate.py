"""The demo of generation: a real decoder asked through three server processes, beside what float32 says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privinf.cli.generate import show
from privinf.cli.output import emit_json, megabytes, note, stages

if TYPE_CHECKING:
    from privinf.cli.share import Mode
    from privinf.models.programs.layout import SessionLayout
    from privinf.models.sharing.bundle import Bundle
    from privinf.sdk.client import Client

COUNT = 24  # tokens of an answer, at most
CALIBRATION = 40  # everyday sentences: fewer than `privinf share` reads, so that the demo is short
SESSION = 256
COSTS = ("seconds", "rounds", "online_bytes", "offline_bytes")  # of its first token, and of each later one


# The models that the demo can show, and what each is asked.
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct", ("What is the capital of France?", "Why is the sky blue?")),
    "tinystories": (
        "stories15M",
        ("Once upon a time, there was a little whale", "Lily and Tom found a red ball"),
    ),
}


def run(name: str, weights: Mode, as_json: bool) -> None:
    """Fetch, share, serve, ask and compare; print one report."""
    from privinf.errors import ConfigError
    from privinf.formats.fetch import fetch
    from privinf.models.sharing.calibrate import default_text
    from privinf.models.sharing.share import share_decoder

    if name not in MODELS:
        raise ConfigError(f"--model is {' or '.join(MODELS)}, not {name!r}")
    (about, prompts), lines = MODELS[name], default_text()[-CALIBRATION:]
    note(f"fetching {about} (once)")
    source = fetch(name)
    with tempfile.TemporaryDirectory(prefix="privinf-demo-") as folder:
        work = Path(folder)
        note(f"sharing the model ({weights} weights), calibrated on {CALIBRATION} sentences alone")
        options: dict[str, Any] = {"weights": weights, "calibration": lines, "max_tokens": SESSION}
        with stages() as at:
            shared = share_decoder(source, work / "shared", tick=at.tick, stage=at.begin, **options)
        with asking(work) as client:
            answers = [_answer(client, prompt, quiet=as_json) for prompt in prompts]
        clear = _clear(source, shared, prompts)
    report = [_compared(*each) for each in zip(prompts, answers, clear, strict=True)]
    if as_json:
        emit_json({"model": shared.identity.model_id, "weights": weights, "answers": report})
    else:
        _print(report)


@contextmanager
def asking(work: Path) -> Iterator[Client]:
    """A client of the model in work/shared, whose three servers run meanwhile."""
    from privinf.local import LocalParties
    from privinf.sdk.client import Client

    model = work / "shared"
    with (
        LocalParties(model, work / "run") as local,
        Client(model / "client", parties=local.addresses, tls=local.tls(), deadline=300.0) as client,
    ):
        note("sending queries: dealer, party 0 and party 1 are separate processes, over TLS")
        yield client


def _answer(client: Client, prompt: str, quiet: bool) -> dict[str, Any]:
    """Print an answer as it comes; return it with what its first token took and what the others did."""
    if not quiet:
        print(f"\n> {prompt}")
    stream = client.stream(prompt, max_new_tokens=COUNT)
    first = show(stream, quiet=quiet)[0].stats
    whole, last = stream.completion, stream.stats
    later = max(last.passes - first.passes, 1)
    return {
        "text": whole.text,
        "tokens": list(whole.tokens),
        "finish_reason": whole.finish_reason,
        "first_seconds": first.seconds,
        "first_online_bytes": first.online_bytes,
        "first_offline_bytes": first.offline_bytes,
        "seconds_a_token": (last.seconds - first.seconds) / later,
        "rounds_a_token": (last.rounds - first.rounds) / later,
        "online_bytes_a_token": (last.online_bytes - first.online_bytes) / later,
        "offline_bytes_a_token": (last.offline_bytes - first.offline_bytes) / later,
    }


def _clear(source: Path, shared: Bundle[SessionLayout], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Float32's most likely tokens after the same prefix, and their text."""
    import torch

    from privinf.models.clear import ClearDecoder, prefix_cache
    from privinf.models.fold import fold
    from privinf.models.source.checkpoint import load
    from privinf.sdk.decoder_client import DecoderSide

    note("computing float32 in the clear")
    spec, tensors = load(source)
    weights = fold(spec, tensors)
    past = prefix_cache(spec, weights, shared.layout.plan.prefix)
    decoder, side = ClearDecoder(spec, weights), DecoderSide(shared.directory)
    answers = []
    for prompt in prompts:
        decoder.rewind(past)
        read, made = side.prompt(prompt, raw=False), list[int]()
        while len(made) < COUNT and not (made and made[-1] in spec.generator.eos):
            made.append(int(decoder.run(torch.tensor([read]), 1)[0, 0].argmax()))
            read = made[-1:]
        answers.append({"clear_tokens": made, "clear_text": side.tokenizer.decode(made)})
    return answers


def _compared(prompt: str, answer: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = answer["tokens"], expected["clear_tokens"]
    equal = [a == b for a, b in zip(ours, theirs, strict=False)]
    same = len(equal) if all(equal) else equal.index(False)
    return answer | expected | {"prompt": prompt, "same": same, "identical": ours == theirs}


def _print(answers: list[dict[str, Any]]) -> None:
    print()
    for answer in answers:
        print(f"> {answer['prompt']}\n  private: {answer['text']!r}\n  clear:   {answer['clear_text']!r}")
        first = "" if answer["identical"] else f"the first {answer['same']} "
        print(f"  {len(answer['tokens'])} tokens, {first}the same as float32 says in the clear")
        print(
            f"  first token after {answer['first_seconds']:.1f} s, then {1 / answer['seconds_a_token']:.2f} tokens a"
            f" second; each {answer['rounds_a_token']:.0f} rounds,"
            f" {megabytes(answer['online_bytes_a_token'])} sent by a party,"
            f" {megabytes(answer['offline_bytes_a_token'])} prepared for both"
        )
    print("all on this machine, over TLS: three roles of one owner protect nothing")
