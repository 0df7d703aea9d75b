"""A pod's volumes as files under its directory. What changes in the cluster later is not carried into them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.mesh.containers import field_of

Object = dict[str, Any]
Send = Callable[[str, str, Object | None], Awaitable[Object | None]]
"""A request to the API server: method, path, body; None for what is not there."""


class NotYet(Exception):
    """A volume refers to an object that is not there; it is tried again."""


class Volumes:
    """The volumes of one pod, written below `directory`."""

    def __init__(self, pod: Object, address: str, directory: Path, send: Send) -> None:
        self._pod = pod
        self._address = address
        self._directory = directory
        self._send = send
        self._namespace = pod["metadata"]["namespace"]
        self._by_name: dict[str, Object] = {each["name"]: each for each in pod["spec"].get("volumes") or ()}

    async def mount(self, container: Object, root: Path) -> None:
        """
        Write the volumes that `container` mounts and link them at their places below `root`, as far as that is not
        done.

        Raises:
            NotYet: an object that is referred to does not exist.
        """
        for mount in container.get("volumeMounts") or ():
            place = root / mount["mountPath"].lstrip("/")
            if place.is_symlink():
                continue
            volume = self._directory / mount["name"]
            if not volume.exists():
                files = await self._files(self._by_name[mount["name"]])
                volume.mkdir(parents=True)
                for name, content in files.items():
                    (volume / name).parent.mkdir(parents=True, exist_ok=True)
                    (volume / name).write_bytes(content)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(volume)

    async def _files(self, volume: Object) -> dict[str, bytes]:
        if projected := volume.get("projected"):
            files: dict[str, bytes] = {}
            for source in projected["sources"]:
                files |= await self._files(source)
            return files
        if downward := volume.get("downwardAPI"):
            fields = {each["path"]: each["fieldRef"]["fieldPath"] for each in downward.get("items") or ()}
            return {path: field_of(self._pod, field, self._address).encode() for path, field in fields.items()}
        if token := volume.get("serviceAccountToken"):
            return {token["path"]: await self._token(token)}
        if source := volume.get("configMap"):
            found = await self._read("configmaps", source, source.get("name"))
            return _items(source, {key: value.encode() for key, value in (found.get("data") or {}).items()})
        if source := volume.get("secret"):
            found = await self._read("secrets", source, source.get("secretName") or source.get("name"))
            return _items(source, {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()})
        return {}

    async def _read(self, plural: str, source: Object, name: str | None) -> Object:
        found = await self._send("GET", f"/api/v1/namespaces/{self._namespace}/{plural}/{name}", None)
        if found is None and not source.get("optional"):
            raise NotYet(f"{plural} {self._namespace}/{name}")
        return found or {}

    async def _token(self, projection: Object) -> bytes:
        metadata = self._pod["metadata"]
        account = self._pod["spec"].get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        spec: Object = {
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]},
            # Longer than any run: nobody here renews it.
            "expirationSeconds": max(43200, projection.get("expirationSeconds", 0)),
        }
        if audience := projection.get("audience"):
            spec["audiences"] = [audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._send("POST", path, body)
        if answer is None:
            raise NotYet(f"service account {self._namespace}/{account}")
        return bytes(answer["status"]["token"].encode())


def _items(source: Object, content: dict[str, bytes]) -> dict[str, bytes]:
    """Keys as files; with `items` just those, at their paths."""
    if listed := source.get("items"):
        return {each["path"]: content[each["key"]] for each in listed if each["key"] in content}
    return content
