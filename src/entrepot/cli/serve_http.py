"""The part of `entrepot serve` that speaks v3io's web API."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import entrepot
from entrepot.errors import LimitError, UnavailableError

__all__ = ["HttpOptions", "serve_http"]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to serve."""

    host: str
    port: int
    containers: Sequence[str]
    workers: int
    requires_key: bool
    tls_cert: Path | None
    tls_key: Path | None
    access_log: str | None
    stop_timeout: float
    parent: int | None
    """In a worker: the file descriptor on which it talks with its parent."""

    def tls(self) -> ssl.SSLContext | None:
        """Return how to speak HTTPS; None for plain HTTP.

        Raises:
            LimitError: A key is given without a certificate.
            UnavailableError: The files cannot be used.
        """
        if self.tls_cert is None:
            if self.tls_key is not None:
                raise LimitError("--tls-key goes with --tls-cert", "give the certificate too")
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise UnavailableError(
                f"{self.tls_cert} cannot be used as a certificate: {error}",
                "give it and its key as PEM files",
            ) from error
        return context


def serve_http(
    stack: contextlib.ExitStack,
    depot: entrepot.Depot,
    options: HttpOptions,
    places: Sequence[str],
    stop: Callable[[], None],
) -> tuple[dict[str, str | None], Callable[[], None]]:
    """Serve, and end with the stack.

    Args:
        stack: What ends.
        depot: What is served.
        options: How.
        places: Words by which a worker finds the same depot.
        stop: In a worker: called when its parent is gone.

    Returns:
        What to say of it, and what to call each second.

    Raises:
        OSError: The port is in use, or may not be used.
        UnavailableError: A package is missing, or a worker did not start.
    """
    for name in options.containers:
        depot.create_container(name, exist_ok=True)
    try:
        from entrepot.gateways.http import HttpGateway, workers
        from entrepot.gateways.http.access_log import AccessLog
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("entrepot"):
            raise
        raise UnavailableError(
            "the HTTP gateway needs a package that is not installed",
            "pip install 'entrepot[serve]'",
        ) from error
    tls = options.tls()
    scheme = "http" if tls is None else "https"
    if options.workers > 1:
        several = workers.Workers(
            options.workers,
            options.host,
            options.port,
            lambda host, port, fd: [
                *workers.python_command(),
                "serve",
                *_words(options, host, port, fd),
                *places,
            ],
        )
        stack.callback(several.close, timeout=options.stop_timeout)
        url = _url(scheme, several.host, several.port)
        return {"http": url, "workers": str(options.workers)}, several.tend
    gateway = HttpGateway(
        depot,
        options.host,
        options.port,
        requires_key=True if options.requires_key else None,
        tls=tls,
        shares_port=options.parent is not None,
        access_log=None if options.access_log is None else AccessLog(options.access_log),
    )
    stack.callback(gateway.close, timeout=options.stop_timeout)
    gateway.start()
    if options.parent is not None:
        workers.tell_parent(options.parent, stop)
    return {"http": _url(scheme, gateway.host, gateway.port)}, lambda: None


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _words(options: HttpOptions, host: str, port: int, fd: int) -> list[str]:
    """Return the options of a worker."""
    words = ["--http", f"{host}:{port}", "--parent-fd", str(fd)]
    words += ["--stop-timeout", str(options.stop_timeout)]
    if options.requires_key:
        words.append("--require-key")
    for name, value in (
        ("--tls-cert", options.tls_cert),
        ("--tls-key", options.tls_key),
        ("--access-log", options.access_log),
    ):
        if value is not None:
            words += [name, os.fspath(value)]
    return words
