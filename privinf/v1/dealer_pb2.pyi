from privinf.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateRequest(_message.Message):
    __slots__ = ("identity", "shape", "order")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    identity: _common_pb2.Identity
    shape: _common_pb2.QueryShape
    order: bytes
    def __init__(self, identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., shape: _Optional[_Union[_common_pb2.QueryShape, _Mapping]] = ..., order: _Optional[bytes] = ...) -> None: ...

class CreateReply(_message.Message):
    __slots__ = ("preparation_id", "identity", "bytes0", "bytes1", "places")
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    BYTES0_FIELD_NUMBER: _ClassVar[int]
    BYTES1_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    preparation_id: bytes
    identity: _common_pb2.Identity
    bytes0: int
    bytes1: int
    places: int
    def __init__(self, preparation_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., bytes0: _Optional[int] = ..., bytes1: _Optional[int] = ..., places: _Optional[int] = ...) -> None: ...

class DropRequest(_message.Message):
    __slots__ = ("preparation_id", "order")
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    preparation_id: bytes
    order: bytes
    def __init__(self, preparation_id: _Optional[bytes] = ..., order: _Optional[bytes] = ...) -> None: ...

class DropReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("preparation_id", "identity")
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    preparation_id: bytes
    identity: _common_pb2.Identity
    def __init__(self, preparation_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ...) -> None: ...

class PassesOpen(_message.Message):
    __slots__ = ("identity", "begin", "preparation_id")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    identity: _common_pb2.Identity
    begin: _common_pb2.SessionShape
    preparation_id: bytes
    def __init__(self, identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., begin: _Optional[_Union[_common_pb2.SessionShape, _Mapping]] = ..., preparation_id: _Optional[bytes] = ...) -> None: ...

class PassesRequest(_message.Message):
    __slots__ = ("open", "order")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    open: PassesOpen
    order: _common_pb2.Order
    def __init__(self, open: _Optional[_Union[PassesOpen, _Mapping]] = ..., order: _Optional[_Union[_common_pb2.Order, _Mapping]] = ...) -> None: ...

class PassesBegun(_message.Message):
    __slots__ = ("preparation_id", "identity", "places")
    PREPARATION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    preparation_id: bytes
    identity: _common_pb2.Identity
    places: int
    def __init__(self, preparation_id: _Optional[bytes] = ..., identity: _Optional[_Union[_common_pb2.Identity, _Mapping]] = ..., places: _Optional[int] = ...) -> None: ...
