"""Provider APISIX: from accepted destinations to routes of an APISIX that others run, and what sends clients there."""
