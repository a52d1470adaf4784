"""TensorRT engines: what builds them, what they are for, and whether they fit this machine.

Nothing here imports TensorRT or torch before it is used: a process that builds has only the
builder in memory.
"""
