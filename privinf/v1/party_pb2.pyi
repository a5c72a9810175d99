from privinf.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InferOpen(_message.Message):
    __slots__ = ("session_id", "identity", "shape")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    identity: _common_pb2.Identity
    shape: _common_pb2.QueryShape
    def __init__(self, session_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., shape: _Optional[_Union[_common_pb2.QueryShape, _Mapping]] = ...) -> None: ...

class InferRequest(_message.Message):
    __slots__ = ("open", "chunk")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    open: InferOpen
    chunk: bytes
    def __init__(self, open: _Optional[_Union[InferOpen, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class InferReply(_message.Message):
    __slots__ = ("admitted", "result", "stats")
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    admitted: bool
    result: bytes
    stats: Stats
    def __init__(self, admitted: _Optional[bool] = ..., result: _Optional[bytes] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class GenerateOpen(_message.Message):
    __slots__ = ("session_id", "identity", "shape")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    identity: _common_pb2.Identity
    shape: _common_pb2.SessionShape
    def __init__(self, session_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., shape: _Optional[_Union[_common_pb2.SessionShape, _Mapping]] = ...) -> None: ...

class PassOpen(_message.Message):
    __slots__ = ("index", "kept", "after")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    index: int
    kept: _containers.RepeatedScalarFieldContainer[int]
    after: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., kept: _Optional[_Iterable[int]] = ..., after: _Optional[_Iterable[int]] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("open", "step", "chunk")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    open: GenerateOpen
    step: PassOpen
    chunk: bytes
    def __init__(self, open: _Optional[_Union[GenerateOpen, _Mapping]] = ..., step: _Optional[_Union[PassOpen, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class GenerateReply(_message.Message):
    __slots__ = ("admitted", "index", "result", "stats")
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    admitted: bool
    index: int
    result: bytes
    stats: Stats
    def __init__(self, admitted: _Optional[bool] = ..., index: _Optional[int] = ..., result: _Optional[bytes] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("rounds", "online_seconds", "offline_seconds", "prepare_seconds", "online_bytes", "wire_bytes", "preparation_bytes")
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREPARE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WIRE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    rounds: int
    online_seconds: float
    offline_seconds: float
    prepare_seconds: float
    online_bytes: int
    wire_bytes: int
    preparation_bytes: int
    def __init__(self, rounds: _Optional[int] = ..., online_seconds: _Optional[float] = ..., offline_seconds: _Optional[float] = ..., prepare_seconds: _Optional[float] = ..., online_bytes: _Optional[int] = ..., wire_bytes: _Optional[int] = ..., preparation_bytes: _Optional[int] = ...) -> None: ...

class PrefetchRequest(_message.Message):
    __slots__ = ("preparation_id", "identity", "shape", "epoch")
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    preparation_id: bytes
    identity: _common_pb2.Identity
    shape: _common_pb2.QueryShape
    epoch: bytes
    def __init__(self, preparation_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., shape: _Optional[_Union[_common_pb2.QueryShape, _Mapping]] = ..., epoch: _Optional[bytes] = ...) -> None: ...

class PrefetchReply(_message.Message):
    __slots__ = ("prepare_seconds",)
    PREPARE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    prepare_seconds: float
    def __init__(self, prepare_seconds: _Optional[float] = ...) -> None: ...

class ReconcileRequest(_message.Message):
    __slots__ = ("epoch", "held", "gone")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    epoch: bytes
    held: _containers.RepeatedScalarFieldContainer[bytes]
    gone: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, epoch: _Optional[bytes] = ..., held: _Optional[_Iterable[bytes]] = ..., gone: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReconcileReply(_message.Message):
    __slots__ = ("held",)
    HELD_FIELD_NUMBER: _ClassVar[int]
    held: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, held: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("identity", "shape", "generation", "passes_ahead")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PASSES_AHEAD_FIELD_NUMBER: _ClassVar[int]
    identity: _common_pb2.Identity
    shape: _common_pb2.QueryShape
    generation: _common_pb2.SessionShape
    passes_ahead: int
    def __init__(self, identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., shape: _Optional[_Union[_common_pb2.QueryShape, _Mapping]] = ..., generation: _Optional[_Union[_common_pb2.SessionShape, _Mapping]] = ..., passes_ahead: _Optional[int] = ...) -> None: ...

class Pass(_message.Message):
    __slots__ = ("index", "kept", "retired", "after")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    index: int
    kept: _containers.RepeatedScalarFieldContainer[int]
    retired: _containers.RepeatedScalarFieldContainer[int]
    after: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., kept: _Optional[_Iterable[int]] = ..., retired: _Optional[_Iterable[int]] = ..., after: _Optional[_Iterable[int]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ready(_message.Message):
    __slots__ = ("shape", "count")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    shape: _common_pb2.QueryShape
    count: int
    def __init__(self, shape: _Optional[_Union[_common_pb2.QueryShape, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("ready", "sessions", "max_sessions", "store_bytes", "max_store_bytes", "waiting", "max_waiting", "max_batch")
    READY_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    MAX_WAITING_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    ready: _containers.RepeatedCompositeFieldContainer[Ready]
    sessions: int
    max_sessions: int
    store_bytes: int
    max_store_bytes: int
    waiting: int
    max_waiting: int
    max_batch: int
    def __init__(self, ready: _Optional[_Iterable[_Union[Ready, _Mapping]]] = ..., sessions: _Optional[int] = ..., max_sessions: _Optional[int] = ..., store_bytes: _Optional[int] = ..., max_store_bytes: _Optional[int] = ..., waiting: _Optional[int] = ..., max_waiting: _Optional[int] = ..., max_batch: _Optional[int] = ...) -> None: ...
