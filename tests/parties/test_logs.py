"""Logs: one JSON object a line whatever is printed, by whom, and however often."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Processes, ask, wait_until

from privinf.errors import PartyError
from privinf.parties import logs
from privinf.parties.logs import Log
from privinf.parties.quota import Allowance, Quota
from privinf.parties.rpc.handshake import reason
from privinf.parties.stderr import note, own_stderr
from privinf.parties.writer import Writer

CORE = "I1130 11:01:30.508592   13152 ssl_transport_security.cc:2563] Handshake failed with error {}"
SECRET = "a secret value"


def _lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_lines_of_a_kind_are_bounded_and_those_left_out_are_counted() -> None:
    now = [0.0]
    quota, few = Quota(lambda: now[0]), Allowance(3, 0.5)
    assert [quota.take("a", few) for _ in range(5)] == [0, 0, 0, None, None]
    assert quota.take("b", few) == 0  # another kind has its own
    assert quota.rested() == []
    now[0] = 2.0
    assert quota.take("a", few) == 2
    assert quota.take("a", few) is None
    now[0] = 100.0
    assert quota.rested() == [("a", 1)]
    assert quota.rested(every=True) == []


def test_kinds_are_bounded_too() -> None:
    quota = Quota(lambda: 0.0)
    taken = [quota.take(str(number), Allowance(1, 1.0)) for number in range(1000)]
    assert taken.count(0) == 257
    assert quota.rested(every=True) == [("other", 743)]


def test_a_flood_ends_in_a_count(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("party0")
    for _ in range(500):
        log.failure("Infer", PartyError("no"))
    log.info("answered", rounds=1)
    log.close()
    lines = _lines(capfd)
    refused = [line for line in lines if line["event"] == "refused"]
    left_out = [line for line in lines if line["event"] == "left out"]
    assert logs.TROUBLE.burst <= len(refused) < 2 * logs.TROUBLE.burst
    assert len(refused) + sum(line["left_out"] for line in left_out + refused if "left_out" in line) == 500
    assert [line for line in lines if line["event"] == "answered"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 'a"\n{', "x" * 100_000])
def test_every_value_makes_valid_json(capfd: pytest.CaptureFixture[str], value: Any) -> None:
    Log("party0").info("event", error=value)
    (line,) = capfd.readouterr().err.splitlines()
    assert len(line) < 2000

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(line, parse_constant=refuse).get("error").encode("utf-8")


def test_what_cannot_be_written_stops_nobody_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, room, write = tmp_path / "log", [10], os.write

    def full(descriptor: int, data: bytes) -> int:
        count = min(room[0], len(data))
        if not count:
            raise OSError(28, "No space left on device")
        room[0] -= count
        return write(descriptor, data[:count])

    writer = Writer()
    with path.open("wb") as file:
        writer.redirect(file.fileno())
        monkeypatch.setattr(os, "write", full)
        for number in range(3):
            writer.line(json.dumps({"number": number}))
        room[0] = 1 << 20
        writer.line(json.dumps({"number": 3}))
    lines = path.read_text().splitlines()
    assert len(lines[0]) == 10  # torn by the full disk, and by nothing else
    assert [json.loads(line) for line in lines[1:]] == [
        {"event": "left out", "kind": "not writable", "left_out": 3},
        {"number": 3},
    ]


def test_a_reader_that_stands_still_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privinf.parties.writer._PATIENCE", 1)
    writer, (reader, end) = Writer(), os.pipe()
    writer.redirect(end)
    line = json.dumps({"text": "x" * 1000})
    for _ in range(1000):  # a pipe holds 64 KiB
        writer.line(line)
    held = os.read(reader, 1 << 20).decode().splitlines()
    assert held == [line] * len(held)
    writer.line(line)
    counted, last = os.read(reader, 1 << 20).decode().splitlines()
    assert (json.loads(counted)["left_out"], last) == (1000 - len(held), line)
    os.close(reader)
    os.close(end)


def test_a_long_line_waits_for_no_reader_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that has room for a page is not written more than that: the rest would wait for its reader."""
    monkeypatch.setattr("privinf.parties.writer._PATIENCE", 1)
    writer, (reader, end) = Writer(), os.pipe()
    writer.redirect(end)
    os.set_blocking(reader, False)
    line = "x" * 20_000
    thread = threading.Thread(target=lambda: [writer.line(line) for _ in range(10)], daemon=True)
    thread.start()
    thread.join(30)
    stalled = thread.is_alive()
    held = os.read(reader, 1 << 20).decode().splitlines()
    assert not stalled
    assert held[:3] == [line] * 3
    writer.line("last")
    counted, last = os.read(reader, 1 << 20).decode().split("\n")[1:3]  # the torn line ends here
    assert (json.loads(counted)["left_out"], last) == (7, "last")
    os.close(reader)
    os.close(end)


@contextmanager
def _owned() -> Iterator[None]:
    with own_stderr("party0"):
        yield


def test_everything_that_is_printed_becomes_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    with _owned(), own_stderr("within"):
        os.write(2, f"{CORE.format('CERTIFICATE_VERIFY_FAILED: certificate has expired')}\n".encode())
        os.write(2, b"E1130 11:01:30.5 1 add_port.cc:83] Failed to add port\n\xff\xfe half\n")
        print("WARNING: plain", file=sys.stderr)
        logging.getLogger("grpc._server").error("Exception calling application: %s", SECRET)
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        Log("party0").info("answered", rounds=2)
        os.write(2, b"no newline at the end")
    output = capfd.readouterr().err
    lines = [json.loads(line) for line in output.splitlines()]
    found = {line["event"]: line for line in lines}
    assert SECRET not in output
    assert found["handshake"]["kind"] == "expired"
    assert (found["grpc"]["error"], found["grpc"]["level"]) == ("Failed to add port", "error")
    assert found["library"]["kind"] == "grpc._server"
    assert (found["failed"]["kind"], found["failed"]["method"]) == ("ValueError", "thread")
    assert found["answered"]["rounds"] == 2
    assert [line["error"] for line in lines if line["event"] == "printed"] == [
        "\ufffd\ufffd half",
        "WARNING: plain",
        "no newline at the end",
    ]
    print("stderr is back", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "stderr is back\n"


def test_a_line_without_end_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    with _owned():
        os.write(2, b"x" * 100_000 + b"\n")
    lines = _lines(capfd)
    assert 1 <= len(lines) < 30
    assert all(len(line["error"]) <= 503 for line in lines)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired",
            "expired",
        ),
        ("ECDSA routines:OPENSSL_internal:BAD_SIGNATURE: certificate signature failure", "authority"),
        ("CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", "authority"),
        ("OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE", "none"),
        ("OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context", "plain"),
        ("No match found for server name: party1", "role"),
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE)", "failed"),
    ],
)
def test_a_failed_handshake_says_who_can_mend_it(text: str, kind: str) -> None:
    why = reason(text)
    assert why is not None
    assert why.kind == kind


def test_what_is_no_handshake_is_not_taken_for_one() -> None:
    assert reason("Failed to connect to remote host: Connection refused") is None
    assert reason("Socket closed") is None


def test_lines_of_grpc_keep_their_level(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("party0")
    for letter in "IWEF":
        note(log, f"{letter}1130 11:01:30.508592 13152 chttp2.cc:5] text of {letter}")
    note(log, "   ")
    assert [line["level"] for line in _lines(capfd)] == ["info", "warning", "error", "error"]


def _knock(port: int, keys: Path, kind: str) -> None:
    """What anybody can do who reaches the port."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        if kind == "plain":
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            raw.recv(1)
            return
        context = ssl.create_default_context(cafile=keys / "ca.pem")
        context.set_alpn_protocols(["h2"])
        try:
            with context.wrap_socket(raw, server_hostname="party1") as wrapped:
                wrapped.recv(1)
        except OSError:
            pass


@pytest.mark.processes
def test_callers_without_a_certificate_neither_break_nor_grow_a_log(tmp_path: Path, keys: Path) -> None:
    with Processes(tmp_path, keys) as running:
        port = running.nodes["party1"].port
        for number in range(150):
            _knock(port, keys, "plain" if number % 2 else "bare")
        with running.link() as link:
            ask(link)
        assert running.nodes["party1"].stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "party1.log").read_text().splitlines()]
    handshakes = [line for line in lines if line["event"] == "handshake"]
    counted = sum(line.get("left_out", 0) for line in lines)
    assert {line["role"] for line in lines} == {"party1"}
    assert {line["kind"] for line in handshakes} == {"plain", "none"}
    assert len(handshakes) <= 2 * logs.STRANGERS.burst + 10
    assert len(handshakes) + counted == 150
    assert [line["event"] for line in lines].count("answered") == 1


@pytest.mark.processes
def test_a_server_that_ends_before_it_serves_says_why_in_its_log(tmp_path: Path) -> None:
    """From the first line to the last, also of what a command says to people elsewhere."""
    command = [sys.executable, "-P", "-m", "privinf", "dealer", "--model", str(tmp_path), "--insecure-no-tls"]
    for words, status, kind in (
        (["--listen", "127.0.0.1"], 78, "ConfigError"),
        (["--listen", "127.0.0.1:0"], 78, "ModelError"),
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert (done.returncode, lines[-1]["event"], lines[-1]["kind"]) == (status, "ended", kind)
        assert done.stdout == ""


def test_no_line_is_lost_between_threads(capfd: pytest.CaptureFixture[str]) -> None:
    with _owned():
        log = Log("party0")
        threads = [
            threading.Thread(target=lambda: [log.info("answered") for _ in range(50)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(_lines(capfd)) == 400
    wait_until(lambda: threading.active_count() < 50)
