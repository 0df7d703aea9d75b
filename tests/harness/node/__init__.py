"""
The node tier's cluster: Kubernetes as machines run it, on this one, without a container engine, without images of
others.

    layout      who lives at which address
    place       whether this machine can do it, where clusters live, and what is left of those that ended badly
    programs    kubelet, containerd and the others, from their Go modules
    oci         images: layers of this machine's programs and files, written as archives
    images      the images of the cluster and of the mesh
    operator_image  the operator's image, by the project's Dockerfile
    stock       all images of a cluster
    store       containerd's directory with all images unpacked, made once and copied by links
    cgroups     the control groups of a cluster
    machine     a node's namespaces; `init` is their first process
    cluster     starts and stops the whole
      manifests   what Kubernetes' programs are configured with
    istio       Istio, as its charts install it
    session     the cluster of a test run

A node is a PID, a mount and a network namespace: killing its first process ends every container. The control plane
lives in the network of the first node, to which the machine has a link. The world outside is that of the mesh tier.
"""
