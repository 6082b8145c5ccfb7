"""Which FHIR servers we ask: only those the site named, compared parsed and whole; no caller steers our calls."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from cds_service.trust.patient_binding import same_base


def is_allowed(base: str, listed: Iterable[str], *, loopback: bool) -> bool:
    """Whether a FHIR base URL of a request is one we ask."""
    url = _parsed(base)
    if url is None:
        return False
    return any(same_base(base, known) for known in listed) or (loopback and is_this_machine(url.hostname or ""))


def is_below(address: str, base: str) -> bool:
    """Whether an address, such as that of a next page, is of the same server and below its base."""
    url = _parsed(address)
    root = _parsed(base)
    if url is None or root is None:
        return False
    path = root.path.rstrip("/")
    is_inside = url.path == path or url.path.startswith(f"{path}/")
    return is_inside and ".." not in url.path.split("/") and same_base(_with_path(url, path), base)


def is_loopback(address: str) -> bool:
    """Whether a URL is of this machine."""
    return is_this_machine(urlsplit(address).hostname or "")


def is_this_machine(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(address: str) -> SplitResult | None:
    """A plain http(s) URL without user, fragment, spaces or backslashes; None for anything else."""
    if not address.isascii() or not address.isprintable() or any(sign in address for sign in " \\@#"):
        return None
    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.hostname else None


def _with_path(url: SplitResult, path: str) -> str:
    return f"{url.scheme}://{url.netloc}{path}"
