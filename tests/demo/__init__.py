"""
The operator's main job, shown end to end on a real API server: `make demo`.

    stage     what the demo runs on: a control plane, the operator's process, the namespace; left clean, or running
    observe   looks at the cluster: children, conditions, what changed and in which order
    show      puts it on the screen, or into a log
    routing   steps about one object's way: applied, ready, edited
    node      the same on a real cluster: `make node-demo`
    trouble   steps about what goes wrong: refusals, repairs, a restart, the end

Every step checks what it shows; the demo succeeds only if each fact was observed.
"""
