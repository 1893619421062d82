"""Requests to the running hub as its owner: the key in the data folder says that a human sits at this machine. Who has
a token of their own may set it instead."""

import http.client
import json
import os
from typing import Any

from app.errors import CannotStart
from app.security import owner_key
from app.settings import ENV_PREFIX, Settings

ANSWER_SEC = 30
TOKEN = f"{ENV_PREFIX}TOKEN"
"""The variable of a human's token, which counts more than the key."""
ANY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def ask(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The hub's answer.

    Raises:
        CannotStart: no hub answers where the settings say, its key cannot be read, or it refuses.
    """
    key = os.environ.get(TOKEN) or owner_key.read(settings.data_dir)
    if key is None:
        raise CannotStart(
            f"There is no key in {settings.data_dir} that you can read. A hub makes it at its start; run this command "
            "as the same user and with the same settings."
        )
    host = settings.host.strip("[]")
    connection = http.client.HTTPConnection(ANY_INTERFACE.get(host, host), settings.port, timeout=ANSWER_SEC)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        status, found = answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CannotStart(f"No hub answers at {settings.host}:{settings.port}: {error}") from None
    finally:
        connection.close()
    if status >= 400:
        raise CannotStart(str(found.get("error", status)))
    assert isinstance(found, dict)
    return found
