"""
Which EgressGateways have children in other namespaces, recorded where no tenant can write.

No garbage collector looks for the owner of such a child, and an object's status is deleted with the object. So before
the first of them is written a ConfigMap beside the operator's Lease names them: one for each EgressGateway that has
any, deleted with the last of them. It finds them after the object was deleted without its finalizer, after its status
was lost, and for an operator that did not run when that happened.

A record alone proves nothing: what it names is a child only if its labels say so, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import orjson

from egressgateway.cluster.request import apply_object, delete_object
from egressgateway.cluster.store import Store
from egressgateway.errors import NotFound
from egressgateway.names import LABEL_MANAGED_BY, MANAGED_BY
from egressgateway.refs import CHILD_BY_KIND, CONFIG_MAP, GROUP, Key, Manifest, ObjectRef
from egressgateway.settings import Settings

if TYPE_CHECKING:
    # Who only reads records needs no client: the tool answers without one.
    from egressgateway.cluster.client import ApiClient

LABEL_RECORD: Final = f"{GROUP}/record"
_OF_REMOTE_CHILDREN: Final = "remote-children"

RECORD_SELECTOR: Final = f"{LABEL_RECORD}={_OF_REMOTE_CHILDREN}"
"""What the informer of records asks the API server for."""


@dataclass(frozen=True, slots=True)
class Record:
    """
    Children of one EgressGateway in other namespaces.

    Attributes:
        uid: of the object that they were last written for; a new object of the same name takes them over.
        left: it was deleted with `--cascade=orphan`, so that they stay for as long as those in its own namespace.
    """

    key: Key
    uid: str
    children: frozenset[ObjectRef]
    left: bool = False

    def covers(self, uid: str, children: frozenset[ObjectRef]) -> bool:
        """Whether it says all that has to be known before `children` are written for the object `uid`."""
        return self.uid == uid and not self.left and children <= self.children


def record_name(key: Key) -> str:
    """Name of the record's ConfigMap: NUL, which no name holds, keeps namespace and name apart."""
    return f"egressgateway-remote-{hashlib.sha256(chr(0).join(key).encode()).hexdigest()[:16]}"


def manifest_of(record: Record, namespace: str) -> Manifest:
    """The ConfigMap that holds `record`."""
    children = "".join(f"{ref.kind} {ref.namespace}/{ref.name}\n" for ref in sorted(record.children))
    data = {"owner": str(record.key), "uid": record.uid, "children": children}
    labels = {LABEL_RECORD: _OF_REMOTE_CHILDREN, LABEL_MANAGED_BY: MANAGED_BY}
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": {"namespace": namespace, "name": record_name(record.key), "labels": labels},
        "data": {**data, "left": "true"} if record.left else data,
    }


def read_record(manifest: Manifest) -> Record | None:
    """What a ConfigMap records; None when it is no record, or a record under the wrong name."""
    data = manifest.get("data") or {}
    namespace, slash, name = str(data.get("owner", "")).partition("/")
    key = Key(namespace, name)
    if not slash or manifest["metadata"]["name"] != record_name(key):
        return None
    lines = str(data.get("children", "")).splitlines()
    children = frozenset(found for line in lines if (found := _read_child(line)) is not None)
    return Record(key, str(data.get("uid", "")), children, left=data.get("left") == "true")


def recorded_key(manifest: Manifest) -> Key | None:
    """Key of the object whose children a ConfigMap records."""
    record = read_record(manifest)
    return None if record is None else record.key


def recorded_in(store: Store, key: Key) -> Record | None:
    """The record of `key`, if there is one."""
    return next((read_record(found) for found in store.by_index(key)), None)


def _read_child(line: str) -> ObjectRef | None:
    kind, _, rest = line.partition(" ")
    namespace, slash, name = rest.partition("/")
    return ObjectRef(kind, namespace, name) if slash and kind in CHILD_BY_KIND else None


class RemoteRecords:
    """Writes the records: one write when an object gets its first remote child, or more of them, and one at the end."""

    def __init__(self, client: ApiClient, store: Store, settings: Settings) -> None:
        self._client = client
        self._store = store
        self._namespace = settings.lease.namespace
        self._settings = settings

    def of(self, key: Key) -> Record | None:
        """What is recorded of `key`."""
        return recorded_in(self._store, key)

    async def note(self, key: Key, uid: str, children: Iterable[ObjectRef]) -> None:
        """
        Record `children` of the object `uid`, which are about to be written, unless that is recorded already.

        Raises:
            ClusterError: it could not be written; then the children must not be written, either.
        """
        wanted = frozenset(ref for ref in children if ref.namespace != key.namespace)
        known = self.of(key)
        if wanted and (known is None or not known.covers(uid, wanted)):
            await self._write(Record(key, uid, wanted))

    async def leave(self, key: Key) -> None:
        """The object is deleted, and its author wants the children to stay."""
        known = self.of(key)
        if known is not None and not known.left:
            await self._write(replace(known, left=True))

    async def forget(self, key: Key) -> None:
        """
        The object has no remote children any more. A record stays if it names children that the operator cannot see.
        """
        known = self.of(key)
        if known is None or not all(self._settings.sees(ref.namespace) for ref in known.children):
            return
        found = self._store.get(self._namespace, record_name(key))
        if found is not None:
            uid = found["metadata"]["uid"]
            with suppress(NotFound):
                await self._client.send(delete_object(CONFIG_MAP, self._namespace, record_name(key), uid=uid))
            self._store.remove(found)

    async def _write(self, record: Record) -> None:
        manifest = manifest_of(record, self._namespace)
        name, body = manifest["metadata"]["name"], orjson.dumps(manifest)
        call = apply_object(CONFIG_MAP, self._namespace, name, body, field_manager=MANAGED_BY)
        written = await self._client.send(call)
        if written is not None:
            self._store.put(written)
