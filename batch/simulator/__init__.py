"""A provider of language models on your own machine: it speaks two dialects, keeps books, and makes faults on request.

The package imports nothing from the rest of the project. What it knows about the wire it knows from the providers'
public documents, written down here a second time on purpose: a constant shared with the client would hide a mistake
shared with the client.
"""
