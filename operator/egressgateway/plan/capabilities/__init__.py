"""
What providers do with each field of the API, and which values they reject: how that is written down, and looked up.
"""
