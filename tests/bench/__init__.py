"""
How much the operator costs: writes, CPU and memory, and how fast it is beside a loop that only writes.

    recording  what the operator sends for one object, and the same for any number of others
    bareloop   sends recorded writes, 32 at once, and does nothing else
    timeline   when writes were under way, from the API server's audit log
    story      the measurements, one after the other, on one control plane
    report     the table

Run by `make bench`, or `PYTHONPATH=tests python -m bench --objects 500`.
"""
