"""How the commands reach other machines: as their user does, by the proxy of the environment where there is one.

The service itself asks through fhir/server.py, which takes nothing from the environment.
"""

from __future__ import annotations

import requests

from cds_service.trust.fhir_servers import is_loopback


def open_session(url: str) -> requests.Session:
    """A session that asks no proxy for this machine: none reaches it."""
    session = requests.Session()
    session.trust_env = not is_loopback(url)
    return session
