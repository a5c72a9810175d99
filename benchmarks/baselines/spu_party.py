"""One party of the SPU baseline: reads its shares from a folder, runs the program, writes a report."""

import argparse
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import spu  # type: ignore[import-not-found]
from processes import end_with_driver
from workloads import peak_bytes

LINK_TIMEOUT_MS = 120_000  # one wait for a peer; a layer takes about a tenth of it on two cores over loopback
LENGTH = struct.Struct(">Q")
Share = Any  # spu.libspu.Share: `meta` is a serialised ValueMeta, `share_chunks` are serialised ValueChunks


def write_shares(path: Path, shares: list[tuple[str, Share]]) -> None:
    """Writes named shares as length-prefixed parts: name, number of chunks, meta, then the chunks."""
    with path.open("wb") as file:
        for name, share in shares:
            count = LENGTH.pack(len(share.share_chunks))
            for part in (name.encode(), count, share.meta, *share.share_chunks):
                file.write(LENGTH.pack(len(part)))
                file.write(part)


def read_shares(path: Path) -> Iterator[tuple[str, Share]]:
    """Reads what `write_shares` wrote."""
    with path.open("rb") as file:
        while (name := _read_part(file)) is not None:
            (count,) = LENGTH.unpack(_need_part(file))
            share = spu.libspu.Share()
            share.meta = _need_part(file)
            share.share_chunks = [_need_part(file) for _ in range(count)]
            yield name.decode(), share


def _read_part(file: BinaryIO) -> bytes | None:
    head = file.read(LENGTH.size)
    if not head:
        return None
    (length,) = LENGTH.unpack(head)
    part = file.read(length)
    if len(part) != length:
        raise EOFError("share file ends inside a part")
    return part


def _need_part(file: BinaryIO) -> bytes:
    part = _read_part(file)
    if part is None:
        raise EOFError("share file ends inside a share")
    return part


def connect(rank: int, addresses: list[str]) -> Any:
    """Connects to every other party over SPU's own sockets, at the addresses that this party knows them by."""
    desc = spu.libspu.link.Desc()
    desc.recv_timeout_ms = LINK_TIMEOUT_MS
    desc.http_timeout_ms = LINK_TIMEOUT_MS
    for peer, address in enumerate(addresses):
        desc.add_party(f"party{peer}", address)
    return spu.libspu.link.create_brpc(desc, rank)


def run_program(
    folder: Path, rank: int, addresses: list[str], repeat: int, before: int
) -> list[tuple[float, float]]:
    """Runs with SPU's profile on, to warm up and log traffic, then times wall and CPU seconds."""
    program = spu.libspu.Executable()
    program.ParseFromString((folder / "program").read_bytes())
    shares = list(read_shares(folder / f"inputs{rank}"))
    link = connect(rank, addresses)

    profiled = _runtime(folder, link, shares, profile=True)
    for _ in range(before + 1):
        profiled.run(program)
    del profiled
    runtime = _runtime(folder, link, shares, profile=False)
    for _ in range(before):
        runtime.run(program)
    times = [_timed_run(link, runtime, program) for _ in range(repeat)]

    outputs = [(name, runtime.get_var(name)) for name in program.output_names]
    write_shares(folder / f"outputs{rank}", outputs)
    link.barrier()
    link.stop_link()
    return times


def _runtime(folder: Path, link: Any, shares: list[tuple[str, Share]], profile: bool) -> Any:
    config = spu.libspu.RuntimeConfig()
    config.ParseFromString((folder / "config").read_bytes())
    config.enable_pphlo_profile = profile
    runtime = spu.Runtime(link, config)
    for name, share in shares:
        runtime.set_var(name, share)
    return runtime


def _timed_run(link: Any, runtime: Any, program: Any) -> tuple[float, float]:
    link.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    runtime.run(program)
    link.barrier()  # a program is done when the slowest party is
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Entry point of a party process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--addresses", nargs="+", required=True, help="of all parties; listens at its own")
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--before", type=int, default=0, help="runs of a runtime that are not timed")
    args = parser.parse_args()
    end_with_driver()
    times = run_program(args.folder, args.rank, args.addresses, args.repeat, args.before)
    report = {"times": times, "peak_bytes": peak_bytes()}
    (args.folder / f"report{args.rank}").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
