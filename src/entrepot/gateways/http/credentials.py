"""The access key that comes with a request, in one of the forms that clients send."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from entrepot.gateways.http.messages import Request

__all__ = ["key_of"]

_CREDENTIAL: Final = re.compile(r"Credential=([^/,\s]+)")


def key_of(request: Request) -> str:
    """Return the access key of a request; the empty string if there is none.

    It is `X-v3io-session-key`, the password of Basic, a Bearer's token, or the key id of the
    signatures of AWS, which are not looked at.
    """
    headers = request.headers
    plain = headers.get(b"x-v3io-session-key")
    if plain:
        return plain.decode("latin-1")
    scheme, _, rest = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    rest = rest.strip()
    scheme = scheme.lower()
    if scheme == "basic":
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (ValueError, binascii.Error):
            return ""
        return password or user
    if scheme == "bearer":
        return rest
    if scheme == "aws":
        return rest.partition(":")[0]
    found = _CREDENTIAL.search(rest) if scheme.startswith("aws4-") else None
    return found[1] if found else ""
