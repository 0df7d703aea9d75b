"""
What one operator costs as the cluster grows: passes, selector evaluations, CPU, memory, and how long its event loop is
held. Without an API server: the real engine, with a client that answers from memory.

    mix         the objects and namespaces of a cluster, by numbers
    apiserver   answers requests and watches from memory
    loop        an event loop that measures itself, and whose clock does not wait
    internals   all that is known of the operator's insides: what is started, and which calls are counted
    replica     one operator beside that server
    events      what happens to a cluster, and how many objects it concerns
    build       children and statuses of every object, made by the operator itself
    measure     start, memory and each event, for one size
    report      the table

Run by `make bench-scale`, or `PYTHONPATH=tests python -m bench --scale --sizes 1000x1000`.
"""
