"""NetWorkSpaces' Python API on a depot: change `import nws` to `import entrepot.nws as nws`."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.6.3"
"""The version of nwsclient whose API this is."""
