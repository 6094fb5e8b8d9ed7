"""Whether what one type holds can be handed over as another: the result of a task as the argument of a command.

It is judged before there is a value, so it says no only where no value of the one is one of the other. What a value
comes to is the codec's to say.
"""

from msgspec import inspect

_TEXT, _NUMBER, _TRUTH, _NULL, _ARRAY, _OBJECT = "text", "number", "truth", "null", "array", "object"
_FORMS: dict[type[inspect.Type], tuple[str, ...]] = {
    inspect.StrType: (_TEXT,), inspect.BytesType: (_TEXT,), inspect.ByteArrayType: (_TEXT,),
    inspect.MemoryViewType: (_TEXT,), inspect.DateTimeType: (_TEXT,), inspect.DateType: (_TEXT,),
    inspect.TimeType: (_TEXT,), inspect.UUIDType: (_TEXT,), inspect.TimeDeltaType: (_TEXT, _NUMBER),
    inspect.DecimalType: (_TEXT, _NUMBER), inspect.IntType: (_NUMBER,), inspect.FloatType: (_NUMBER,),
    inspect.BoolType: (_TRUTH,), inspect.NoneType: (_NULL,), inspect.ListType: (_ARRAY,),
    inspect.SetType: (_ARRAY,), inspect.FrozenSetType: (_ARRAY,), inspect.VarTupleType: (_ARRAY,),
    inspect.TupleType: (_ARRAY,), inspect.NamedTupleType: (_ARRAY,), inspect.DictType: (_OBJECT,),
    inspect.TypedDictType: (_OBJECT,), inspect.DataclassType: (_OBJECT,), inspect.StructType: (_OBJECT, _ARRAY),
}  # fmt: skip
"""What JSON a type has; of a type that is not here nothing is known."""
_FORM_OF_VALUE: dict[type, str] = {str: _TEXT, int: _NUMBER, bool: _TRUTH, type(None): _NULL}
_WITH_CLASS = (inspect.DataclassType, inspect.StructType)


def can_fit(given: inspect.Type, declared: inspect.Type) -> bool:
    """Whether some value of the type `given` can be handed over where `declared` is declared."""
    return any(_can_be(one, other) for one in _members(given) for other in _members(declared))


def _members(info: inspect.Type) -> list[inspect.Type]:
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    if isinstance(info, inspect.UnionType):
        return [member for one in info.types for member in _members(one)]
    return [info]


def _can_be(given: inspect.Type, declared: inspect.Type) -> bool:
    forms, other_forms = _forms(given), _forms(declared)
    if not forms or not other_forms:
        return True
    if isinstance(given, _WITH_CLASS):  # it is never taken for a dict, nor for an object of another class
        return isinstance(declared, _WITH_CLASS) and given.cls == declared.cls
    return not forms.isdisjoint(other_forms)


def _forms(info: inspect.Type) -> set[str]:
    """What JSON the values of a type are; empty where that is not known."""
    if isinstance(info, inspect.LiteralType):
        return {_FORM_OF_VALUE.get(type(one), _TEXT) for one in info.values}
    if isinstance(info, inspect.EnumType):
        forms = [_FORM_OF_VALUE.get(type(one.value)) for one in info.cls]
        return {one for one in forms if one is not None} if all(forms) else set()
    return set(_FORMS.get(type(info), ()))
