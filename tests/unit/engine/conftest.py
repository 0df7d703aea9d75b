"""The API server at the HTTP seam, as for the tests of `cluster`."""

from unit.cluster.conftest import api, client, kubeconfig

__all__ = ["api", "client", "kubeconfig"]
