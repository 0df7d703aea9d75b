"""A small blocking client for the API server: what the harness and its tests need to look at and set up objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from harness.kubeconfig import Access

Object = dict[str, Any]
FIELD_MANAGER = "test-harness"


class ApiError(Exception):
    """The API server answered with an error. `code` is HTTP's, `reason` Kubernetes' word for it."""

    def __init__(self, call: str, code: int, reason: str, message: str) -> None:
        super().__init__(f"{call}: {code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Rest:
    """Requests with the rights of a kubeconfig's user. Usable from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        access = Access.read(kubeconfig)
        self._server = access.server
        # Retries off: a test wants to see what the server did with one request.
        self._pool = urllib3.PoolManager(
            maxsize=16, ssl_context=access.ssl_context(), headers=access.headers(), retries=False, timeout=30
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def text(self, path: str) -> str:
        """
        The body of a GET, as text.

        Raises:
            ApiError: any answer but 2xx.
            urllib3.exceptions.HTTPError: no answer.
        """
        return self._send("GET", path, None, "").decode()

    def get(self, path: str, **query: str) -> Object:
        return self._json("GET", path, query=query)

    def items(self, path: str, **query: str) -> list[Object]:
        """Objects of a list."""
        return list(self.get(path, **query)["items"])

    def create(self, path: str, body: Object) -> Object:
        """POST to a collection, or to a subresource such as `…/token`."""
        return self._json("POST", path, body)

    def create_text(self, path: str, body: bytes) -> None:
        """POST of a body as it stands: what no writer of JSON here would make, and no reader take."""
        self._send("POST", path, body, "application/json")

    def apply(self, path: str, body: Object, manager: str = FIELD_MANAGER) -> Object:
        """Server-side apply of one object, taking over fields of others."""
        query = {"fieldManager": manager, "force": "true"}
        return self._json("PATCH", path, body, "application/apply-patch+yaml", query)

    def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch."""
        return self._json("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str, **options: Any) -> Object:
        """Delete one object; `options` are those of metav1.DeleteOptions."""
        return self._json("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def exists(self, path: str) -> bool:
        """Whether GET answers anything but 404."""
        try:
            self.get(path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _json(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        url = f"{path}?{urlencode(query)}" if query else path
        answer: Object = json.loads(self._send(method, url, body, content_type))
        return answer

    def _send(self, method: str, url: str, body: Object | bytes | None, content_type: str) -> bytes:
        headers = {"Accept": "*/*", **({"Content-Type": content_type} if body is not None else {})}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = self._pool.request(method, self._server + url, body=data, headers={**self._pool.headers, **headers})
        if answer.status >= 300:
            raise _error(f"{method} {url}", answer.status, answer.data)
        return answer.data


def _error(call: str, code: int, body: bytes) -> ApiError:
    try:
        status = json.loads(body)
        return ApiError(call, code, status.get("reason", ""), status.get("message", ""))
    except ValueError:
        return ApiError(call, code, "", body.decode(errors="replace")[:500])
