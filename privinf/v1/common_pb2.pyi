from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Identity(_message.Message):
    __slots__ = ("version", "model_id", "plan_hash", "role", "protocol")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    version: str
    model_id: str
    plan_hash: str
    role: str
    protocol: str
    def __init__(self, version: _Optional[str] = ..., model_id: _Optional[str] = ..., plan_hash: _Optional[str] = ..., role: _Optional[str] = ..., protocol: _Optional[str] = ...) -> None: ...

class QueryShape(_message.Message):
    __slots__ = ("task", "batch", "tokens")
    TASK_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    task: str
    batch: int
    tokens: int
    def __init__(self, task: _Optional[str] = ..., batch: _Optional[int] = ..., tokens: _Optional[int] = ...) -> None: ...

class SessionShape(_message.Message):
    __slots__ = ("task", "prompt", "rows", "batch")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    task: str
    prompt: int
    rows: int
    batch: int
    def __init__(self, task: _Optional[str] = ..., prompt: _Optional[int] = ..., rows: _Optional[int] = ..., batch: _Optional[int] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("index", "retired")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    index: int
    retired: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., retired: _Optional[_Iterable[int]] = ...) -> None: ...

class AttestRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttestReply(_message.Message):
    __slots__ = ("identity", "role")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    role: str
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., role: _Optional[str] = ...) -> None: ...

class Raw(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Part(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
