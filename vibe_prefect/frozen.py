"""Frozen dataclasses that take a tenth of the time to make.

`dataclass(frozen=True)` writes six methods as source and compiles them, 0.7 ms for each class, and a command imports
some hundred classes before it does anything. Of a class that is made here, all methods but `__init__` are the same
functions as of any other, and `__init__` is compiled when somebody first looks at it, mostly to make an instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, cast, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T], /) -> type[T]: ...


@overload
def frozen(*, slots: bool = False) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T] | None = None, /, *, slots: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass, as `dataclass(frozen=True)` does. `InitVar` is not supported.

    Args:
        cls: The class, when used without parentheses.
        slots: Whether its instances have slots in the place of a `__dict__`.
    """

    def make(plain: type[T]) -> type[T]:
        if any(hasattr(base, "__dataclass_fields__") for base in plain.__bases__):
            return dataclass(frozen=True, slots=slots)(plain)
        return _made(plain, slots)

    return make if cls is None else make(cls)


def _made(plain: type[T], slots: bool) -> type[T]:
    own = frozenset(name for name, value in vars(plain).items() if value is not None)
    plain.__doc__ = plain.__doc__ or plain.__name__  # else `dataclass` describes the arguments of `__init__` there
    cls: Any = dataclass(init=False, repr=False, eq=False, slots=slots)(plain)
    params = cls.__dataclass_params__
    params.init = params.repr = params.eq = params.frozen = True
    of_class = fields(cls)
    shown = tuple(one.name for one in of_class if one.repr)
    compared = _reader(one.name for one in of_class if one.compare)
    hashed = _reader(one.name for one in of_class if (one.compare if one.hash is None else one.hash))
    methods: dict[str, Any] = {
        "__repr__": _repr_of(shown),
        "__eq__": _eq_of(compared),
        "__hash__": _hash_of(hashed),
        "__init__": _FirstInit(cls),
    }
    methods |= {"__getstate__": _state, "__setstate__": _restore} if slots else {}
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    _forbid_changes(cls, frozenset(one.name for one in of_class))
    return cls


def _reader(names: Iterable[str]) -> Callable[[Any], Any]:
    """Return a function that reads the fields of these names from an instance, as a tuple."""
    match tuple(names):
        case ():
            return lambda _instance: ()
        case (name,):
            one = attrgetter(name)
            return lambda instance: (one(instance),)
        case several:
            return attrgetter(*several)


def _repr_of(names: tuple[str, ...]) -> Callable[[Any], str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807 - it becomes that method
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _eq_of(read: Callable[[Any], Any]) -> Callable[[Any, object], bool]:
    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        return read(self) == read(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash_of(read: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(read(self))

    return __hash__


def _forbid_changes(cls: Any, names: frozenset[str]) -> None:
    """Let nobody set or delete a field; a subclass that is no dataclass may have further attributes."""

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        cast("Any", super(cls, self)).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        cast("Any", super(cls, self)).__delattr__(name)

    cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


class _FirstInit:
    """Stands for the `__init__` of a class until somebody looks at it, and then puts the real one in its place."""

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        init = _compiled_init(self._cls)
        cast("Any", self._cls).__init__ = init
        return init.__get__(instance, owner)


def _compiled_init(cls: Any) -> Any:
    of_class = fields(cls)
    by_name = [one for one in of_class if one.init and one.kw_only]
    arguments = [_argument(one) for one in of_class if one.init and not one.kw_only]
    arguments += ["*"] * bool(by_name) + list(map(_argument, by_name))
    lines = [f"_set(self, {one.name!r}, {_value(one)})" for one in of_class if one.init or _has_default(one)]
    lines += ["self.__post_init__()"] * hasattr(cls, "__post_init__")
    source = f"def __init__({', '.join(['self', *arguments])}):\n  " + "\n  ".join(lines or ["pass"])
    names: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    for one in of_class:
        names |= {f"_default_{one.name}": one.default, f"_make_{one.name}": one.default_factory}
    exec(source, names)  # noqa: S102 - as `dataclass` does; all of it are names of fields
    init = names["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {one.name: one.type for one in of_class if one.init} | {"return": None}
    return init


def _has_default(one: Field[Any]) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def _argument(one: Field[Any]) -> str:
    """Return the source of a field's argument; where its default is made anew, one that is left out is `_MISSING`."""
    if one.default is not MISSING:
        return f"{one.name}=_default_{one.name}"
    return one.name if one.default_factory is MISSING else f"{one.name}=_MISSING"


def _value(one: Field[Any]) -> str:
    """Return the source of a field's value."""
    made = f"_make_{one.name}()"
    if one.default_factory is MISSING:
        return one.name if one.init else f"_default_{one.name}"
    return f"{made} if {one.name} is _MISSING else {one.name}" if one.init else made
