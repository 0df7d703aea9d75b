"""
The mesh tier's cluster: a real control plane, istiod and Envoys, every pod in a network namespace of its own.

    layout        who lives at which address
    netns         network namespaces: made, joined, entered, ended
    mesh          starts and stops the whole; what a test sees of it
    istio         istiod's installation and process, and whether every proxy has what it sent
    node          the one node, a process: kubelet, Services, cluster DNS
      kubelet     pods from the API server to processes and back
      sandbox     a pod's network namespace and directory
      containers  a container's process: command, environment, identity
      volumes     a pod's volumes, as files
      services    Services as rules of nftables
      dns         names of Services; every other name is the world's
    world         everything outside of the cluster, a process: servers that tell what they saw
    authorizer    what answers for OPA in a pod
    apisix        what answers for APISIX in a pod
    clients       requests from within a pod; `dial` and `chat` are the programs for TCP and WebSocket
    identities    certificates that somebody could have stolen
    cases         tables of requests, and what is expected of them; `runner` tries them
    continuity    requests at a steady rate; `load` is the program for them
    detector      what statuses say, beside what becomes of such requests
    proxies       what the Envoys of pods say of themselves

The kubelet is the only part of the cluster that is ours. It does not do what no gateway needs: images, NetworkPolicy
(nobody enforces it here), resources, logs through the API.
"""
