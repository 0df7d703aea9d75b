"""
Provider APISIX: from accepted destinations to routes of an APISIX that the platform runs, and the clients' routes to
it.
"""
