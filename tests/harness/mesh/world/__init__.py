"""
Everything outside of the cluster, a process in a network namespace of its own: servers that tell what they saw.

    names         every name has an address; some names are not well
    certificates  a certificate for whatever name is asked for
    journal       each request as it was seen, a line of JSON
    exchange      what the servers of all protocols have in common
    http1, http2  HTTP and gRPC
    websocket     what HTTP/1.1 goes on as, where a client asks for it
    server        which port speaks what
"""
