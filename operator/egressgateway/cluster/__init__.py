"""
Talks to the API server: a call as data, the client that sends it, and informers that keep a copy of what the server
holds.

A library: it knows names (`refs`), the error tree (`errors`) and nothing of egress gateways. The engine decides
what to call.
"""
