"""A generation at the dealer, the stream of it that a party reads, and what feeds a party's passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
from dummy import TASK, DummyDealer, DummyGeneration, DummyParty, DummyPrepared, Settings

from privinf.config import DealerConfig
from privinf.errors import (
    DamagedPreparation,
    DeadlineExceeded,
    InputError,
    MismatchError,
    Overloaded,
    PartyError,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.dealing.passes import Dealing, Dealings
from privinf.parties.dealing.pipes import Pipe
from privinf.parties.logs import Log
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import order_message, read_order
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.parts import parse
from privinf.parties.session.feeder import Feeder
from privinf.parties.stock.dealt import DealtStream
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import Buffer, Order, SessionShape
from privinf.v1 import common_pb2

SHAPE = SessionShape(TASK, 3, 2)
CONFIG = DealerConfig(insecure_no_tls=True, max_sessions=2, queue_chunks=2, stall_seconds=20)
SEED = bytes(32)


def dealings(settings: Settings, config: DealerConfig = CONFIG) -> tuple[Dealings, list[BaseException]]:
    """Return a dealer's generations and the failures that it reports."""
    reported: list[BaseException] = []
    return Dealings(DummyDealer(settings), config, reported.append), reported


def ordered(dealing: Dealing, *orders: Order) -> tuple[Iterator[bytes], Iterator[bytes]]:
    """Begin to deal, and return what either party is sent."""
    dealing.start(iter(orders))
    return iter(dealing.take(0)), iter(dealing.take(1))


def drained(messages: Iterator[bytes]) -> tuple[SimpleQueue[bytes | PrivinfError], threading.Thread]:
    """Take all as it comes, as gRPC does."""
    taken: SimpleQueue[bytes | PrivinfError] = SimpleQueue()

    def take() -> None:
        try:
            for message in messages:
                taken.put(message)
        except PrivinfError as error:
            taken.put(error)

    reader = threading.Thread(target=take)
    reader.start()
    return taken, reader


def passed(taken: SimpleQueue[bytes | PrivinfError]) -> list[bytes]:
    """Return the messages of one pass."""
    messages: list[bytes] = []
    while len(messages) < 4 or messages[-2]:
        message = taken.get(timeout=10)
        assert isinstance(message, bytes)
        messages.append(message)
    assert messages.pop() == digested(messages[1], *messages[2:])
    return messages


def digested(seed: bytes, *messages: bytes) -> bytes:
    """Return the digest that ends a pass."""
    tally = Tally(seed)
    for message in messages:
        tally.update(message)
    return tally.digest()


def test_both_parties_are_dealt_each_pass_once() -> None:
    settings = Settings(rounds=2, round_bytes=CHUNK, extra=CHUNK + 7)
    made, reported = dealings(settings)
    streams = [drained(messages) for messages in ordered(made.begin(SHAPE), Order(0), Order(1, (0, 3)))]
    seeds: set[bytes] = set()
    for order in (Order(0), Order(1, (0, 3))):
        first, second = (passed(taken) for taken, _ in streams)
        assert [read_order(parse(common_pb2.Order, half[0])) for half in (first, second)] == [order, order]
        seeds |= {first[1], second[1]}
        assert b"".join(first[2:]) == b"".join(second[2:])
        assert [len(message) for message in first[2:]] == [CHUNK, CHUNK, CHUNK, 7, 0]
    assert {len(seed) for seed in seeds} == {32}
    assert len(seeds) == 4
    for taken, reader in streams:
        left = taken.get(timeout=10)
        assert isinstance(left, PeerLost)
        assert left.party == "party0"  # who orders no more: the dealer is not to blame
        reader.join()
    assert not reported


def test_a_wait_for_an_order_begins_when_all_is_taken_and_has_no_end() -> None:
    asked = [threading.Event(), threading.Event()]

    def orders() -> Iterator[Order]:
        for index, event in enumerate(asked):
            event.set()
            yield Order(index)

    made, _ = dealings(Settings())
    dealing = made.begin(SHAPE)
    dealing.start(orders())
    first, second = iter(dealing.take(0)), iter(dealing.take(1))
    for _ in range(5):
        next(first)
        next(second)
    assert not asked[1].is_set()  # the last message of the pass may still be on its way
    streams = [drained(messages) for messages in (first, second)]
    for taken, reader in streams:
        assert read_order(parse(common_pb2.Order, passed(taken)[0])) == Order(1)
        reader.join()
    assert asked[1].is_set()


def test_an_order_out_of_place_ends_the_generation() -> None:
    made, _ = dealings(Settings())
    for messages in ordered(made.begin(SHAPE), Order(1)):
        with pytest.raises(ProtocolError, match="where 0 is due"):
            list(messages)


@pytest.mark.parametrize("extra", [1000, 8 * CHUNK])
def test_a_party_that_stops_reading_ends_the_generation(extra: int) -> None:
    """Also where all of a pass would fit into the pipe."""
    made, _ = dealings(Settings(extra=extra), replace(CONFIG, stall_seconds=0.5))
    first, second = ordered(made.begin(SHAPE), Order(0))
    next(second)
    for messages in (first, second):
        with pytest.raises(DeadlineExceeded, match="does not fetch"):
            list(messages)


def test_a_program_that_fails_tells_the_parties_its_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Iterator[tuple[int, Buffer]]:
        yield 0, b"x"
        raise ValueError("a secret value")

    monkeypatch.setattr("dummy.DummyDealing.deal", failing)
    made, reported = dealings(Settings())
    for messages in ordered(made.begin(SHAPE), Order(0)):
        with pytest.raises(PartyError, match="ValueError") as failure:
            list(messages)
        assert "secret" not in str(failure.value)
    assert isinstance(reported[0], ValueError)


def test_generations_are_bounded_joined_once_and_forgotten() -> None:
    made, _ = dealings(Settings(), replace(CONFIG, come_seconds=0.2))
    dealing = made.begin(SHAPE)
    made.begin(SHAPE)
    with pytest.raises(Overloaded, match="already dealing to 2"):
        made.begin(SHAPE)
    with pytest.raises(InputError):
        made.begin(replace(SHAPE, task="other"))
    assert made.find(dealing.preparation_id) is dealing
    first, second = ordered(dealing, Order(0))
    for party in (0, 1):
        with pytest.raises(ProtocolError, match="already fetched"):
            dealing.take(party)
    assert made.forget(dealing, PeerLost("party1 left the generation"))
    assert not made.forget(dealing)
    for messages in (first, second):
        with pytest.raises(PeerLost):
            list(messages)
    with pytest.raises(ProtocolError, match="unknown"):
        made.find(dealing.preparation_id)
    made.close()
    assert made.count == 0


def test_a_pipe_is_settled_when_its_reader_comes_back() -> None:
    pipe = Pipe(10, stall_seconds=0.05)
    with pytest.raises(DeadlineExceeded):
        pipe.settle()  # nobody has come yet
    pipe.put(b"one")
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.extend(pipe))
    reader.start()
    pipe.settle()
    assert taken == [b"one"]
    pipe.end()
    reader.join()


def dealt(*messages: bytes) -> DealtStream:
    """Return a stream of one pass, its header and seed first."""
    header = order_message(Order(0)).SerializeToString()
    return DealtStream(iter([header, SEED, *messages, digested(SEED, *messages)]), Outgoing())


def test_a_pass_is_read_in_pieces_of_its_own_memory() -> None:
    whole = bytes(range(256)) * 16
    stream = dealt(b"abc", b"defgh", whole, b"ij", b"")
    assert stream.begin() == (Order(0), SEED)
    one, two = stream.read(2), stream.read(5)
    assert (bytes(one), bytes(two), bytes(stream.read(0))) == (b"ab", b"cdefg", b"")
    assert bytes(stream.read(1)) == b"h"
    three = stream.read(len(whole))
    assert three.obj is whole  # what is a message by itself is not copied
    assert bytes(stream.read(2)) == b"ij"
    stream.end()
    assert stream.nbytes == 10 + len(whole)
    assert all(view.readonly for view in (one, two, three))
    assert (bytes(one), bytes(two)) == (b"ab", b"cdefg")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([b"abcde", b""], "1 bytes of the preparation were not used"),
        ([b"abc", b"d", b"e", b""], "sent more than the pass takes"),
        ([b"abc", b""], "sent less"),
        ([b""], "sent less"),
    ],
)
def test_a_pass_has_exactly_what_is_read(messages: list[bytes], complaint: str) -> None:
    stream = dealt(*messages)
    stream.begin()
    with pytest.raises(ProtocolError, match=complaint):
        _read_four(stream)


def _read_four(stream: DealtStream) -> None:
    stream.read(3)
    stream.read(1)
    stream.end()


def test_a_stream_that_ends_early_is_a_lost_dealer() -> None:
    header = order_message(Order(0)).SerializeToString()
    stream = DealtStream(iter([header, SEED, b"abc"]), Outgoing())
    stream.begin()
    with pytest.raises(PeerLost) as failure:
        stream.read(4)
    assert failure.value.party == "dealer"


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([b"\xff\xff", SEED], "no Order"),
        ([order_message(Order(0, (3, 1))).SerializeToString(), SEED], "ascending"),
        ([order_message(Order(0, (3, 3))).SerializeToString(), SEED], "ascending"),
        ([b"", b"short"], "seed has 5 bytes"),
    ],
)
def test_a_pass_begins_with_its_order_and_a_seed(messages: list[bytes], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        DealtStream(iter(messages), Outgoing()).begin()


@pytest.mark.parametrize("first", [b"\xff\xff", b"", SEED])
def test_a_stream_begins_with_what_it_is(first: bytes) -> None:
    with pytest.raises(ProtocolError):
        DealtStream(iter([first]), Outgoing()).hear()


class Script:
    """A dealer's stream that is written as it goes."""

    def __init__(self, party: int, settings: Settings, ahead: int = 1) -> None:
        self.messages: SimpleQueue[bytes | None] = SimpleQueue()
        self.orders: Outgoing[Any] = Outgoing()
        self.life = Life(Deadline.after(20))
        self.session: DummyGeneration = DummyParty(party, settings).begin(SHAPE)
        stream = DealtStream(iter(self.messages.get, None), self.orders)
        self.feeder = Feeder(self.session, stream, self.life, party == 0, ahead, 1 << 30, Log("test"))
        self.feeder.start()

    def deal(self, order: Order) -> None:
        """Deal a pass of nothing but its order."""
        for message in (order_message(order).SerializeToString(), SEED, b"", digested(SEED)):
            self.messages.put(message)

    def finish(self) -> None:
        """End the thread."""
        self.life.end(PeerLost("over"))
        self.messages.put(None)
        self.feeder._thread.join(10)
        assert not self.feeder._thread.is_alive()


EMPTY = Settings(rounds=0, extra=0)


@pytest.mark.parametrize(
    ("party", "order", "kind"),
    [
        (0, Order(0, (1,)), MismatchError),
        (0, Order(1), ProtocolError),
        (1, Order(1), ProtocolError),
    ],
)
def test_a_dealer_that_relays_another_order_is_refused(
    party: int, order: Order, kind: type[PrivinfError]
) -> None:
    script = Script(party, EMPTY)
    script.deal(order)
    with pytest.raises(kind):
        script.feeder.take()
    script.finish()


@pytest.mark.parametrize("party", [0, 1])
def test_passes_are_handed_out_once_and_in_order(party: int) -> None:
    script = Script(party, EMPTY, ahead=2)
    for index in range(5):
        script.deal(Order(index, (0,) if index > 1 else ()))
    assert [script.feeder.take().order.index for _ in range(5)] == list(range(5))
    script.finish()


def test_a_pass_is_handed_out_while_it_comes_and_settled_once_it_is_whole() -> None:
    script = Script(0, EMPTY)
    script.messages.put(order_message(Order(0)).SerializeToString())
    script.messages.put(SEED)
    prepared = script.feeder.take()
    assert not prepared.whole
    script.messages.put(b"")
    script.messages.put(digested(SEED))
    script.feeder.settle(prepared)
    assert prepared.whole
    script.finish()


def test_a_pass_that_is_not_what_was_dealt_is_never_settled() -> None:
    script = Script(0, EMPTY)
    for message in (order_message(Order(0)).SerializeToString(), SEED, b"", bytes(32)):
        script.messages.put(message)
    with pytest.raises(DamagedPreparation):
        script.feeder.settle(script.feeder.take())
    script.finish()


def test_an_evaluation_that_waits_for_a_dealer_that_left_is_woken() -> None:
    script = Script(0, replace(EMPTY, extra=8))
    script.messages.put(order_message(Order(0)).SerializeToString())
    script.messages.put(SEED)
    prepared = script.feeder.take()
    script.messages.put(None)
    assert isinstance(prepared.content, DummyPrepared)
    with pytest.raises(PeerLost):
        prepared.content.whole()
    script.finish()


def test_a_generation_that_is_full_hands_out_what_is_ready() -> None:
    script = Script(0, replace(EMPTY, passes=2), ahead=4)
    for index in range(2):
        script.deal(Order(index))
    for _ in range(2):
        script.feeder.take()
    for _ in range(2):
        with pytest.raises(InputError, match="at most 2 passes"):
            script.feeder.take()
    script.finish()


def test_a_life_ends_once_and_for_its_first_reason() -> None:
    life = Life(Deadline.after(20))
    with pytest.raises(DeadlineExceeded, match="too late"):
        life.wait_in_time(lambda: False, "online", 0.01, "too late")
    assert life.wait(lambda: True)
    assert not life.wait(lambda: False, 0.01)
    life.end(PeerLost("first"))
    life.end(ProtocolError("second"))
    with pytest.raises(PeerLost, match="first"):
        life.wait(lambda: True)
    short = Life(Deadline.after(0.01))
    with pytest.raises(DeadlineExceeded, match=r"deadline passed \(offline\)"):
        short.wait_in_time(lambda: False, "offline")
