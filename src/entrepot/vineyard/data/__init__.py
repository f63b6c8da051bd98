"""How values become objects, and objects values: one module for each family of types."""

from __future__ import annotations

from typing import Any

from entrepot.vineyard.data import arrow, base, dataframe, index, pickle, series, sparse, tensor

__all__ = ["STREAMS", "register_builtin_types"]


def register_builtin_types(builder_ctx: Any = None, resolver_ctx: Any = None) -> None:
    """Register all that comes with vineyard in a builder and a resolver context.

    Types of pandas, pyarrow, scipy and polars are registered when the first of them comes:
    nothing of them is imported before.
    """
    for module in (base, pickle, tensor):
        if builder_ctx is not None:
            module.register_builders(builder_ctx)
        if resolver_ctx is not None:
            module.register_resolvers(resolver_ctx)
    if builder_ctx is not None:
        builder_ctx.register_lazy("pandas", dataframe.register_pandas)
        builder_ctx.register_lazy("pyarrow", arrow.register_arrow)
        builder_ctx.register_lazy("polars", arrow.register_polars)
        builder_ctx.register_lazy("scipy", sparse.register_scipy)
    if resolver_ctx is not None:
        for late in (arrow, dataframe, index, series, sparse):
            late.register_resolvers(resolver_ctx)
        for typename in STREAMS:
            resolver_ctx.register_built_in(typename, _resolve_stream)


STREAMS = (
    "vineyard::ByteStream",
    "vineyard::DataframeStream",
    "vineyard::ParallelStream",
    "vineyard::RecordBatchStream",
    "vineyard::StreamCollection",
)


def _resolve_stream(
    obj: Any, resolver: Any, *, __vineyard_client: Any = None, **keywords: Any
) -> Any:
    from entrepot.vineyard import io  # files, and what reads them, only when they are used

    return io.resolve(obj, resolver, __vineyard_client=__vineyard_client, **keywords)
