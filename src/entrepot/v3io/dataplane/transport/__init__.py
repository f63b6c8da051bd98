"""How requests get to where they are answered.

`abstract` says what a transport is; `httpclient` and `requests` speak HTTP; `verifier` hands
each request to a function of a test. `depot` needs none: it answers in this process.
"""

from __future__ import annotations

from entrepot.v3io.dataplane.response import RaiseForStatus
from entrepot.v3io.dataplane.transport import abstract, depot, httpclient, requests, verifier
from entrepot.v3io.dataplane.transport.abstract import Actions
from entrepot.v3io.dataplane.transport.verifier import Transport

__all__ = [
    "Actions",
    "RaiseForStatus",
    "Transport",
    "abstract",
    "depot",
    "httpclient",
    "requests",
    "verifier",
]
