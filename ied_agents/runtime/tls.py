"""TLS as IEC 62351-3 has it: both ends show a certificate of one authority, none is revoked.

For IEC 60870-5-104 and MMS; and as an MQTT broker has it, which is known by its host name.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""


_WORDS: Final = {
    "certificate has expired": "the server's certificate has expired: renew it, or set the clock here",
    "certificate is not yet valid": "the server's certificate is not valid yet: is the clock here, or there, wrong?",
    "certificate revoked": "the server's certificate is revoked: it needs another",
    "CRL has expired": "the revocation list has run out: fetch a new one",
    "unable to get certificate CRL": "there is no revocation list of the authority of the server's certificate",
    "unable to get local issuer certificate": "the server's certificate comes from none of our authorities",
    "self-signed certificate": "the server's certificate comes from none of our authorities, but from itself",
    "self-signed certificate in certificate chain": "the server's certificate comes from none of our authorities",
    "WRONG_VERSION_NUMBER": "the server answers without TLS: wrong port, or its TLS is not on",
}
"""What a client is told of its server, by OpenSSL's word for it."""


class TlsError(ValueError):
    """A certificate, key or revocation list that can't be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: own certificate, with those between it and the authority behind it.
        key: its private key, without a password.
        authority: certificates of the authorities that the other end's certificate must come from.
        revoked: revocation lists of all of them; None to check none. One that has run out lets nobody in.
    """

    certificate: Path
    key: Path
    authority: Path
    revoked: Path | None = None


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For whoever accepts connections.

    Raises:
        TlsError: names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # a session that is resumed would outlive a revocation; TLS 1.2 has its own switch
    context.options |= ssl.OP_NO_TICKET
    return _load(context, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For whoever connects. The other end is known by its authority and not by its host name: devices have none.

    Raises:
        TlsError: names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _load(context, files)


def named_server_context(
    authority: Path, own: tuple[Path, Path] | None = None, revoked: Path | None = None
) -> ssl.SSLContext:
    """For whoever connects to a server that is known by its host name as well as by its authority.

    Args:
        authority: certificates of the authorities that the server's certificate must come from.
        own: certificate and key to be shown to it; None for none.
        revoked: revocation lists; None to check none.

    Raises:
        TlsError: names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if own is not None:
        return _load(context, TlsFiles(*own, authority, revoked))
    _harden(context)
    return _trust(context, authority, revoked)


def in_words(error: OSError) -> str:
    """What a client's handshake failed of, for its user; OpenSSL's own words behind it.

    Args:
        error: as ``ssl`` raises it; of another kind, or with no words here, it is told as it is.
    """
    if not isinstance(error, ssl.SSLError):
        return str(error)
    # Only an error of verification has the first.
    words = _WORDS.get(getattr(error, "verify_message", "") or error.reason or "")
    return f"{words} ({error})" if words else str(error)


def _load(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    _harden(context)
    for path in (files.certificate, files.key):
        _check_there(path)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError as error:
        raise TlsError(f"{files.certificate} and {files.key}: no certificate with its key: {error.reason}") from None
    return _trust(context, files.authority, files.revoked)


def _harden(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)


def _trust(context: ssl.SSLContext, authority: Path, revoked: Path | None) -> ssl.SSLContext:
    for path in (authority, revoked):
        if path is not None:
            _check_there(path)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise TlsError(f"{authority}: no certificates of authorities: {error.reason}") from None
    if revoked is not None:
        before = context.cert_store_stats()["crl"]
        try:
            context.load_verify_locations(revoked)
        except ssl.SSLError as error:
            raise TlsError(f"{revoked}: no revocation list: {error.reason}") from None
        if context.cert_store_stats()["crl"] == before:
            raise TlsError(f"{revoked}: has no revocation list in it")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def _check_there(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from None


def _no_password() -> str:
    raise TlsError("the private key has a password: nobody could type it at a start")


def common_name(certificate: dict[str, Any] | None) -> str | None:
    """The common name of a certificate's subject, as ``getpeercert`` has it; None if it has none."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
