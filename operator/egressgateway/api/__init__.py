"""
The API `egressgateway.dev/v1alpha1`: its types, limits, rules and reasons.

`parse` is the door for objects that come from outside; `crd` turns the same models into CustomResourceDefinitions.
What an object means for the cluster is `plan`'s business.
"""
