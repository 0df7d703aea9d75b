"""
What the commands of `egressgw` answer: from documents to diagnostics, objects, differences.

Knows no terminal and no flags: `cli` types what is here. What it says of an object is what the operator's own core says
(`engine.reconcile.observe`, `plan.accept`), so that a file is judged as the cluster will judge it.
"""
