"""The ciphers: ChaCha20-Poly1305 as BOLT 8's noise uses it. The only importer of the library that has them.

Nothing is wrapped: a call more for each half of a packet would cost more than the checks around it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag as InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305 as ChaCha20Poly1305

__all__ = ["ChaCha20Poly1305", "InvalidTag"]
