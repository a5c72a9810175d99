from privinf.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CoveredAboutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CoveredAbout(_message.Message):
    __slots__ = ("id", "level", "family", "task", "width", "vocab", "context", "max_rows")
    ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    VOCAB_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    id: str
    level: str
    family: str
    task: str
    width: int
    vocab: int
    context: int
    max_rows: int
    def __init__(self, id: _Optional[str] = ..., level: _Optional[str] = ..., family: _Optional[str] = ..., task: _Optional[str] = ..., width: _Optional[int] = ..., vocab: _Optional[int] = ..., context: _Optional[int] = ..., max_rows: _Optional[int] = ...) -> None: ...

class CoveredIds(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class CoveredRows(_message.Message):
    __slots__ = ("shape", "values")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ...) -> None: ...

class CoveredQuery(_message.Message):
    __slots__ = ("id", "texts", "pooling", "images")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    id: str
    texts: _containers.RepeatedCompositeFieldContainer[CoveredIds]
    pooling: str
    images: CoveredRows
    def __init__(self, id: _Optional[str] = ..., texts: _Optional[_Iterable[_Union[CoveredIds, _Mapping]]] = ..., pooling: _Optional[str] = ..., images: _Optional[_Union[CoveredRows, _Mapping]] = ...) -> None: ...

class CoveredPrompt(_message.Message):
    __slots__ = ("id", "ids", "max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed")
    ID_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    id: str
    ids: _containers.RepeatedScalarFieldContainer[int]
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    def __init__(self, id: _Optional[str] = ..., ids: _Optional[_Iterable[int]] = ..., max_new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class CoveredTokens(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class CoveredOpen(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CoveredStep(_message.Message):
    __slots__ = ("open", "rows", "lengths", "pooling")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    open: CoveredOpen
    rows: CoveredRows
    lengths: _containers.RepeatedScalarFieldContainer[int]
    pooling: str
    def __init__(self, open: _Optional[_Union[CoveredOpen, _Mapping]] = ..., rows: _Optional[_Union[CoveredRows, _Mapping]] = ..., lengths: _Optional[_Iterable[int]] = ..., pooling: _Optional[str] = ...) -> None: ...
