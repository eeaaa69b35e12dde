"""A large-model provider on your own machine: two dialects, its own books, its own judge, faults on request.

The package imports nothing from the rest of the project. What it knows about the wire it knows from the providers'
public documents, written down here a second time on purpose: a constant shared with the client would hide a mistake
shared with the client.
"""
