"""
Test harness: a real control plane on loopback, pods that pretend to run, and a proxy that breaks things on purpose.

    tools         finds or builds etcd, kube-apiserver, kube-controller-manager, kubectl
    controlplane  runs them; `cluster` is what a test sees of any cluster, own or not
    kubelet       sets the status that a real node would set
    faultproxy    stands between a client and the API server; `faults` says what it does to a request
    tiers         what each tier of the tests needs; `alltiers` runs them all
    session       one control plane for a test run, however many processes the run has

Nothing here knows the operator. `python -m harness` is the command line for the Makefile.
"""
