"""Registries of builders, resolvers and drivers, and the ones that are current.

A `with` block works on a copy of the current registry; each thread and each task has its own
current one, and begins with the default.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, cast

__all__ = ["BuilderContext", "DriverContext", "ResolverContext"]

Function = Callable[..., Any]


class _Registry:
    """Functions by key; a copy knows its parent."""

    def __init__(
        self, entries: Mapping[Any, Any] | None = None, parent: _Registry | None = None
    ) -> None:
        self._entries: dict[Any, Any] = dict(entries or {})
        self._parent = parent
        self.is_pristine = True
        """Only what is built in was registered."""

    @property
    def parent_context(self) -> Any:
        """The context that this one was copied from; itself for the default."""
        return self if self._parent is None else self._parent

    def extend(self, entries: Mapping[Any, Any] | None = None) -> Any:
        """Return a copy with more entries."""
        again = type(self)(self._entries, self)
        again._inherit(self)
        for key, value in (entries or {}).items():
            again.register(key, value)
        return again

    def _inherit(self, origin: Any) -> None:
        self.is_pristine = origin.is_pristine

    def register(self, key: Any, value: Any) -> None:
        """Add an entry, or replace one."""
        self.is_pristine = False
        self._entries[key] = value

    def __str__(self) -> str:
        return str(self._entries)


class BuilderContext(_Registry):
    """Which function makes an object of a value, by the value's type."""

    def __init__(
        self, entries: Mapping[Any, Any] | None = None, parent: _Registry | None = None
    ) -> None:
        super().__init__(entries, parent)
        self._lazy: dict[str, Function] = {}
        self._built_in: set[Any] = set()
        self._found: dict[type, Function | None] = {}

    def _inherit(self, origin: BuilderContext) -> None:
        super()._inherit(origin)
        self._lazy = dict(origin._lazy)
        self._built_in = set(origin._built_in)

    def register(self, key: type, value: Function) -> None:
        """Say how values of a type, and of its subclasses, are made objects.

        Args:
            key: The type.
            value: `f(client, value, **keywords)`; if it takes `builder`, it gets this context.
        """
        super().register(key, value)
        self._built_in.discard(value)
        self._found.clear()

    def register_built_in(self, key: type, value: Function) -> None:
        """Say it of what comes with vineyard."""
        self._entries.setdefault(key, value)
        self._built_in.add(value)
        self._found.clear()

    def register_lazy(self, module: str, register: Function) -> None:
        """Call `register(context)` when the first value of a type of this module comes."""
        self._lazy[module] = register

    def is_built_in(self, builder: Function | None) -> bool:
        """Tell whether a builder came with vineyard."""
        return builder in self._built_in

    def find(self, kind: type) -> Function | None:
        """Return the builder for values of a type; None if there is none."""
        try:
            return self._found[kind]
        except KeyError:
            pass
        for base in kind.__mro__:
            register = self._lazy.pop(base.__module__.partition(".")[0], None)
            if register is not None:
                register(_BuiltIn(self))
        found = next((self._entries[b] for b in kind.__mro__ if b in self._entries), None)
        self._found[kind] = found
        return found

    def plan(self, client: Any, value: Any, **keywords: Any) -> Any:
        """Return what is to be stored of a value: new metadata, or what is stored already.

        Raises:
            RuntimeError: Nobody said how.
        """
        from entrepot.vineyard._ids import ObjectID
        from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta

        if isinstance(value, (ObjectID, ObjectMeta, NewBlob)):
            return value
        if isinstance(value, Object) and getattr(value, "_meta", value) is not None:
            return value.meta
        builder = self.find(cast("type[Any]", type(value)))
        if builder is None:
            raise RuntimeError(f"Unknown type to build as vineyard object: {type(value).__name__}")
        if _takes(builder, "builder"):
            keywords["builder"] = self
        made = builder(client, value, **accepted(builder, keywords))
        return made.meta if isinstance(made, Object) else made

    def run(self, client: Any, value: Any, **keywords: Any) -> Any:
        """Store a value; return its metadata, or what a builder of a user's returned."""
        from entrepot.vineyard._meta import NewBlob, ObjectMeta

        made = self.plan(client, value, **keywords)
        if isinstance(made, NewBlob):
            return client.fetch_meta(client.build([made])[0])
        if isinstance(made, ObjectMeta) and not made.is_stored():
            client.build([made])
        return made

    __call__ = run


class _BuiltIn:
    """Registers what comes with vineyard."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def register(self, key: Any, value: Function) -> None:
        self._context.register_built_in(key, value)


class ResolverContext(_Registry):
    """Which function makes a value of an object, by the longest beginning of its type name."""

    def __init__(
        self, entries: Mapping[Any, Any] | None = None, parent: _Registry | None = None
    ) -> None:
        super().__init__(entries, parent)
        self._found: dict[str, Function | None] = {}

    def register(self, key: str, value: Function) -> None:
        """Say how objects whose type name begins with `key` are made values.

        Args:
            key: For instance `vineyard::Tensor`.
            value: `f(obj)`, `f(obj, resolver)` or `f(obj, resolver, **keywords)`.
        """
        super().register(key, value)
        self._found.clear()

    def register_built_in(self, key: str, value: Function) -> None:
        """Say it of what comes with vineyard."""
        self._entries.setdefault(key, value)
        self._found.clear()

    def find(self, typename: str) -> Function | None:
        """Return the resolver for a type name; None if there is none."""
        if typename not in self._found:
            keys = [key for key in self._entries if typename.startswith(key)]
            self._found[typename] = self._entries[max(keys, key=len)] if keys else None
        return self._found[typename]

    def run(self, obj: Any, **keywords: Any) -> Any:
        """Return the value of an object; the object itself where nobody said how.

        Raises:
            RuntimeError: The resolver failed; its exception is the cause.
        """
        typename = obj.meta.typename
        resolver = self.find(typename)
        if resolver is None:
            return obj
        names = _parameters(resolver)
        if "**" in names:
            if "__vineyard_client" not in names:  # a user's passes on all that it gets
                keywords.pop("__vineyard_client", None)
            return resolver(obj, resolver=self, **keywords)
        try:
            if _takes(resolver, "resolver"):
                return resolver(obj, resolver=self)
            return resolver(obj)
        except Exception as error:
            raise RuntimeError(
                f"Unable to construct the object using resolver: typename is {typename}, "
                f"resolver is {getattr(resolver, '__name__', resolver)}: {error}"
            ) from error

    __call__ = run


class DriverContext(_Registry):
    """Functions that become methods of results, by the beginning of their type name."""

    def register(self, key: str, value: Any) -> None:
        """Say which methods results of a type get.

        Args:
            key: The beginning of a type name.
            value: Functions by the name of the method.
        """
        super().register(key, {**self._entries.get(key, {}), **dict(value)})

    def resolve(self, value: Any, typename: str) -> Any:
        """Return a value with the methods that were registered for its type."""
        keys = [key for key in self._entries if typename.startswith(key)]
        if not keys:
            return value
        methods: dict[str, Function] = self._entries[max(keys, key=len)]
        kind = cast("type[Any]", type(value))
        with_methods = type(kind.__name__, (kind,), dict(methods))
        try:
            value.__class__ = with_methods
        except TypeError:
            if hasattr(value, "view") and hasattr(value, "dtype"):
                return value.view(with_methods)
            raise TypeError(
                f"a {kind.__name__} cannot be given methods; drivers are for objects"
            ) from None
        return value


default_builder_context = BuilderContext()
default_resolver_context = ResolverContext()
default_driver_context = DriverContext()

_builder: ContextVar[BuilderContext] = ContextVar("builder", default=default_builder_context)
_resolver: ContextVar[ResolverContext] = ContextVar("resolver", default=default_resolver_context)
_driver: ContextVar[DriverContext] = ContextVar("driver", default=default_driver_context)


def current_builder() -> BuilderContext:
    """Return the builders that apply here."""
    return _builder.get()


def current_resolver() -> ResolverContext:
    """Return the resolvers that apply here."""
    return _resolver.get()


def current_driver() -> DriverContext:
    """Return the drivers that apply here."""
    return _driver.get()


@contextlib.contextmanager
def builder_context(
    builders: Mapping[type, Function] | None = None, base: BuilderContext | None = None
) -> Generator[BuilderContext]:
    """Work on a copy of the current builders for the block.

    Args:
        builders: More of them.
        base: A context to copy instead of the current one.
    """
    yield from _within(_builder, builders, base)


@contextlib.contextmanager
def resolver_context(
    resolvers: Mapping[str, Function] | None = None, base: ResolverContext | None = None
) -> Generator[ResolverContext]:
    """Work on a copy of the current resolvers for the block; see `builder_context`."""
    yield from _within(_resolver, resolvers, base)


@contextlib.contextmanager
def driver_context(
    drivers: Mapping[str, Any] | None = None, base: DriverContext | None = None
) -> Generator[DriverContext]:
    """Work on a copy of the current drivers for the block; see `builder_context`."""
    yield from _within(_driver, drivers, base)


@contextlib.contextmanager
def context(
    builders: Mapping[type, Function] | None = None,
    resolvers: Mapping[str, Function] | None = None,
    base_builder: BuilderContext | None = None,
    base_resolver: ResolverContext | None = None,
) -> Generator[tuple[BuilderContext, ResolverContext]]:
    """Work on copies of the current builders and resolvers for the block."""
    with (
        builder_context(builders, base_builder) as builder,
        resolver_context(resolvers, base_resolver) as resolver,
    ):
        yield builder, resolver


def _within(variable: ContextVar[Any], entries: Any, base: Any) -> Iterator[Any]:
    made = (variable.get() if base is None else base).extend(entries)
    token = variable.set(made)
    try:
        yield made
    finally:
        variable.reset(token)


_signatures: dict[Function, frozenset[str]] = {}


def _parameters(function: Function) -> frozenset[str]:
    """Return the names of what a function takes; `**` if it takes any keyword."""
    try:
        return _signatures[function]
    except (KeyError, TypeError):
        pass
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    names = frozenset("**" if p.kind is p.VAR_KEYWORD else p.name for p in found)
    with contextlib.suppress(TypeError):  # unhashable callables
        if len(_signatures) > 1024:
            _signatures.clear()
        _signatures[function] = names
    return names


def _takes(function: Function, name: str) -> bool:
    names = _parameters(function)
    return name in names or "**" in names


def accepted(function: Function, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some keywords that a function takes."""
    names = _parameters(function)
    if "**" in names:
        return dict(keywords)
    return {name: value for name, value in keywords.items() if name in names}
